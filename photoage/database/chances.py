"""`prob` of a filter: the estimates whose chance to lie in a range of ages is at least so much.

The chance depends on the stored estimate and its stratum alone, so that the question becomes one of
ranges of the estimate, which an index answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, and_, false, or_, select

from photoage.database.face_filter import FaceFilter
from photoage.database.tables import StoredCheckpoint, StoredEstimate

Ranges = list[tuple[float, float]]  # of estimates in years, bounds inclusive

DECIMALS = 3  # of stored ages
GRID = np.arange(0, 130_001) / 10**DECIMALS  # every age that an estimate can have
# Estimates without residuals (those from birth dates, and of older checkpoints) are taken as normally
# distributed with the deviation that their 90 % interval has. In SQL, by classes of its width in years.
WIDTHS = (0.0, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 65)  # fmt: skip
DEVIATIONS = 2 * NormalDist().inv_cdf(0.95)  # that a 90 % interval is wide
COARSE = 100  # steps of the grid at a time, for those
_Z = np.linspace(-9, 9, 721)
_NORMAL = np.array([NormalDist().cdf(z) for z in _Z])


def likely_ranges(residuals: dict[str, Any], stratum: int, low: float, high: float, chance: float) -> Ranges:
    """Ranges of the estimates whose chance to be of somebody aged `low` to `high` is at least `chance`.

    `residuals` are a checkpoint's, as `ages.intervals.residual_table` gives them. Raises `ValueError`,
    `KeyError` or `TypeError` when they are something else.
    """
    edges = np.asarray(residuals["edges"], dtype=np.float64)
    bins = np.clip(np.searchsorted(edges, GRID, side="right") - 1, 0, len(edges) - 1)
    inside = np.zeros(len(GRID))
    for number, quantiles in enumerate(residuals["residuals"]):
        rows = bins == number
        spread = np.asarray(quantiles, dtype=np.float64) * residuals["factors"][stratum]
        # An infinite bound is beyond every residual.
        upper, lower = (
            np.interp(
                np.clip(bound - GRID[rows], -1e9, 1e9), spread, residuals["levels"], left=0.0, right=1.0
            )
            for bound in (high, low)
        )
        inside[rows] = upper - lower
    return _runs(inside >= chance - 1e-9)


def likely_normal(width: float, low: float, high: float, chance: float) -> Ranges:
    """As `likely_ranges`, of normally distributed estimates with 90 % intervals of `width` years."""
    deviation = max(width / DEVIATIONS, 1e-6)
    ages = GRID[::COARSE]
    upper, lower = (np.interp(np.clip((b - ages) / deviation, -9, 9), _Z, _NORMAL) for b in (high, low))
    return _runs(np.repeat(upper - lower >= chance - 1e-9, COARSE)[: len(GRID)])


def _runs(chosen: npt.NDArray[np.bool_]) -> Ranges:
    """The stretches of the grid that are chosen; those that reach its ends have none there."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    starts, ends = changes[::2], changes[1::2] - 1
    return [(float(GRID[start]), float(GRID[end])) for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Chances:
    """What `prob` asks of the estimates in one database; `low` to `high` holds all that can match."""

    low: float
    high: float
    cases: tuple[tuple[ColumnElement[bool], Ranges], ...]

    def test(self, column: Callable[[Any], Any]) -> ColumnElement[bool]:
        """The condition; `column` is applied to indexed columns."""
        age = column(StoredEstimate.age)
        return or_(
            false(),
            *(
                and_(case, or_(*(age.between(low, high) for low, high in ranges)))
                for case, ranges in self.cases
                if ranges
            ),
        )


def chances_of(connection: Connection, wanted: FaceFilter) -> Chances | None:
    """The chances that a filter asks for, None if it asks for none. Raises `ValueError` for odd residuals."""
    if wanted.prob is None:
        return None
    cases = tuple(_cases(connection, wanted, wanted.prob))
    bounds = [bound for _, ranges in cases for both in ranges for bound in both]
    return Chances(min(bounds, default=0.0), max(bounds, default=0.0), cases)


def _cases(
    connection: Connection, wanted: FaceFilter, chance: float
) -> Iterator[tuple[ColumnElement[bool], Ranges]]:
    low = -math.inf if wanted.min_age is None else wanted.min_age
    high = math.inf if wanted.max_age is None else wanted.max_age
    face = StoredEstimate.age_source == "face"
    known = []
    for checkpoint, residuals in connection.execute(select(StoredCheckpoint.id, StoredCheckpoint.residuals)):
        if residuals is None:
            continue
        known.append(checkpoint)
        by_checkpoint = and_(face, StoredEstimate.checkpoint_id == checkpoint)
        count = len(residuals["factors"])
        for stratum in range(count):
            # A stratum that the checkpoint does not know counts as stratum 0.
            same = StoredEstimate.stratum == stratum
            alike = or_(same, StoredEstimate.stratum >= count) if stratum == 0 else same
            ranges = likely_ranges(residuals, stratum, low, high, chance)
            yield and_(by_checkpoint, alike), ranges
    others = ~and_(face, StoredEstimate.checkpoint_id.in_(known))
    width = StoredEstimate.age_high - StoredEstimate.age_low
    if math.isinf(low) or math.isinf(high):
        # With one bound, the chance is that of one standard normal quantile: no classes are needed.
        far = StoredEstimate.age - low if math.isinf(high) else high - StoredEstimate.age
        deviations = NormalDist().inv_cdf(min(chance, 1 - 1e-9)) / DEVIATIONS
        least, most = (low, math.inf) if math.isinf(high) else (-math.inf, high)
        whole = (float(GRID[0]), float(GRID[-1]))
        sure = (max(least, whole[0]), min(most, whole[1]))
        yield and_(others, far >= deviations * width), [sure if chance >= 0.5 else whole]
        return
    for least, most in zip(WIDTHS, (*WIDTHS[1:], math.inf), strict=True):
        typical = least if math.isinf(most) else (least + most) / 2
        wide = width >= least if math.isinf(most) else and_(width >= least, width < most)
        yield and_(others, wide), likely_normal(typical, low, high, chance)
