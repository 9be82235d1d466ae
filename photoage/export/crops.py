"""Face crops, cut again from the photos of stored faces; photos are opened, never changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from photoage.errors import DecodeError
from photoage.faces.align import align_crop, crop_transform
from photoage.photos.content import BYTES_PER_PIXEL, read_file
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.photos.orientation import turn_photo
from photoage.pool import Outcome, PhotoPool
from photoage.records import FloatArray, ImageArray, PhotoFile

if TYPE_CHECKING:  # a worker, which imports this module, must not wait for the database's libraries
    from sqlalchemy import Engine

    from photoage.database.face_filter import FaceFilter
    from photoage.database.query import FaceRow

LOOK_AHEAD = 600  # faces whose crops are in memory at a time, unless they are large:
LOOK_AHEAD_BYTES = 128 * 1024 * 1024
MAX_SIZE = 4096  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One stored face and its crop, or why there is none: `problem`, one line without the path.

    `crop` (size, size, 3) uint8 RGB, upright.
    """

    row: FaceRow
    crop: ImageArray | None
    problem: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FacePlace:
    """Where a stored face is: in which photo, of what upright size in pixels, and its landmarks.

    `file` as it was when it was scanned. `landmarks` (5, 2), in pixels of the upright photo.
    """

    file: PhotoFile
    width: int
    height: int
    landmarks: FloatArray
    turn: int = 0  # degrees clockwise that make the photo upright, beyond what its file states
    page: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class CutTask:
    """Faces of one page of a photo to cut: everything that a worker needs to know."""

    file: PhotoFile
    width: int
    height: int
    landmarks: FloatArray  # (F, 5, 2), in pixels of the upright photo
    frame: int
    margin: int
    positions: tuple[int, ...]  # of these faces among those asked for
    turn: int = 0
    page: int = 1


def iter_crops(
    engine: Engine, wanted: FaceFilter, *, size: int, margin: float = 0.0, workers: int | None = None
) -> Iterator[FaceCrop]:
    """The crops of the faces that match, in the filter's order, `size` pixels wide and high.

    A crop is aligned as for the age model. `margin` is how much of the surroundings it shows on each
    side, in shares of the face's frame: with 0.5 the frame fills half of the crop.

    A photo that is gone, unreadable, or of another size or date than when it was scanned has no crops
    but a problem. Faces of one photo that follow one another are cut from one decode. Memory use does
    not grow with the number of faces. Raises `DatabaseError`; `ValueError` when `size` is absurd.
    """
    rows: deque[FaceRow] = deque()
    with closing(_stored_faces(engine, wanted, rows)) as places:
        for crop, problem in cut_places(places, size=size, margin=margin, workers=workers):
            yield FaceCrop(rows.popleft(), crop, problem)


