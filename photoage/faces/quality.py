"""How much a face shows: sharpness of its crop, turn and tilt of its head, and whether it is in colour.

Pure functions of aligned crops and landmarks, so that scans, training and evaluation measure alike.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from photoage.faces.align import TEMPLATE, similarity_transform
from photoage.records import FloatArray, ImageArray

SIDE = 112  # pixels of the crop that sharpness is measured in, whatever the checkpoint's size
INNER = slice(SIDE // 5, SIDE - SIDE // 5)  # eyes, nose and mouth: neither background nor a photo's edge
FLAT = 1.0  # levels of contrast below which a crop shows nothing
# Levels of chroma, beyond what a tone explains, below which a crop is black and white. Of 232 faces of
# UTKFace and of albums those in colour have 3.3 or more, those in grey 0; JPEG's losses add to sepia.
GREY_CHROMA = 2.4
# How far the tip of the nose stands out of the plane of eyes and mouth: 27 mm where the eyes are 63 mm apart
# (the five points of Mallick, "Head pose estimation using OpenCV and dlib", 2016), in units of TEMPLATE.
NOSE_DEPTH = 27 / 63 * float(TEMPLATE[1, 0] - TEMPLATE[0, 0])


def sharpness(crop: ImageArray) -> float:
    """How sharp an aligned crop is: 0.1 and less for blur, 0.2 usually, 0.3 and more for a crisp portrait.

    `crop` (S, S, 3) uint8 without a margin. The standard deviation of the Laplacian (Pech-Pacheco et al.,
    "Diatom autofocusing in brightfield microscopy", ICPR 2000, take its square), divided by that of the
    grey levels, so that a pale print counts as much as one of full contrast. A face of few pixels is
    enlarged in its crop, and as unsharp as it looks.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if grey.shape != (SIDE, SIDE):
        how = cv2.INTER_AREA if grey.shape[0] > SIDE else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (SIDE, SIDE), interpolation=how)
    # Grain of a film or a sensor would count as sharpness; a face's own detail is coarser.
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    contrast = float(smooth[INNER, INNER].std())
    if contrast < FLAT:
        return 0.0
    return float(cv2.Laplacian(smooth, cv2.CV_32F)[INNER, INNER].std()) / contrast


def yaw(landmarks: FloatArray) -> float:
    """Degrees by which a head is turned to a side, -90 to 90; positive towards the photo's right.

    `landmarks` (5, 2). Fits a mean face in three dimensions to the five points under scaled orthographic
    projection (DeMenthon and Davis, "Model-based object pose in 25 lines of code", IJCV 15, 1995: the POS
    step). NaN when the points coincide.
    """
    try:
        matrix = similarity_transform(landmarks, TEMPLATE)
    except ValueError:
        return float("nan")
    upright = np.asarray(landmarks, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]
    breadth, _, depth = _POSE @ (upright - upright.mean(axis=0))[:, 0]
    # Along the photo's x the face's breadth appears by the cosine of the turn, its depth by the sine.
    return float(np.degrees(np.arctan2(depth, abs(breadth))))


def roll(landmarks: FloatArray) -> float:
    """Degrees, -180 to 180, by which a face is turned in the photo's plane; positive clockwise.

    `landmarks` (5, 2); NaN when they coincide. The rotation of `similarity_transform` in a tenth of its time:
    with points as complex numbers, it is the angle of their product with the template's.
    """
    x, y = np.asarray(landmarks, dtype=np.float64).T
    product = ((x - x.mean()) - 1j * (y - y.mean())) @ _UPRIGHT
    return float(-np.degrees(np.angle(product))) if np.isfinite(product) and product != 0 else float("nan")


def is_grey(crop: ImageArray) -> bool:
    """Whether a crop is black and white, toned (sepia) and unevenly scanned prints included.

    `crop` (S, S, 3) uint8 RGB. A print of one tone has a chroma that its brightness explains; what is left
    after a fit of the second degree is small. Black around the photo does not count.
    """
    ycc = cv2.cvtColor(crop, cv2.COLOR_RGB2YCrCb).reshape(-1, 3)[::7].astype(np.float64)
    ycc = ycc[ycc[:, 0] > 8]
    if len(ycc) < 16:
        return True
    bright = ycc[:, 0] / 255
    terms = np.stack([np.ones_like(bright), bright, bright**2], axis=1)
    fitted = terms @ np.linalg.lstsq(terms, ycc[:, 1:], rcond=None)[0]
    return bool(np.sqrt(((ycc[:, 1:] - fitted) ** 2).sum(axis=1).mean()) < GREY_CHROMA)


def _pose_matrix() -> npt.NDArray[np.float64]:
    """Least squares of the mean face: (3, 5), from centred points to the projections of its three axes."""
    depth = np.array([0.0, 0.0, NOSE_DEPTH, 0.0, 0.0])
    face = np.column_stack([TEMPLATE, depth])
    return np.asarray(np.linalg.pinv(face - face.mean(axis=0)), dtype=np.float64)


_UPRIGHT = (TEMPLATE - TEMPLATE.mean(axis=0)) @ np.array([1, 1j])
_POSE = _pose_matrix()
