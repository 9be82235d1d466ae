"""Photos that lie on their side or stand on their head, and pages of prints at angles.

SCRFD misses such faces, or finds them with landmarks as if they were upright; but it nearly always sees that
something may be there. Each such place is cut out and seen small in the other three turns, all in one run,
which costs 2 % of reading a photo of 12 megapixels; only turns in which a face is clearly seen are looked at
in full. Four places, down to a score of 0.12, cost 4 %, and 35 photos in three turns each showed no gain. Of
49 portraits in each wrong turn every one left a place of 0.14 or more in 98 of 100 cases, and a face in the
right turn scores 0.73 or more; landscapes leave none mostly.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from photoage.faces.detector import FaceFinder
from photoage.faces.quality import roll
from photoage.faces.views import FirstLook, distinct, long_side, on_black, within
from photoage.photos.orientation import turn_box, turn_pixels, turn_sides
from photoage.records import Detection, DetectOptions, ImageArray

OTHERS = (90, 180, 270)
GOOD = 0.65  # score of an upright face that leaves no doubt about a photo
UPRIGHT = 50.0  # degrees to each side that count as upright
DOUBT = 0.14  # the least score of a place to look at, in a photo without a good face
DOUBT_BESIDE = 0.2  # and in one with a good face, where prints at other angles may be
PLACES = 2  # to look at, at most
SURE = 0.6  # score of a face that counts when it is seen in another turn than the photo's
MARGIN = 1.2  # times the evidence of the photo as it is, before it is turned
# A place is shown with its surroundings on a small square, where its face has some 30 pixels.
PLACE_SIDES = 3.2
PLACE_CANVAS = 96


def find_turned(
    finder: FaceFinder, rgb: ImageArray, look: FirstLook, options: DetectOptions
) -> tuple[list[Detection], int]:
    """The faces of a photo that may not be upright, from its first look, and its turn.

    Faces are in pixels of the photo after that turn, left to right.
    """
    turns = _likely_turns(finder, rgb, look)
    if not turns:
        return look.faces, 0
    height, width = rgb.shape[:2]
    seen = {0: look.faces}
    for turn in turns:
        faces = finder.detect(
            turn_pixels(rgb, turn), det_thresh=options.det_thresh, det_size=options.det_size
        )
        seen[turn] = [turn_face(face, -turn % 360, *turn_sides(width, height, turn)) for face in faces]
    turn_of = {id(face): turn for turn, faces in seen.items() for face in faces}
    each = _apart(distinct([face for faces in seen.values() for face in faces]))
    weight = {
        turn: sum(face.det_score for face in each if turn_of[id(face)] == turn and _fits(face, turn))
        for turn in seen
    }
    best = max(weight, key=lambda turn: weight[turn])
    if weight[best] < MARGIN * weight[0]:
        best = 0
    kept = [face for face in each if turn_of[id(face)] == best or face.det_score >= SURE]
    return within(
        (turn_face(face, best, width, height) for face in kept), *turn_sides(width, height, best)
    ), best


def turn_face(face: Detection, turn: int, width: int, height: int) -> Detection:
    """A face of a photo of this size in the photo turned clockwise by so many degrees."""
    if turn == 0:
        return face
    x, y = face.landmarks.T
    right, bottom = width - 1, height - 1  # landmarks are at pixel centres, boxes run along pixel edges
    points = {90: (bottom - y, x), 180: (right - x, bottom - y), 270: (y, right - x)}[turn]
    landmarks = np.stack(points, axis=1).astype(np.float32)
    return Detection(turn_box(face.bbox, turn, width, height), landmarks, face.det_score)


def _fits(face: Detection, turn: int) -> bool:
    """Whether a face, in the photo as it is, is upright after this turn by its landmarks."""
    return abs((roll(face.landmarks) + turn + 180) % 360 - 180) <= UPRIGHT


def _likely_turns(finder: FaceFinder, rgb: ImageArray, look: FirstLook) -> list[int]:
    """The other turns in which a small look shows a face clearly."""
    good = [face for face in look.faces if face.det_score >= GOOD and _fits(face, 0)]
    least = DOUBT_BESIDE if good else DOUBT
    doubts = [
        face
        for face in (*look.faces, *look.weak)
        if face.det_score >= least and not any(face is other or _share_centre(face, other) for other in good)
    ]
    doubts = distinct(doubts)[:PLACES]
    places = [_place(rgb, face) for face in doubts]
    if not good:
        places.append(look.glance)
    if not places:
        return []
    turned = [(turn, turn_pixels(place, turn)) for turn in OTHERS for place in places]
    found = finder.look([place for _, place in turned], SURE)
    shown = {turn for (turn, _), (boxes, landmarks) in zip(turned, found, strict=True) if _upright(landmarks)}
    if shown and (good or len(shown) > 1):
        return list(OTHERS)  # prints at several angles, more of them than places
    return sorted(shown)


def _upright(landmarks: Iterable[np.ndarray]) -> bool:
    return any(abs(roll(points)) <= UPRIGHT for points in landmarks)


def _place(rgb: ImageArray, face: Detection) -> ImageArray:
    """What may be a face, with its surroundings, on a small square."""
    x1, y1, x2, y2 = face.bbox
    half = long_side(face) * PLACE_SIDES / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, int(x - half)), max(0, int(y - half))
    return on_black(rgb[top : int(y + half) + 1, left : int(x + half) + 1], PLACE_CANVAS, PLACE_CANVAS)


def _apart(faces: list[Detection]) -> list[Detection]:
    """The faces, best first, without those that share their centre with a better one."""
    kept: list[Detection] = []
    for face in faces:
        if not any(_share_centre(face, other) for other in kept):
            kept.append(face)
    return kept


def _share_centre(face: Detection, other: Detection) -> bool:
    """Whether the centre of each box lies in the other."""
    return all(
        c[0] < (d[0] + d[2]) / 2 < c[2] and c[1] < (d[1] + d[3]) / 2 < c[3]
        for c, d in ((face.bbox, other.bbox), (other.bbox, face.bbox))
    )
