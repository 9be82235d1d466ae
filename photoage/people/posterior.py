"""The year of a photo from the people in it: what birth dates and the ages of faces tell together.

Moments are in years, as in births.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from photoage.people.births import OUTLIER_YEARS, STEP, TAIL, Floats, age_likelihood, quantiles
from photoage.people.likeness import Likeness, likeness_score

OUTLIERS = 0.03  # share of faces that are expected to be of another person than they are said to be
MOST_AGE = 105.0
# A date is implausible where the ages are so many times less likely with it than with the best one.
CONTRADICTION = 40.0


@dataclass(frozen=True, slots=True)
class KnownFace:
    """One face of a photo whose person has a birth date (in years, with the bounds of its 90 % interval).

    `age`, `low`, `high`: the estimate of the face alone. `person`: who it is, to tell who told the date.
    `likeness` to dated faces of theirs, if it is known.
    """

    person: int
    born: float
    born_low: float
    born_high: float
    age: float
    low: float
    high: float
    likeness: Likeness | None = None


@dataclass(frozen=True, slots=True)
class PeopleDate:
    """When a photo was taken, by its people: the median and a 90 % interval, as moments in years.

    `persons`: who told it, the surest first.
    """

    taken: float
    low: float
    high: float
    persons: tuple[int, ...]


def date_photo(faces: Sequence[KnownFace], latest: float) -> PeopleDate | None:
    """The date of a photo from its faces, none later than `latest`; None where there is no face.

    Each face gives a distribution over dates: its person's birth date plus its age, both with their errors,
    and how alike it is to their dated faces. Those of all faces are multiplied. A person who seems to be the
    wrong one loses their say to the others.
    """
    if not faces:
        return None
    grid = np.arange(min(face.born_low for face in faces) - 1, max(latest, _last(faces)) + STEP, STEP)
    score = _scores(faces, grid).sum(axis=0)
    chance = np.exp(score - score.max()) * (grid <= latest)
    if not chance.sum() > 0:
        return None
    chance /= chance.sum()
    low, taken, high = quantiles(grid, chance, (0.05, 0.5, 0.95))
    surest = sorted(faces, key=lambda face: face.high - face.low + face.born_high - face.born_low)
    return PeopleDate(taken, low, high, tuple(dict.fromkeys(face.person for face in surest)))


def contradiction(faces: Sequence[KnownFace], taken: float, taken_error: float) -> float:
    """How many times less likely the ages of a photo's faces are with its date than with the best date.

    `taken` and `taken_error`: the middle and half of the length of what is known of the date. From
    CONTRADICTION, the date is implausible. 1 where there is no face.
    """
    if not faces:
        return 1.0
    grid = np.arange(
        min(face.born_low for face in faces) - 1, max(face.born_high for face in faces) + 120, STEP
    )
    best = _scores(faces, grid).sum(axis=0).max()
    stated = np.linspace(taken - taken_error, taken + taken_error, 1 + int(2 * taken_error / STEP))
    return float(np.exp(min(50.0, best - _scores(faces, stated).sum(axis=0).max())))


def _last(faces: Sequence[KnownFace]) -> float:
    return min(face.born_high for face in faces) + 1


def _scores(faces: Sequence[KnownFace], moments: Floats) -> Floats:
    """Logarithms (F, M) of how likely each face's estimate is in a photo of each moment."""

    def column(name: str) -> Floats:
        return np.array([[getattr(face, name)] for face in faces], dtype=np.float64)

    error = (column("born_high") - column("born_low")) / (2 * TAIL)
    true_age = moments[None] - column("born")
    single = age_likelihood(true_age, column("age"), column("low"), column("high"), error)
    mixed = (1 - OUTLIERS) * single + OUTLIERS / OUTLIER_YEARS
    impossible = (true_age > MOST_AGE) | (true_age < -2 * error - 1)
    mixed[impossible] *= 0.1  # nobody is on a photo before their birth
    scores = np.log(mixed)
    for row, face in enumerate(faces):
        if face.likeness is not None:
            scores[row] += likeness_score(face.likeness, face.born, moments)
    return np.asarray(scores, dtype=np.float64)
