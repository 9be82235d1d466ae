"""Conformal intervals for age estimates, and how residuals are distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from photoage.records import FloatArray

CALIBRATION_EDGES = (0.0, 3.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
MIN_CALIBRATION = 80  # residuals a bin needs for tails of a few percent to mean something
# The share of the misses that may lie below the interval. Regression draws the young up: among faces
# estimated at 20 to 30 are many teenagers, who would take up nearly all misses below. On held-out
# thirds of the UTKFace validation split (40 draws), 0.3 gives the best worst age bin: 81 %.
LOWER_MISSES = 0.3
# The shares of the residuals that lie below the quantiles kept of each bin, dense where chances get small.
LEVELS = (
    *(0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075),
    *(round(0.1 + 0.05 * step, 2) for step in range(17)),
    *(0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0),
)

Strata = npt.NDArray[np.intp]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Split-conformal interval: half-width to each side of the estimate, by predicted age and by stratum.

    Bin i holds predictions in [edges[i], edges[i + 1]). `low[i]` and `high[i]` are years to subtract
    and to add. Method: Vovk's Mondrian split-conformal prediction; together, both sides cover
    `coverage` of the calibration residuals. `residuals[i]` are the quantiles of age - prediction in the bin
    at LEVELS, from which chances are told; checkpoints made before have none. All of these are for stratum
    0, and times `factors[s]` for stratum s (faces/strata.py); an unknown stratum counts as 0.
    """

    coverage: float
    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    residuals: tuple[tuple[float, ...], ...] = ()
    factors: tuple[float, ...] = (1.0,)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Interval:
        """The interval that `dataclasses.asdict` and JSON made `value` of.

        Raises `ValueError`, `KeyError` or `TypeError`.
        """
        edges, low, high = (tuple(map(float, value[name])) for name in ("edges", "low", "high"))
        residuals = tuple(tuple(map(float, row)) for row in value.get("residuals", ()))
        factors = tuple(map(float, value.get("factors", (1.0,))))
        if not len(edges) == len(low) == len(high) or len(residuals) not in (0, len(edges)) or not factors:
            raise ValueError("an interval whose bins do not agree")
        return cls(float(value["coverage"]), edges, low, high, residuals, factors)

    def factor_of(self, strata: Strata) -> npt.NDArray[np.float64]:
        """The factor for each stratum (N,)."""
        return np.asarray(self.factors)[np.where(strata < len(self.factors), strata, 0)]


def calibrate(
    predicted: FloatArray,
    age: FloatArray,
    coverage: float = 0.9,
    edges: Sequence[float] = CALIBRATION_EDGES,
    weights: Weights | None = None,
) -> Interval:
    """Split-conformal half-widths by predicted-age bin; together, both sides cover `coverage`.

    A bin with fewer than MIN_CALIBRATION residuals is merged with its smaller neighbour. In each bin
    (Mondrian), the residuals' own quantiles give the shape of the interval, and one conformal
    quantile of how far each residual lies out, relative to that shape, its size: after Romano,
    Patterson and Candes, "Conformalized quantile regression", NeurIPS 2019. A correction for each
    side apart would cover more than asked for. `weights` (N,), all 1 by default, say how much each face
    counts: after Tibshirani et al., "Conformal prediction under covariate shift", NeurIPS 2019.
    """
    weights = np.ones(len(predicted)) if weights is None else weights
    starts = list(edges)
    counts = np.bincount(bin_of(predicted, starts), minlength=len(starts)).tolist()
    while len(counts) > 1 and min(counts) < MIN_CALIBRATION:
        small = counts.index(min(counts))
        neighbours = [i for i in (small - 1, small + 1) if 0 <= i < len(counts)]
        left = min(small, min(neighbours, key=lambda i: counts[i]))
        counts[left] += counts.pop(left + 1)
        del starts[left + 1]
    residual, bins = (age - predicted).astype(np.float64), bin_of(predicted, starts)
    rows = [bins == i for i in range(len(starts))]
    halves = [_half_widths(residual[row], weights[row], coverage) for row in rows]
    low, high = zip(*halves, strict=True)
    quantiles = tuple(_levels(residual[row], weights[row]) for row in rows)
    return Interval(coverage, tuple(starts), low, high, quantiles)


