"""A person's birth date, fitted to the ages that the model sees in their dated photos.

Moments are years since the year 0: days divided by 365.2425, so that a difference of two is an age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from photoage.records import PhotoDate

Floats = npt.NDArray[np.float64]

YEAR = 365.2425  # days
STEP = 0.1  # years between the birth dates that are tried
TAIL = 1.6449  # standard errors from the middle to the bounds of a 90 % interval
LEAST_ERROR = 0.7  # years: no single estimate is surer than this
OUTLIERS = 0.1  # share of faces whose date or person is expected to be wrong,
OUTLIER_YEARS = 100.0  # ... so that any age is as likely as another
SHARED = 0.3  # how much of their error photos of one year share: the model, the haircut, the camera
COMMON = 0.09  # who looks old for their age does so in all photos, the more the older they are: the standard
# error that all estimates of one person share, as a share of their mean age, measured on FG-NET
FEWEST = 3  # dated photos that a birth date is fitted to
CONTRADICTED = 0.5  # share of faces that must agree
CERTAIN = 0.5  # chance from which a face is believed to be of its person, and its date right
FEWEST_HABITS = 4  # dated photos by which a habitual error is corrected
WIDEST = 25.0  # years of interval from which a birth date says nothing

BLOCK = 1_000  # faces that are worked on at once


def year_range(text: str) -> tuple[float, float]:
    """First and last moment of a date as precise as it is: `1984`, `1984-06`, `1984-06-12`, or a time.

    Raises `ValueError` for anything else.
    """
    known = PhotoDate.parse(text)
    first = known.first_day
    if known.day is not None:
        last = first + timedelta(days=1)
    elif known.month is not None:
        last = date(known.year + known.month // 12, known.month % 12 + 1, 1)
    else:
        last = date(known.year + 1, 1, 1)
    return first.toordinal() / YEAR, last.toordinal() / YEAR


def to_date(moment: float) -> date:
    """The day of a moment in years."""
    return date.fromordinal(max(1, round(moment * YEAR)))


@dataclass(frozen=True, slots=True, eq=False)
class DatedFaces:
    """Faces of one person whose photos have a date.

    All (N,): `taken` and `taken_error` are the middle and half of the length of what is known of the date;
    `age`, `low` and `high` the estimates with their 90 % intervals. All in years.
    """

    taken: Floats
    taken_error: Floats
    age: Floats
    low: Floats
    high: Floats

    def __len__(self) -> int:
        return len(self.taken)


@dataclass(frozen=True, slots=True)
class Birth:
    """A fitted birth date: its middle and the bounds of a 90 % interval, as moments in years.

    `faces` it was fitted to, `agreeing` those whose dates and ages it explains.
    """

    born: float
    low: float
    high: float
    faces: int
    agreeing: float


@dataclass(frozen=True, slots=True)
class NoBirth:
    """Why there is no fitted birth date, in words."""

    reason: str


def age_likelihood(
    true_age: Floats, age: Floats, low: Floats, high: Floats, more: Floats | float = 0.0
) -> Floats:
    """Density of estimates given true ages, all in years and of shapes that fit together.

    A normal on each side of the estimate, as wide as its interval says; `more` is a standard error on top.
    """
    off = true_age - age
    half = np.where(off > 0, high - age, age - low)
    error = np.sqrt(np.square(np.maximum(half / TAIL, LEAST_ERROR)) + np.square(more))
    density = np.exp(-0.5 * np.square(off / error)) / (error * 2.5066)
    return np.asarray(np.where(true_age < -np.asarray(more) - 0.1, 0.0, density), dtype=np.float64)


def fit_birth(faces: DatedFaces) -> Birth | NoBirth:
    """The birth date that a person's dated faces agree on.

    Each face votes with its interval, so that young faces, whose ages are known best, tell most; a share of
    OUTLIERS may be of another person or have a false date. What is left of chance after many photos is the
    error that they share. Refused where fewer than FEWEST photos have a date, where they contradict each
    other, or where they leave more than WIDEST years open.
    """
    if len(faces) < FEWEST:
        return NoBirth("too few dated photos")
    implied = faces.taken - faces.age
    grid = np.arange(implied.min() - 15, implied.max() + 15, STEP)
    weight = _weights(faces.taken)
    score = np.zeros(len(grid))
    for start in range(0, len(faces), BLOCK):
        part = slice(start, start + BLOCK)
        score += weight[part] @ np.log(_mixed(_likelihood(faces, grid, part)))
    common = COMMON * _mean_age(faces, grid[score.argmax()], weight)
    grid, chance = _blurred(grid, np.exp(score - score.max()), common)
    chance /= chance.sum()
    low, born, high = quantiles(grid, chance, (0.05, 0.5, 0.95))
    agreeing = float(weight @ agreement(faces, born) / weight.sum())
    if agreeing < CONTRADICTED:
        return NoBirth("dates and ages contradict each other")
    if high - low > WIDEST:
        return NoBirth("the ages leave it open")
    return Birth(born, low, high, len(faces), agreeing)


def agreement(faces: DatedFaces, born: float) -> Floats:
    """The chance of each face that it is of a person born then, and its photo's date right: (N,)."""
    likelihood = _likelihood(faces, np.array([born]), slice(None))[:, 0]
    return np.asarray((1 - OUTLIERS) * likelihood / _mixed(likelihood), dtype=np.float64)


