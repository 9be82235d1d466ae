"""Small faces of large and long photos, found in overlapping tiles.

SCRFD-500M finds 97 % of faces that have 22 pixels in its view, 57 % of those with 18 and 12 % of those with
14. In between, it probably depends on how a face lies on the network's grid of 8 pixels: a larger
view may then find fewer faces than a smaller one. In a view of 640 pixels of a photo of 4,000, 22 pixels are
a face of 140; of a panorama of 20,000, one of 690.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from photoage.faces.detector import FaceFinder
from photoage.faces.views import FirstLook, detections, distinct, long_side, within
from photoage.records import DecodedPhoto, Detection, DetectOptions, ImageArray

REACH = 22  # pixels of a view that a face needs
SMALLEST = 40  # pixels of the photo of a face that tiles are to find
FINEST = REACH / SMALLEST  # tile pixels per photo pixel
TILE = 640
OVERLAP = 128  # so a face of up to 128 pixels is whole in one of two tiles; larger ones at half the scale
BATCH = 8  # tiles in memory at a time
LONG = 2.5  # the aspect ratio of a panorama
LARGE = 80_000_000  # pixels of a photo that is always seen in tiles; no phone's usual ones
# A crowd leaves many small places that score next to nothing; ordinary photos, landscapes too, leave 0 to 4.
# Where there are more, one tile tells whether they are faces.
CROWD = 8
NEW_FACES = 3  # in that tile, that the whole view did not show
INSIDE = 0.7  # share of a box that lies in a better and larger one: a part of that face


def need_tiles(finder: FaceFinder, photo: DecodedPhoto, look: FirstLook, options: DetectOptions) -> bool:
    """Whether a photo has faces, or may have, that its first look was too small for.

    The boxes of `look` are in the pixels of `photo.rgb`.
    """
    rgb, width, height = photo.rgb, photo.width, photo.height
    if options.det_size / max(width, height) >= FINEST:
        return False
    if max(width, height) >= LONG * min(width, height) or width * height >= LARGE:
        return True
    view = options.det_size / max(rgb.shape[:2])
    small = [face for face in (*look.faces, *look.weak) if long_side(face) * view < REACH]
    if len(small) < CROWD:
        return False
    scale = min(1.0, FINEST * width / rgb.shape[1])
    tile = _densest(rgb, small, round(TILE / scale))
    seen = finder.detect(tile, det_thresh=options.det_thresh, det_size=TILE)
    return sum(1 for face in seen if long_side(face) * view < REACH) >= NEW_FACES


def find_in_tiles(
    finder: FaceFinder, rgb: ImageArray, whole: list[Detection], options: DetectOptions
) -> list[Detection]:
    """The faces of a photo (H, W, 3) in its full size: those of the `whole` view, and those of tiles.

    Tiles at FINEST show faces up to OVERLAP, those at half that scale larger ones, and so on.
    """
    found = list(whole)
    scale = FINEST
    while scale * max(rgb.shape[:2]) > options.det_size * 1.5:
        found += _at_scale(finder, rgb, scale, options.det_thresh)
        scale /= 2
    return within(_without_parts(distinct(found)), rgb.shape[1], rgb.shape[0])


def _at_scale(finder: FaceFinder, rgb: ImageArray, scale: float, det_thresh: float) -> Iterator[Detection]:
    """Faces in tiles of the photo at this scale, without those that a tile's edge cuts."""
    height, width = rgb.shape[:2]
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(rgb, sides, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    corners = [(x, y) for y in _starts(sides[1]) for x in _starts(sides[0])]
    for first in range(0, len(corners), BATCH):
        some = corners[first : first + BATCH]
        for (x, y), found in zip(
            some, finder.look([small[y : y + TILE, x : x + TILE] for x, y in some], det_thresh), strict=True
        ):
            for face in detections(found, 1.0):
                if not _cut_off(face, x, y, sides):
                    yield _in_photo(face, x, y, width / sides[0])


def _starts(length: int) -> list[int]:
    """Where tiles begin along a side, evenly, at least OVERLAP of them shared."""
    if length <= TILE:
        return [0]
    number = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(i * (length - TILE) / (number - 1)) for i in range(number)]


def _cut_off(face: Detection, x: int, y: int, sides: tuple[int, int]) -> bool:
    """Whether a face of the tile at x, y reaches an edge of it that is not the photo's."""
    x1, y1, x2, y2 = face.bbox
    return (
        (x > 0 and x1 < 1)
        or (y > 0 and y1 < 1)
        or (x + TILE < sides[0] and x2 > TILE - 1)
        or (y + TILE < sides[1] and y2 > TILE - 1)
    )


def _in_photo(face: Detection, x: int, y: int, factor: float) -> Detection:
    """A face of the tile at x, y in the photo, whose pixels are so many times smaller."""
    x1, y1, x2, y2 = face.bbox
    box = (x1 + x) * factor, (y1 + y) * factor, (x2 + x) * factor, (y2 + y) * factor
    points = (face.landmarks + np.array([x, y]) + 0.5) * factor - 0.5  # pixel centres are whole numbers
    return Detection(box, points.astype(np.float32), face.det_score)


def _without_parts(faces: list[Detection]) -> list[Detection]:
    """The faces, best first, without what is a part of a better and larger one."""
    if not faces:
        return []
    boxes = np.array([face.bbox for face in faces])
    kept = []
    for i, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        shared = np.minimum(boxes[:i, 2:], box[2:]) - np.maximum(boxes[:i, :2], box[:2])
        area = np.prod(np.clip(shared, 0, None), axis=1)
        if not (area > INSIDE * np.prod(box[2:] - box[:2])).any():
            kept.append(face)
    return kept


def _densest(rgb: ImageArray, faces: list[Detection], side: int) -> ImageArray:
    """The square of the photo around that face which most others are near to."""
    centres = np.array([((f.bbox[0] + f.bbox[2]) / 2, (f.bbox[1] + f.bbox[3]) / 2) for f in faces])
    near = (np.abs(centres[:, None] - centres[None]) < side / 2).all(axis=2).sum(axis=1)
    x, y = (centres[near.argmax()] - side / 2).round().astype(int)
    left, top = (
        max(0, min(int(start), length - side)) for start, length in zip((x, y), rgb.shape[1::-1], strict=True)
    )
    return rgb[top : top + side, left : left + side]
