"""What a worker process does to one photo: read, decode, detect, align. Never imports torch.

Every function takes plain records and returns plain records, so that any engine can run them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
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
from photoage.photos.decode import DecodeOptions, decode_bytes, decode_pages
from photoage.photos.orientation import turn_photo
from photoage.photos.own import is_own
from photoage.records import (
    DATE_SOURCES,
    DecodedPhoto,
    Detection,
    DetectOptions,
    Embeddings,
    FloatArray,
    ImageArray,
    KnownFaces,
    PhotoFaces,
    PhotoFile,
    Quality,
)

# Decoding a JPEG at a reduced scale saves most of its cost; detection needs no more than this many
# times its own input, so that the smallest face it can find still has pixels for its crop.
DECODE_MARGIN = 3

# Of a face's height, from where a cut-off photo is lacking. Ages of 22 faces, with all below grey, are off by
# 0.07 years there (at most 0.8), 0.5 at the edge of the box (at most 3.9), 1.5 with 7 % of it lacking (8).
DISTANCE = 0.05


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
    skip_own: bool = False  # no faces are looked for on pictures that photoage made

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
    `own`: photoage made it, and no faces were looked for.
    """

    file: PhotoFile
    faces: PhotoFaces
    crops: ImageArray
    provider: str = ""  # the execution provider that the detector really used
    known: bool = False
    spans: tuple[float, ...] = ()
    own: bool = False


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
    known: KnownFaces | None = None,
    hashes: Container[str] = frozenset(),
    sidecars: str = "",
) -> ReadPhoto:
    """Decode one photo, date it, and cut the crops of its faces.

    With the faces `known` from an earlier scan, nothing is detected and only the crops count. A photo
    whose content is among `hashes` is not even decoded. Of a file with several pages, those that fail
    cost the others nothing. Raises `DecodeError`.
    """
    file, data = read_file(path, options.max_bytes)
    file = _dated(file, options, sidecars, data)
    digest = content_hash(data)
    if digest in hashes:
        return ReadPhoto(file, PhotoFaces(digest, 0, 0, ()), _no_crops(options), known=True)
    if known is not None:
        crops, marks = _cut_known(data, path, known, options), known.landmarks
        faces = PhotoFaces(digest, 0, 0, (), quality=_quality(crops, marks, options))
        return ReadPhoto(file, faces, crops, spans=tuple(map(span, marks)))
    if options.skip_own and is_own(data):
        return _without_faces(
            file, digest, decode_bytes(data, path, DecodeOptions(options.max_pixels)), options
        )
    reduced = DecodeOptions(options.max_pixels, min_long_side=DECODE_MARGIN * options.detect.det_size)
    pages = [
        page if isinstance(page, DecodeError) else _read_page(page, data, path, options)
        for page in decode_pages(data, path, reduced)
    ]
    read = [page for page in pages if isinstance(page, _Page)]
    if not read:
        raise next(page for page in pages if isinstance(page, DecodeError))
    found = tuple(face for page in read for face in page.faces)
    marks = np.array([face.landmarks for face in found], dtype=np.float32).reshape(-1, 5, 2)
    crops = np.concatenate([page.crops for page in read])
    sizes = tuple((0, 0, 0) if isinstance(page, DecodeError) else page.size for page in pages)
    embeddings = None
    if options.recogniser is not None:
        embeddings = np.concatenate([page.embeddings for page in read if page.embeddings is not None])
    faces = PhotoFaces(
        digest,
        *read[0].size[:2],
        found,
        read[0].size[2],
        embeddings,
        _quality(crops, marks, options),
        sizes if len(pages) > 1 else (),
        _lacking(pages),
    )
    return ReadPhoto(file, faces, crops, _detector(options).providers[0], spans=tuple(map(span, marks)))


