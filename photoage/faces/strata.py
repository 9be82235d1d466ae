"""What calibration tells apart of faces: strata, whose intervals are wider or narrower.

Measured on the validation photos of UTKFace and albums (docs/ages.md): faces of few pixels need wider
intervals; black and white, blur, the turn of the head and the detection score make no difference beyond
the estimate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from photoage.faces.align import TEMPLATE, TEMPLATE_FRAME
from photoage.records import FloatArray

USUAL, SMALL = 0, 1
SMALL_SPAN = 130.0
_SPREAD = float(np.sqrt(((TEMPLATE - TEMPLATE.mean(axis=0)) ** 2).sum(axis=1).mean()))


def strata(spans: FloatArray) -> npt.NDArray[np.intp]:
    """The strata of faces (N,) by their spans (N,)."""
    return np.where(spans < SMALL_SPAN, SMALL, USUAL)


def span(landmarks: FloatArray) -> float:
    """How many pixels of the photo a face's aligned crop spans: about 1.2 times the short side of its box.

    Told from the spread of the landmarks (5, 2), which an earlier scan has stored, too.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    spread = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return TEMPLATE_FRAME * spread / _SPREAD
