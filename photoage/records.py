"""The values that travel between the stages. Stages share these types and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

ImageArray = npt.NDArray[np.uint8]  # (height, width, 3), RGB, upright
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A candidate photo found by the walk. Undecodable path bytes are surrogate-escaped."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto:
    """Upright RGB pixels of one photo.

    `width` and `height` are the full upright size in pixels; `rgb` may be decoded at a reduced
    size, in which case `scale` = width of `rgb` / `width`.
    """

    rgb: ImageArray
    width: int
    height: int
    taken_at: datetime | None

    @property
    def scale(self) -> float:
        return float(self.rgb.shape[1]) / self.width


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One face found by the detector, in pixels of the upright photo."""

    bbox: tuple[float, float, float, float]  # x1, y1, x2, y2
    landmarks: FloatArray  # (5, 2): left eye, right eye, nose, mouth left, mouth right (as seen)
    det_score: float  # 0 to 1

    def scaled(self, factor: float) -> Detection:
        """The same face in an image `factor` times as large."""
        x1, y1, x2, y2 = (v * factor for v in self.bbox)
        landmarks = (self.landmarks * factor).astype(np.float32)
        return Detection((x1, y1, x2, y2), landmarks, self.det_score)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted age of one face in years, with the bounds of its 90 % interval."""

    age: float
    age_low: float
    age_high: float


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
    """What reading one photo gave: its identity, its upright size in pixels, and its faces."""

    content_hash: str  # hex XXH3-128 of the file's bytes
    width: int
    height: int
    taken_at: datetime | None
    detections: tuple[Detection, ...]  # left to right: the position is the face_index


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
    faces: int = 0

    @property
    def finished(self) -> int:
        """Photos that this run needs to do nothing more with."""
        return (
            self.unchanged + self.done + self.unreadable + self.relinked + self.duplicates + self.re_estimated
        )


TEMPLATE_VERSION = "utk200-scrfd500m-1"
