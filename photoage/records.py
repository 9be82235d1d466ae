"""The values that travel between the stages. Stages share these types and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]  # (height, width, 3), RGB, upright
FloatArray = npt.NDArray[np.float32]
Embeddings = npt.NDArray[np.float16]  # (faces, 512), each of length 1
Box = tuple[float, float, float, float]  # x1, y1, x2, y2: left, upper, right and lower edge

# Where a date may come from, in the order in which they are asked; `people` and `user` say it otherwise.
DATE_SOURCES = ("xmp", "exif", "takeout", "name", "folder")

_DATE_TEXT = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class PhotoDate:
    """When a photo was taken, as precisely as it is known: a year, month, day, minute or second.

    `str` gives ISO 8601 text cut to the precision, such as `1984-06`, and `parse` reads that. Such texts
    sort by time, a less precise date before all that it may mean. Raises `ValueError` for what is no date.
    """

    year: int
    month: int | None = None
    day: int | None = None
    hour: int | None = None
    minute: int | None = None
    second: int | None = None

    def __post_init__(self) -> None:
        parts = (self.year, self.month, self.day, self.hour, self.minute, self.second)
        known = [part for part in parts if part is not None]
        if list(parts[: len(known)]) != known or len(known) == 4:
            raise ValueError(f"a date with a gap: {parts}")
        datetime(*[*known, 1, 1][: max(3, len(known))])  # type: ignore[arg-type]

    def __str__(self) -> str:
        text = f"{self.year:04}"
        for mark, part in zip(
            "--T::", (self.month, self.day, self.hour, self.minute, self.second), strict=True
        ):
            if part is None:
                break
            text += f"{mark}{part:02}"
        return text

    @classmethod
    def parse(cls, text: str) -> PhotoDate:
        match = _DATE_TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a date such as 1984-06")
        return cls(*(None if part is None else int(part) for part in match.groups()))  # type: ignore[arg-type]

    @classmethod
    def of(cls, moment: datetime) -> PhotoDate:
        """A moment, to the second, on the clock that it was read from."""
        return cls(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)

    @property
    def first_day(self) -> date:
        """The earliest day that it may have been."""
        return date(self.year, self.month or 1, self.day or 1)


def shared_area(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes (x1, y1, x2, y2, ...) have in common."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return float(max(0.0, width) * max(0.0, height))


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2, ...), 0 to 1."""
    both = shared_area(a, b)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / union) if both and union > 0 else 0.0


def storable_ns(nanoseconds: int) -> int:
    """A file's time as a database can hold it: some file systems go beyond 64 bits (the year 2262)."""
    return max(-(2**63), min(nanoseconds, 2**63 - 1))


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A candidate photo found by the walk. Undecodable path bytes are surrogate-escaped.

    `sidecars` is the fingerprint of the files beside it that tell about it (photos/sidecar_files.py).
    Made by `of`, so that what is compared with the database is what the database holds. `taken_at` and
    `date_source` are what dating it gave; before that, and if it has no date, None.
    """

    path: str
    size: int
    mtime_ns: int
    sidecars: str = ""
    taken_at: PhotoDate | None = None
    date_source: str | None = None

    @classmethod
    def of(cls, path: str, info: os.stat_result, sidecars: str = "") -> Self:
        """The file at `path`, of which the system says `info`."""
        return cls(path, info.st_size, storable_ns(info.st_mtime_ns), sidecars)

    def is_same_version(self, info: os.stat_result) -> bool:
        """Whether the file, of which the system says `info`, is as it was."""
        return (info.st_size, storable_ns(info.st_mtime_ns)) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """Upright RGB pixels of one photo, or of one page of a multi-page file.

    `width` and `height` are the full upright size in pixels; `rgb` may be decoded at a reduced
    size, in which case `scale` = width of `rgb` / `width`. Everywhere, a point (x, y) with whole numbers
    is the centre of a pixel, so that sizes and points do not scale alike: see `reduced` and `full`.
    `oriented`: the file itself says which side is up.
    With a `problem`, in words, the photo is incomplete: only the part `sound`, in full pixels, is there.
    """

    rgb: ImageArray
    width: int
    height: int
    page: int = 1
    problem: str | None = None
    sound: Box | None = None
    oriented: bool = False

    @property
    def scale(self) -> float:
        return float(self.rgb.shape[1]) / self.width

    def reduced(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) of the full photo, as points of `rgb`."""
        return ((points + 0.5) * self.scale - 0.5).astype(np.float32)

    def full(self, face: Detection) -> Detection:
        """A face found in `rgb`, in pixels of the full photo. A box has edges, which scale as sizes do."""
        x1, y1, x2, y2 = (edge / self.scale for edge in face.bbox)
        landmarks = ((face.landmarks + 0.5) / self.scale - 0.5).astype(np.float32)
        return Detection((x1, y1, x2, y2), landmarks, face.det_score)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found by the detector, in pixels of the upright photo."""

    bbox: Box
    landmarks: FloatArray  # (5, 2): left eye, right eye, nose, mouth left, mouth right (as seen)
    det_score: float  # 0 to 1
    page: int = 1  # of the file, from 1


class Quality(NamedTuple):
    """How well a face is seen, by `faces/quality.py`."""

    sharpness: float
    yaw: float  # degrees, positive towards the photo's right


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted age of one face in years, with the bounds of its 90 % interval.

    `stratum` numbers what calibration tells apart of faces: see faces/strata.py.
    """

    age: float
    age_low: float
    age_high: float
    stratum: int = 0


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Options that decide which faces a photo has; a change means detecting again."""

    det_thresh: float = 0.5
    det_size: int = 640
    min_face: int = 24  # pixels of the upright photo, short side of the bbox

    @property
    def key(self) -> str:
        """Stable text that tells two different sets of options apart."""
        return f"thresh={self.det_thresh:g},size={self.det_size},min={self.min_face}"


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFaces:
    """What reading one photo gave: its identity, its upright size in pixels, and its faces.

    A file of several pages has the `pages`' width, height and turn, zeros for one that could not be read;
    `width` and `height` are those of the first that could. `problem`: what is lacking of it, in words.
    """

    content_hash: str  # hex XXH3-128 of the file's bytes
    width: int
    height: int
    detections: tuple[Detection, ...]  # left to right, page by page: the position is the face_index
    turn: int = 0  # degrees clockwise by which the photo was turned beyond what its file states
    embeddings: Embeddings | None = None  # of the detections; only on request
    quality: tuple[Quality, ...] = ()  # of each face
    pages: tuple[tuple[int, int, int], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KnownFaces:
    """The faces of a photo as stored, by face_index: `landmarks` (F, 5, 2), in pixels of the upright page.

    `pages` they are on, and the `turns` of these, in degrees clockwise.
    """

    landmarks: FloatArray
    pages: tuple[int, ...]
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WalkProblem:
    """A path that the walk could not enter or stat; `kind` is a short stable word."""

    path: str
    kind: str
    message: str


@dataclass(slots=True)
class RunCounts:
    """What a scan run did, in photos (and `faces` found in the photos it read)."""

    seen: int = 0
    unchanged: int = 0
    done: int = 0
    unreadable: int = 0
    missing: int = 0
    relinked: int = 0
    duplicates: int = 0
    re_estimated: int = 0
    redated: int = 0
    faces: int = 0

    @property
    def finished(self) -> int:
        """Photos that this run needs to do nothing more with."""
        return (
            self.unchanged
            + self.done
            + self.unreadable
            + self.relinked
            + self.duplicates
            + self.re_estimated
            + self.redated
        )


TEMPLATE_VERSION = "utk200-scrfd500m-1"