def habitual_error(faces: DatedFaces, born: float, age: float) -> float:
    """How many years too old the model is wont to see a person born then where it says `age`.

    The mean error of estimates like this one in the person's dated photos, as if there were one more without
    any error; 0 with fewer than FEWEST_HABITS. Measured: docs/people.md.
    """
    if len(faces) < FEWEST_HABITS:
        return 0.0
    near = np.exp(-0.5 * np.square((faces.age - age) / (3 + 0.3 * age)))
    weight = near * agreement(faces, born)
    return float(weight @ (faces.age - (faces.taken - born)) / (weight.sum() + 1))


def _likelihood(faces: DatedFaces, born: Floats, part: slice) -> Floats:
    """Densities (F, B) of the estimates of some faces, for each of the birth dates (B,)."""
    age, low, high = (values[part, None] for values in (faces.age, faces.low, faces.high))
    error = faces.taken_error[part, None] / np.sqrt(3)  # of a date that is anywhere between two others
    return age_likelihood(faces.taken[part, None] - born[None], age, low, high, error)


def _mixed(likelihood: Floats) -> Floats:
    return np.asarray((1 - OUTLIERS) * likelihood + OUTLIERS / OUTLIER_YEARS, dtype=np.float64)


def _weights(taken: Floats) -> Floats:
    """How much each face counts: photos of one year share part of their error."""
    _, place, number = np.unique(np.floor(taken), return_inverse=True, return_counts=True)
    return np.asarray(1 / (1 + SHARED * (number[place] - 1)), dtype=np.float64)


def _mean_age(faces: DatedFaces, born: float, weight: Floats) -> float:
    """The mean age that is seen in the faces that a birth date is told by, each by how much it tells."""
    error = np.hypot((faces.high - faces.low) / (2 * TAIL), np.maximum(faces.taken_error, LEAST_ERROR))
    tells = weight * agreement(faces, born) / np.square(error)
    return float(tells @ faces.age / max(tells.sum(), 1e-12))


def _blurred(grid: Floats, chance: Floats, error: float) -> tuple[Floats, Floats]:
    """Grid and chances on it after a further error (a standard deviation in years)."""
    reach = max(1, int(4 * error / STEP))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) * STEP / max(error, STEP)))
    wider = grid[0] + STEP * np.arange(-reach, len(grid) + reach)
    return wider, np.convolve(chance, kernel)


def quantiles(grid: Floats, chance: Floats, levels: Sequence[float]) -> list[float]:
    """Where the chances (which sum to 1) on an even grid reach these levels."""
    return [float(value) for value in np.interp(levels, np.cumsum(chance) - chance / 2, grid)]