def _without_faces(file: PhotoFile, digest: str, photo: DecodedPhoto, options: ReadOptions) -> ReadPhoto:
    embeddings = None if options.recogniser is None else np.empty((0, DIMENSIONS), dtype=np.float16)
    faces = PhotoFaces(digest, photo.width, photo.height, (), embeddings=embeddings)
    return ReadPhoto(file, faces, _no_crops(options), own=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """What reading one page gave; most photos are one. `size`: upright width and height, and the turn."""

    size: tuple[int, int, int]
    faces: list[Detection]
    crops: ImageArray
    embeddings: Embeddings | None
    problem: str | None


def _read_page(photo: DecodedPhoto, data: bytes, path: str, options: ReadOptions) -> _Page:
    found = search(
        _detector(options),
        photo,
        lambda: decode_bytes(data, path, DecodeOptions(options.max_pixels), photo.page),
        options.detect,
    )
    faces = [replace(face, page=photo.page) for face in found.faces if _is_whole(face, found.photo)]
    marks = np.array([face.landmarks for face in faces], dtype=np.float32).reshape(-1, 5, 2)
    size = (found.photo.width, found.photo.height, found.turn)
    embeddings = None if options.recogniser is None else _embed(found.photo, marks, options.recogniser)
    return _Page(size, faces, _cut(found.photo, marks, options), embeddings, photo.problem)


def _is_whole(face: Detection, photo: DecodedPhoto) -> bool:
    """Whether a face keeps its distance from where a cut-off photo is lacking: a part has another age."""
    if photo.sound is None:
        return True
    (x1, y1, x2, y2), (left, upper, right, lower) = face.bbox, photo.sound
    room = DISTANCE * max(x2 - x1, y2 - y1)
    return (
        (left <= 0 or left <= x1 - room)
        and (upper <= 0 or upper <= y1 - room)
        and (right >= photo.width or x2 + room <= right)
        and (lower >= photo.height or y2 + room <= lower)
    )


def _lacking(pages: Sequence[_Page | DecodeError]) -> str | None:
    """What is lacking of a photo, in words."""
    told = [
        f"page {number}: {problem}" if len(pages) > 1 else str(problem)
        for number, page in enumerate(pages, start=1)
        if (problem := page if isinstance(page, DecodeError) else page.problem) is not None
    ]
    return f"{told[0]} (and {len(told) - 1} more pages)" if len(told) > 1 else next(iter(told), None)


def _cut_known(data: bytes, path: str, known: KnownFaces, options: ReadOptions) -> ImageArray:
    """The crops of the known faces, which are in the order of their pages."""
    crops = [_no_crops(options)]
    for page, turn in dict.fromkeys(zip(known.pages, known.turns, strict=True)):
        photo = turn_photo(decode_bytes(data, path, DecodeOptions(options.max_pixels), page), turn)
        crops.append(_cut(photo, known.landmarks[[of == page for of in known.pages]], options))
    return np.concatenate(crops)


def _dated(file: PhotoFile, options: ReadOptions, sidecars: str, data: bytes) -> PhotoFile:
    return date_photo(replace(file, sidecars=sidecars), options.dates, data)


def embed_stored(
    path: str, digest: str, known: KnownFaces, recogniser: DetectorFile, options: DecodeOptions
) -> Embeddings:
    """Embeddings of the faces that were stored for a photo, in their order (which is that of the pages).

    `digest`: the content hash of the photo that they are of. Raises `DecodeError`, of the kind `changed`
    when the file holds something else.
    """
    _, data = read_file(path, options.max_pixels * BYTES_PER_PIXEL)
    if content_hash(data) != digest:
        raise DecodeError("changed", f"{path}: changed since it was scanned; scan it again")
    found = [np.empty((0, DIMENSIONS), dtype=np.float16)]
    for page, turn in dict.fromkeys(zip(known.pages, known.turns, strict=True)):
        photo = turn_photo(decode_bytes(data, path, options, page), turn)
        found.append(_embed(photo, known.landmarks[[of == page for of in known.pages]], recogniser))
    return np.concatenate(found)


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
