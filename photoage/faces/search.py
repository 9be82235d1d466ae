"""The faces of one photo, by whatever it takes: a first look, the other turns, tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from photoage.faces.detector import FaceFinder
from photoage.faces.tiles import find_in_tiles, need_tiles
from photoage.faces.turns import find_turned
from photoage.photos.orientation import turn_photo
from photoage.records import DecodedPhoto, Detection, DetectOptions

# A face with a shorter side than this in a reduced decode is cut from a full decode instead, which costs as
# much as the rest of a photo. UTKFace validation faces have an MAE 0.05 years higher at 48 than at 96 pixels.
SMALL_FACE = 48


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """A photo after the search: turned, in as many pixels as its crops need.

    `faces` in pixels of the full turned photo, left to right; `turn` in degrees clockwise.
    """

    photo: DecodedPhoto
    faces: list[Detection]
    turn: int


def search(
    finder: FaceFinder, photo: DecodedPhoto, decode: Callable[[], DecodedPhoto], options: DetectOptions
) -> Searched:
    """Find the faces of a photo, without those that are too small to estimate.

    `photo` may be decoded at a reduced size; `decode` gives all of its pixels.
    """
    look = finder.first_look(photo.rgb, det_thresh=options.det_thresh, det_size=options.det_size)
    found, turn = (look.faces, 0) if photo.oriented else find_turned(finder, photo.rgb, look, options)
    tiled = need_tiles(finder, photo, look, options)
    photo = turn_photo(photo, turn)
    found = list(map(photo.full, found))
    if tiled:
        photo = turn_photo(decode(), turn) if photo.scale < 1 else photo
        found = find_in_tiles(finder, photo.rgb, found, options)
    found = [face for face in found if _short_side(face) >= options.min_face and _has_extent(face)]
    smallest = min(map(_short_side, found), default=float("inf"))
    if photo.scale < 1 and smallest * photo.scale < SMALL_FACE:
        photo = turn_photo(decode(), turn)
    return Searched(photo, found, turn)


def _short_side(face: Detection) -> float:
    x1, y1, x2, y2 = face.bbox
    return min(x2 - x1, y2 - y1)


def _has_extent(face: Detection) -> bool:
    """Whether the landmarks are apart enough for a transform to exist."""
    return bool(np.ptp(face.landmarks, axis=0).max() > 1.0)