def _half_widths(residual: npt.NDArray[np.float64], weights: Weights, coverage: float) -> tuple[float, float]:
    """Years below and above a prediction that hold `coverage` of a bin's residuals (age - predicted)."""
    if len(residual) == 0:
        return 0.0, 0.0
    miss = 1 - coverage
    low = max(1e-3, -_quantile(residual, weights, miss * LOWER_MISSES))
    high = max(1e-3, _quantile(residual, weights, 1 - miss * (1 - LOWER_MISSES)))
    size = _conformal_quantile(np.maximum(-residual / low, residual / high), weights, coverage)
    return size * low, size * high


def _levels(residual: npt.NDArray[np.float64], weights: Weights) -> tuple[float, ...]:
    if len(residual) == 0:
        return (0.0,) * len(LEVELS)
    return tuple(round(_quantile(residual, weights, level), 3) for level in LEVELS)


def bin_of(predicted: FloatArray, starts: Sequence[float]) -> npt.NDArray[np.intp]:
    """The bin of each prediction; the first and the last bin are open to their sides."""
    return np.clip(np.searchsorted(starts, predicted, side="right") - 1, 0, len(starts) - 1)


def _quantile(values: npt.NDArray[np.float64], weights: Weights, level: float) -> float:
    """The weighted quantile; with equal weights, numpy's default one."""
    order = np.argsort(values, kind="stable")
    steps = weights[order]
    at = np.cumsum(steps) - steps / 2
    span = at[-1] - at[0]
    if span <= 0:
        return float(values[order[-1]])
    return float(np.interp(level, (at - at[0]) / span, values[order]))


def _conformal_quantile(scores: npt.NDArray[np.float64], weights: Weights, level: float) -> float:
    """The smallest score that `level` of the weights lie up to, one face more counted at infinity.

    With equal weights, the ceil((n + 1) * level)-th smallest; the largest when the faces are too few.
    """
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(weights[order]) / (weights.sum() + weights.mean())
    rank = int(np.searchsorted(share, level - 1e-12))
    return float(scores[order[min(rank, len(scores) - 1)]])


def for_strata(
    interval: Interval, predicted: FloatArray, age: FloatArray, strata: Strata, weights: Weights
) -> Interval:
    """`interval` with a factor for each stratum, so that it covers as much in each of them.

    A factor is one conformal quantile, which a few photos can tell; a table for each stratum would need
    hundreds. A stratum with fewer than MIN_CALIBRATION faces stays as it is. What few faces tell is
    uncertain: other strata than 0 are calibrated by one standard error of the coverage above it (after
    Vovk, "Conditional validity of inductive conformal predictors", ACML 2012).
    """
    bins, residual = bin_of(predicted, interval.edges), (age - predicted).astype(np.float64)
    score = np.maximum(-residual / np.asarray(interval.low)[bins], residual / np.asarray(interval.high)[bins])
    factors = []
    for number in range(int(strata.max(initial=0)) + 1):
        rows = strata == number
        count = int(np.count_nonzero(rows))
        error = math.sqrt(interval.coverage * (1 - interval.coverage) / (count or 1)) if number else 0.0
        known = count >= MIN_CALIBRATION
        level = interval.coverage + error
        factors.append(_conformal_quantile(score[rows], weights[rows], level) if known else 1.0)
    usual = factors[0]
    return replace(
        interval,
        low=tuple(value * usual for value in interval.low),
        high=tuple(value * usual for value in interval.high),
        factors=tuple(round(factor / usual, 4) for factor in factors),
    )


def interval_bounds(
    predicted: FloatArray, interval: Interval, strata: Strata | None = None
) -> tuple[FloatArray, FloatArray]:
    """(age_low, age_high) for each predicted age (N,) of a face of its stratum (N,), not below 0."""
    bins = bin_of(predicted, interval.edges)
    factor = interval.factor_of(np.zeros(len(predicted), np.intp) if strata is None else strata)
    low = np.maximum(0.0, predicted - np.asarray(interval.low)[bins] * factor)
    return low.astype(np.float32), (predicted + np.asarray(interval.high)[bins] * factor).astype(np.float32)


def residual_table(interval: Interval) -> dict[str, Any] | None:
    """The residuals as JSON-ready values, None where a checkpoint has none.

    `edges` of the bins, their `residuals` at `levels`, and what these are times in each stratum: `factors`.
    """
    if not interval.residuals:
        return None
    return {
        "levels": list(LEVELS),
        "edges": list(interval.edges),
        "residuals": [list(row) for row in interval.residuals],
        "factors": list(interval.factors),
    }
