"""What the detector looks at of a photo: all of it, at a glance, and close up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from photoage.records import Detection, FloatArray, ImageArray, overlap

# A face that fills the frame is lost at DET_SIZE, so each photo is also seen small: its long side
# at CLOSE_UP_PHOTO pixels, centred on black, CLOSE_UP_CANVAS pixels in all. Faces larger than
# CLOSE_UP_FACE pixels there take their box and landmarks from this view, whatever the photo's size;
# training images go through it too, so training and scanning see the same framing.
CLOSE_UP_CANVAS = 320
CLOSE_UP_PHOTO = 200
CLOSE_UP_FACE = 80
# Most photos have no such face, and a glance at them, smaller still, tells so for a fifth of the cost. It
# counts smaller and much less certain faces too: of 3,500 pictures that have a large face close up (training
# images alone, and pasted into others at half to all of their long side) it passed over none.
GLANCE_PHOTO = 96
GLANCE_CANVAS = 128
GLANCE_FACE = 28
SAME_FACE_IOU = 0.4
Found = tuple[FloatArray, FloatArray]  # boxes (n, 5) with score, landmarks (n, 5, 2)
STRIDE = 32  # of the coarsest of SCRFD's feature maps


@dataclass(frozen=True, slots=True, eq=False)
class PhotoViews:
    """What the detector looks at of one photo: all of it at the detector's size, and small on black.

    Both (h, w, 3) uint8 RGB; `width` and `height` are those of the photo they were made from.
    """

    whole: ImageArray
    glance: ImageArray
    width: int
    height: int

    @classmethod
    def of(cls, rgb: ImageArray, det_size: int) -> PhotoViews:
        """The views of an upright photo, (H, W, 3) uint8 RGB."""
        whole = _fit(rgb, det_size)
        return cls(whole, on_black(whole, GLANCE_PHOTO, GLANCE_CANVAS), rgb.shape[1], rgb.shape[0])

    def close_up(self) -> ImageArray:
        """The view for faces that fill the photo."""
        return on_black(self.whole, CLOSE_UP_PHOTO, CLOSE_UP_CANVAS)

    def first_look(self, found: tuple[Found, Found], det_thresh: float) -> FirstLook:
        """What `Detector.find` gave, in the photo's pixels."""
        weak = (face for face in self._normal(found) if face.det_score < det_thresh)
        return FirstLook(self._faces(found, det_thresh), list(weak), self.glance)

    def _faces(self, found: tuple[Found, Found], det_thresh: float) -> list[Detection]:
        """Large faces once."""
        longer = max(self.width, self.height)
        margin = (CLOSE_UP_CANVAS - CLOSE_UP_PHOTO) // 2
        large = [
            face
            for face in detections(found[1], longer / CLOSE_UP_PHOTO, margin)
            if long_side(face) * CLOSE_UP_PHOTO / longer >= CLOSE_UP_FACE
        ]
        normal = [face for face in self._normal(found) if face.det_score >= det_thresh]
        both = large + [
            face for face in normal if all(overlap(face.bbox, other.bbox) < SAME_FACE_IOU for other in large)
        ]
        return within(both, self.width, self.height)

    def _normal(self, found: tuple[Found, Found]) -> Iterator[Detection]:
        return detections(found[0], self.width / self.whole.shape[1])


class FirstLook(NamedTuple):
    """Faces of a photo, left to right, what looked like one but scored too low, and the photo at a glance."""

    faces: list[Detection]
    weak: list[Detection]
    glance: ImageArray


def within(faces: Iterable[Detection], width: int, height: int) -> list[Detection]:
    """The faces that a photo of this size holds, their boxes clipped to it, left to right."""
    clipped = (_clipped(face, width, height) for face in faces)
    return sorted((face for face in clipped if face is not None), key=lambda f: (f.bbox[0], f.bbox[1]))


def distinct(faces: Sequence[Detection]) -> list[Detection]:
    """Each face once, by the detection with the best score; best first."""
    if not faces:
        return []
    boxes = [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in (face.bbox for face in faces)]
    scores = [face.det_score for face in faces]
    return [faces[int(i)] for i in cv2.dnn.NMSBoxes(boxes, scores, 0.0, SAME_FACE_IOU)]


def detections(found: Found, factor: float, margin: float = 0.0) -> Iterator[Detection]:
    """What was found in a view, in pixels of the photo: (view pixel - margin) * factor."""
    for box, points in zip(*found, strict=True):
        x1, y1, x2, y2 = ((box[:4] - margin) * factor).tolist()
        landmarks = ((points - margin) * factor).astype(np.float32)
        yield Detection((x1, y1, x2, y2), landmarks, float(box[4]))


def _fit(rgb: ImageArray, size: int) -> ImageArray:
    """Shrink to `size` on the long side; insightface's own resize aliases.

    Halving by area averaging is vectorised in OpenCV; area averaging by a fraction is ten times slower,
    so the last step, less than a factor of 2, is bilinear.
    """
    height, width = rgb.shape[:2]
    if max(height, width) <= size:
        return rgb
    factor = size / max(height, width)
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    while max(rgb.shape[:2]) >= 2 * size:
        half = (max(1, rgb.shape[1] // 2), max(1, rgb.shape[0] // 2))
        rgb = np.asarray(cv2.resize(rgb, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(rgb, target, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _canvas(rgb: ImageArray, fixed: tuple[int, int] | None, square: bool) -> tuple[ImageArray, float]:
    """A view with black added at the right and the bottom, and by which factor it had to shrink.

    Up to a multiple of SCRFD's largest stride: a square, as insightface makes by default, would cost a
    third more for a photo of 4:3. On a GPU `square` views go together in batches of few shapes. A model
    with an input of `fixed` (width, height) gets that.
    """
    height, width = rgb.shape[:2]
    shrunk = 1.0
    if fixed is None:
        fixed = (width + -width % STRIDE, height + -height % STRIDE)
        if square:
            fixed = (max(fixed), max(fixed))
    elif width > fixed[0] or height > fixed[1]:
        shrunk = min(fixed[0] / width, fixed[1] / height)
        width, height = max(1, int(width * shrunk)), max(1, int(height * shrunk))
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    right, bottom = fixed[0] - width, fixed[1] - height
    padded = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return np.asarray(padded, dtype=np.uint8), shrunk


def on_black(rgb: ImageArray, size: int, canvas: int) -> ImageArray:
    """A photo, shrunk already or not, at `size` pixels; a square one in the middle of `canvas` pixels."""
    small = _fit(rgb, size)
    if max(small.shape[:2]) < size:
        factor = size / max(small.shape[:2])
        larger = (max(1, round(small.shape[1] * factor)), max(1, round(small.shape[0] * factor)))
        small = np.asarray(cv2.resize(small, larger, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    margin = (canvas - size) // 2
    view = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    return np.asarray(view, dtype=np.uint8)


def _may_be_large(box: FloatArray) -> bool:
    """Whether what was seen at a glance, (5,) with its score, may be a face for the close-up."""
    return bool(max(box[2] - box[0], box[3] - box[1]) >= GLANCE_FACE)


def long_side(face: Detection) -> float:
    """Of a face's box, in pixels."""
    x1, y1, x2, y2 = face.bbox
    return max(x2 - x1, y2 - y1)


def _clipped(face: Detection, width: int, height: int) -> Detection | None:
    """The face with its box inside the photo, or None where nothing of the box is left."""
    x1, y1, x2, y2 = face.bbox
    box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1 or not np.isfinite(face.landmarks).all():
        return None
    return Detection(box, face.landmarks, face.det_score)
