"""What a worker process does to one photo: read, decode, detect, align. Never imports torch.

Every function takes plain records and returns plain records, so that any engine can run them.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from photoage.errors import DecodeError
from photoage.faces.align import align_crop
from photoage.faces.detector import Detector
from photoage.faces.detector_files import DetectorFile
from photoage.faces.gpu_server import RemoteDetector, ServerAddress
from photoage.faces.quality import sharpness, yaw
from photoage.faces.recogniser import DIMENSIONS, loaded_recogniser
from photoage.faces.search import search
from photoage.faces.strata import span
from photoage.photos.content import BYTES_PER_PIXEL, content_hash, read_file
from photoage.photos.dates import date_photo
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.photos.orientation import turn_photo
from photoage.records import (
    DATE_SOURCES,
    DecodedPhoto,
    DetectOptions,
    Embeddings,
    FloatArray,
    ImageArray,
    PhotoFaces,
    PhotoFile,
    Quality,
)

# Decoding a JPEG at a reduced scale saves most of its cost; detection needs no more than this many
# times its own input, so that the smallest face it can find still has pixels for its crop.
DECODE_MARGIN = 3


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
    recogniser: DetectorFile | None = None  # to compute embeddings, too

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
    turn: int = 0,
) -> ReadPhoto:
    """Decode one photo, date it, and cut the crops of its faces.

    With `landmarks` (F, 5, 2) from an earlier scan, which turned the photo by `turn`, nothing is detected
    and only the crops count. A photo whose content is among `hashes` is not even decoded. Raises
    `DecodeError`.
    """
    file, data = read_file(path, options.max_bytes)
    file = _dated(file, options, sidecars, data)
    digest = content_hash(data)
    if digest in hashes:
        return ReadPhoto(file, PhotoFaces(digest, 0, 0, ()), _no_crops(options), known=True)
    if landmarks is not None:
        photo = turn_photo(decode_bytes(data, path, DecodeOptions(options.max_pixels)), turn)
        crops = _cut(photo, landmarks, options)
        quality = _quality(crops, landmarks, options)
        faces = PhotoFaces(digest, photo.width, photo.height, (), turn, quality=quality)
        return ReadPhoto(file, faces, crops, spans=tuple(map(span, landmarks)))
    wanted = DECODE_MARGIN * options.detect.det_size
    found = search(
        _detector(options),
        decode_bytes(data, path, DecodeOptions(options.max_pixels, min_long_side=wanted)),
        lambda: decode_bytes(data, path, DecodeOptions(options.max_pixels)),
        options.detect,
    )
    marks = np.array([face.landmarks for face in found.faces], dtype=np.float32).reshape(-1, 5, 2)
    crops = _cut(found.photo, marks, options)
    embeddings = None if options.recogniser is None else _embed(found.photo, marks, options.recogniser)
    size, quality = (found.photo.width, found.photo.height), _quality(crops, marks, options)
    faces = PhotoFaces(digest, *size, tuple(found.faces), found.turn, embeddings, quality)
    return ReadPhoto(file, faces, crops, _detector(options).providers[0], spans=tuple(map(span, marks)))


def _dated(file: PhotoFile, options: ReadOptions, sidecars: str, data: bytes) -> PhotoFile:
    return date_photo(replace(file, sidecars=sidecars), options.dates, data)


def embed_stored(
    path: str, digest: str, landmarks: FloatArray, turn: int, recogniser: DetectorFile, options: DecodeOptions
) -> Embeddings:
    """Embeddings of the faces that were stored for a photo, in the order of their `landmarks` (F, 5, 2).

    `digest`: the content hash of the photo that they are of; `turn`: how it was turned then. Raises
    `DecodeError`, of the kind `changed` when the file holds something else.
    """
    _, data = read_file(path, options.max_pixels * BYTES_PER_PIXEL)
    if content_hash(data) != digest:
        raise DecodeError("changed", f"{path}: changed since it was scanned; scan it again")
    return _embed(turn_photo(decode_bytes(data, path, options), turn), landmarks, recogniser)


def _embed(photo: DecodedPhoto, landmarks: FloatArray, recogniser: DetectorFile) -> Embeddings:
    if len(landmarks) == 0:
        return np.empty((0, DIMENSIONS), dtype=np.float16)
    cv2.setNumThreads(1)
    return loaded_recogniser(recogniser).embed(photo.rgb, photo.reduced(landmarks))


def _cut(photo: DecodedPhoto, landmarks: FloatArray, options: ReadOptions) -> ImageArray:
    if len(landmarks) == 0:
        return _no_crops(options)
    size, margin = options.crop_size, options.margin
    return np.stack([align_crop(photo.rgb, points, size, margin) for points in photo.reduced(landmarks)])


def _quality(crops: ImageArray, landmarks: FloatArray, options: ReadOptions) -> tuple[Quality, ...]:
    inner = slice(options.margin, options.margin + options.crop_size)
    return tuple(
        Quality(sharpness(crop[inner, inner]), yaw(points))
        for crop, points in zip(crops, landmarks, strict=True)
    )


def _no_crops(options: ReadOptions) -> ImageArray:
    side = options.crop_size + 2 * options.margin
    return np.empty((0, side, side, 3), dtype=np.uint8)


def _detector(options: ReadOptions) -> Detector | RemoteDetector:
    return _loaded_detector(options.detector, options.server)


@lru_cache(maxsize=1)
def _loaded_detector(file: DetectorFile, server: ServerAddress | None) -> Detector | RemoteDetector:
    cv2.setNumThreads(1)  # one photo per process is the parallelism; more threads would only contend
    return Detector(file) if server is None else RemoteDetector(server)