def cut_places(
    places: Iterable[FacePlace], *, size: int, margin: float = 0.0, workers: int | None = None
) -> Iterator[tuple[ImageArray | None, str | None]]:
    """Crops of stored faces as `iter_crops` cuts them: each, or None and why there is none, in their order.

    Raises `ValueError` when `size` is absurd.
    """
    if not 1 <= size <= MAX_SIZE or not 0 <= margin <= 10:
        raise ValueError(f"crops of {size} pixels with a margin of {margin}")
    from photoage.machine import available_cores
    from photoage.pool import PHOTO_TIMEOUT

    edge = round(size * margin / (1 + 2 * margin))
    ahead = max(1, min(LOOK_AHEAD, LOOK_AHEAD_BYTES // (size * size * 3)))
    with PhotoPool(workers or available_cores(), timeout=PHOTO_TIMEOUT) as pool:
        for window in _windows(places, ahead):
            crops: list[ImageArray | None] = [None] * len(window)
            problems: list[str | None] = [None] * len(window)
            for outcome in pool.run(cut_faces, _tasks(window, size - 2 * edge, edge), lambda task: (task,)):
                _settle(outcome, crops, problems)
            yield from zip(crops, problems, strict=True)


def cut_faces(task: CutTask) -> list[ImageArray | None]:
    """In a worker: the crops of one photo's faces, None where the landmarks give none.

    Raises `DecodeError`, of kind `changed` when the file is not the one that was scanned.
    """
    cv2.setNumThreads(1)
    path, pixels = task.file.path, max(task.width * task.height, DecodeOptions().max_pixels)
    file, data = read_file(path, pixels * BYTES_PER_PIXEL)
    if file != task.file:
        raise DecodeError("changed", f"{path}: has changed since it was scanned")
    scale = min(1.0, max(_scale(points, task.frame) for points in task.landmarks))
    long_side = int(np.ceil(max(task.width, task.height) * scale))
    options = DecodeOptions(pixels, min_long_side=long_side)
    photo = turn_photo(decode_bytes(data, path, options, task.page), task.turn)
    if (photo.width, photo.height) != (task.width, task.height):
        raise DecodeError("changed", f"{path}: is read with other dimensions than when it was scanned")
    crops: list[ImageArray | None] = []
    for points in task.landmarks:
        usable = _scale(points, task.frame) > 0
        cut = align_crop(photo.rgb, photo.reduced(points), task.frame, task.margin) if usable else None
        crops.append(cut)
    return crops


def _scale(landmarks: FloatArray, frame: int) -> float:
    """Pixels of the crop per pixel of the photo; 0 when no crop can be cut."""
    try:
        matrix = crop_transform(landmarks, frame)
    except ValueError:
        return 0.0
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _stored_faces(engine: Engine, wanted: FaceFilter, rows: deque[FaceRow]) -> Generator[FacePlace]:
    """The places of the faces that match; the row of each is added to `rows`."""
    from photoage.database.query import iter_with
    from photoage.database.tables import Face, Photo

    found = iter_with(engine, wanted, Photo.size, Photo.mtime_ns, Photo.turn, Photo.pages, Face.landmarks)
    for row, (size, mtime_ns, turn, pages, landmarks) in found:
        rows.append(row)
        file = PhotoFile(row.path, size, mtime_ns)
        points = stored_points(landmarks)
        turn = pages[row.page - 1][2] if pages else turn
        yield FacePlace(file, row.photo_width, row.photo_height, points, turn, row.page)


def stored_points(landmarks: object) -> FloatArray:
    """(5, 2) landmarks as the database holds them; NaN where it holds no such thing."""
    try:
        return np.array(landmarks, dtype=np.float32).reshape(5, 2)
    except (TypeError, ValueError):
        return np.full((5, 2), np.nan, dtype=np.float32)


def _windows(places: Iterable[FacePlace], length: int) -> Iterator[list[FacePlace]]:
    """Runs of about `length` faces; a photo whose faces follow one another is in one of them."""
    window: list[FacePlace] = []
    for place in places:
        if len(window) >= length and place.file.path != window[-1].file.path:
            yield window
            window = []
        window.append(place)
    if window:
        yield window


def _tasks(window: Sequence[FacePlace], frame: int, margin: int) -> Iterator[CutTask]:
    """One task per page of a photo, in the order of their first faces."""
    pages: dict[tuple[str, int], list[int]] = {}
    for position, place in enumerate(window):
        pages.setdefault((place.file.path, place.page), []).append(position)
    for positions in pages.values():
        first = window[positions[0]]
        landmarks = np.stack([window[position].landmarks for position in positions])
        size, order = (first.width, first.height), tuple(positions)
        yield CutTask(first.file, *size, landmarks, frame, margin, order, first.turn, first.page)


def _settle(
    outcome: Outcome[CutTask, list[ImageArray | None]],
    crops: list[ImageArray | None],
    problems: list[str | None],
) -> None:
    """Put what became of one photo in the places of its faces."""
    task, failure = outcome.task, outcome.failure
    for position, crop in zip(task.positions, outcome.value or [None] * len(task.positions), strict=True):
        crops[position] = crop
        if failure is not None:
            problems[position] = str(failure).removeprefix(f"{task.file.path}: ")
        elif crop is None:
            problems[position] = "its landmarks are unusable; force a new scan of the photo"
