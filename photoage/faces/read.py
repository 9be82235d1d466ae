"""What a worker process does to one photo: read, decode, detect, align. Never imports torch.

Every function takes plain records and returns plain records, so that any engine can run them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from photoage.faces.align import align_crop
from photoage.faces.detector import Detector
from photoage.faces.detector_files import DetectorFile
from photoage.faces.gpu_server import RemoteDetector, ServerAddress
from photoage.faces.strata import span
from photoage.photos.content import BYTES_PER_PIXEL, content_hash, read_file
from photoage.photos.dates import date_photo
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.records import (
    DATE_SOURCES,
    DecodedPhoto,
    Detection,
    DetectOptions,
    FloatArray,
    ImageArray,
    PhotoFaces,
    PhotoFile,
)

# Decoding a JPEG at a reduced scale saves most of its cost; detection needs no more than this many
# times its own input, so that the smallest face it can find still has pixels for its crop.
DECODE_MARGIN = 3
# A face with a shorter side than this in a reduced decode is cut from a full decode instead, which costs as
# much as the rest of a photo. UTKFace validation faces have an MAE 0.05 years higher at 48 than at 96 pixels.
SMALL_FACE = 48


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Everything a worker needs to know; small, as it travels with every photo."""

    detector: DetectorFile
    crop_size: int
    detect: DetectOptions = DetectOptions()
    max_pixels: int = DecodeOptions().max_pixels
    margin: int = 0  # pixels of surroundings on each side of a crop, for training
    server: ServerAddress | None = None  # detect there instead of in the worker
    dates: tuple[str, ...] = DATE_SOURCES  # asked for a photo's date, in this order; none: it gets no date

    @property
    def max_bytes(self) -> int:
        """The largest file that may hold a photo within the pixel limit."""
        return max(self.max_pixels, DecodeOptions().max_pixels) * BYTES_PER_PIXEL


@dataclass(frozen=True, slots=True, eq=False)
class ReadPhoto:
    """One photo after reading: the file as it was when read, its faces, and their crops.

    `crops` (F, S, S, 3) uint8 RGB, in the order of `faces.detections`; `spans` how many pixels of the photo
    each of them spans. `known`: its content is one of those
    that the reader was told are known, or was not wanted; of `faces`, at most the hash was filled in.
    """

    file: PhotoFile
    faces: PhotoFaces
    crops: ImageArray
    provider: str = ""  # the execution provider that the detector really used
    known: bool = False
    spans: tuple[float, ...] = ()


def hash_photo(path: str, options: ReadOptions, sidecars: str = "") -> tuple[PhotoFile, str]:
    """A dated file and the identity of its content, without decoding it. Raises `DecodeError`."""
    file, data = read_file(path, options.max_bytes)
    return _dated(file, options, sidecars, data), content_hash(data)


def date_only(file: PhotoFile, options: ReadOptions) -> ReadPhoto:
    """A photo's date again, from no more of it than its metadata. Raises `DecodeError`."""
    return ReadPhoto(
        date_photo(file, options.dates), PhotoFaces("", 0, 0, ()), _no_crops(options), known=True
    )


def read_photo(
    path: str,
    options: ReadOptions,
    landmarks: FloatArray | None = None,
    hashes: Container[str] = frozenset(),
    sidecars: str = "",
) -> ReadPhoto:
    """Decode one photo, date it, and cut the crops of its faces.

    With `landmarks` (F, 5, 2) from an earlier scan, nothing is detected and only the crops count. A photo
    whose content is among `hashes` is not even decoded. Raises `DecodeError`.
    """
    file, data = read_file(path, options.max_bytes)
    file = _dated(file, options, sidecars, data)
    digest = content_hash(data)
    if digest in hashes:
        return ReadPhoto(file, PhotoFaces(digest, 0, 0, ()), _no_crops(options), known=True)
    if landmarks is not None:
        photo = decode_bytes(data, path, DecodeOptions(options.max_pixels))
        faces = PhotoFaces(digest, photo.width, photo.height, ())
        return ReadPhoto(file, faces, _cut(photo, landmarks, options), spans=tuple(map(span, landmarks)))
    wanted = DECODE_MARGIN * options.detect.det_size
    photo = decode_bytes(data, path, DecodeOptions(options.max_pixels, min_long_side=wanted))
    found = _detect(photo, options)
    smallest = min((_short_side(face) for face in found), default=float("inf"))
    if photo.scale < 1 and smallest * photo.scale < SMALL_FACE:
        photo = decode_bytes(data, path, DecodeOptions(options.max_pixels))
    crops = _cut(photo, np.array([face.landmarks for face in found]).reshape(-1, 5, 2), options)
    faces = PhotoFaces(digest, photo.width, photo.height, tuple(found))
    spans = tuple(span(face.landmarks) for face in found)
    return ReadPhoto(file, faces, crops, _detector(options).providers[0], spans=spans)


def _dated(file: PhotoFile, options: ReadOptions, sidecars: str, data: bytes) -> PhotoFile:
    return date_photo(replace(file, sidecars=sidecars), options.dates, data)


def _detect(photo: DecodedPhoto, options: ReadOptions) -> list[Detection]:
    """Detections in pixels of the full upright photo, without those that are too small to estimate."""
    detector = _detector(options)
    found = detector.detect(photo.rgb, det_thresh=options.detect.det_thresh, det_size=options.detect.det_size)
    scaled = map(photo.full, found)
    return [face for face in scaled if _short_side(face) >= options.detect.min_face and _has_extent(face)]


def _short_side(face: Detection) -> float:
    x1, y1, x2, y2 = face.bbox
    return min(x2 - x1, y2 - y1)


def _has_extent(face: Detection) -> bool:
    """Whether the landmarks are apart enough for a transform to exist."""
    return bool(np.ptp(face.landmarks, axis=0).max() > 1.0)


def _cut(photo: DecodedPhoto, landmarks: FloatArray, options: ReadOptions) -> ImageArray:
    if len(landmarks) == 0:
        return _no_crops(options)
    size, margin = options.crop_size, options.margin
    return np.stack([align_crop(photo.rgb, points, size, margin) for points in photo.reduced(landmarks)])


def _no_crops(options: ReadOptions) -> ImageArray:
    side = options.crop_size + 2 * options.margin
    return np.empty((0, side, side, 3), dtype=np.uint8)


def _detector(options: ReadOptions) -> Detector | RemoteDetector:
    return _loaded_detector(options.detector, options.server)


@lru_cache(maxsize=1)
def _loaded_detector(file: DetectorFile, server: ServerAddress | None) -> Detector | RemoteDetector:
    cv2.setNumThreads(1)  # one photo per process is the parallelism; more threads would only contend
    return Detector(file) if server is None else RemoteDetector(server)
