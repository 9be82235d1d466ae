"""When a photo was taken, by how alike a face is to the same person's dated faces.

Faces lose similarity as they grow, in proportion to what grows: the less alike, the further apart. That knows
nothing of ages, and errs in other ways than the age model does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from photoage.people.births import Floats
from photoage.people.grouping import grown

# The cosine of two faces of one person, measured on FG-NET: NEAREST where they are of one age, a third of it
# where DECAY of all growing is between them, with an error of each pair and one that a face's pairs share.
NEAREST = 0.75
DECAY = 0.35
PAIR_ERROR = 0.09
FACE_ERROR = 0.1
SHARED = 0.4  # of what one pair tells the others tell too: a person's faces are alike among themselves


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How alike a face is to its person's dated faces: when these were taken, and the cosines, both (N,)."""

    taken: Floats
    cosine: Floats


def likeness_score(likeness: Likeness, born: float, moments: Floats) -> Floats:
    """Logarithms (M,), up to a constant, of how likely the cosines are in a photo of each moment."""
    number = len(likeness.taken)
    if number == 0:
        return np.zeros(len(moments))
    grown_then = grown(np.maximum(0.0, likeness.taken - born))
    gap = np.abs(grown(np.maximum(0.0, moments - born)) - grown_then[:, None])
    off = likeness.cosine[:, None] - NEAREST * np.exp(-gap / DECAY)
    shared = FACE_ERROR**2 / (PAIR_ERROR**2 + number * FACE_ERROR**2)
    squares = np.square(off).sum(axis=0) - shared * np.square(off.sum(axis=0))
    return np.asarray(-0.5 * squares / PAIR_ERROR**2 / (1 + SHARED * (number - 1)), dtype=np.float64)
