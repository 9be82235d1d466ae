"""Conformal intervals for age estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from photoage.records import FloatArray

CALIBRATION_EDGES = (0.0, 3.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
MIN_CALIBRATION = 80  # residuals a bin needs for tails of a few percent to mean something
# The share of the misses that may lie below the interval. Regression draws the young up: among faces
# estimated at 20 to 30 are many teenagers, who would take up nearly all misses below. On held-out
# thirds of the UTKFace validation split (40 draws), 0.3 gives the best worst age bin: 81 %.
LOWER_MISSES = 0.3


@dataclass(frozen=True)
class Interval:
    """Split-conformal interval: half-width to each side of the estimate, by predicted-age bin.

    Bin i holds predictions in [edges[i], edges[i + 1]). `low[i]` and `high[i]` are years to subtract
    and to add. Method: Vovk's Mondrian split-conformal prediction; together, both sides cover
    `coverage` of the calibration residuals.
    """

    coverage: float
    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def calibrate(
    predicted: FloatArray, age: FloatArray, coverage: float = 0.9, edges: Sequence[float] = CALIBRATION_EDGES
) -> Interval:
    """Split-conformal half-widths by predicted-age bin; together, both sides cover `coverage`.

    A bin with fewer than MIN_CALIBRATION residuals is merged with its smaller neighbour. In each bin
    (Mondrian), the residuals' own quantiles give the shape of the interval, and one conformal
    quantile of how far each residual lies out, relative to that shape, its size: after Romano,
    Patterson and Candes, "Conformalized quantile regression", NeurIPS 2019. A correction for each
    side apart would cover more than asked for.
    """
    starts = list(edges)
    counts = np.bincount(_bin_of(predicted, starts), minlength=len(starts)).tolist()
    while len(counts) > 1 and min(counts) < MIN_CALIBRATION:
        small = counts.index(min(counts))
        neighbours = [i for i in (small - 1, small + 1) if 0 <= i < len(counts)]
        left = min(small, min(neighbours, key=lambda i: counts[i]))
        counts[left] += counts.pop(left + 1)
        del starts[left + 1]
    residual, bins = (age - predicted).astype(np.float64), _bin_of(predicted, starts)
    halves = [_half_widths(residual[bins == i], coverage) for i in range(len(starts))]
    low, high = zip(*halves, strict=True)
    return Interval(coverage, tuple(starts), low, high)


def _half_widths(residual: npt.NDArray[np.float64], coverage: float) -> tuple[float, float]:
    """Years below and above a prediction that hold `coverage` of a bin's residuals (age - predicted)."""
    if len(residual) == 0:
        return 0.0, 0.0
    miss = 1 - coverage
    low = max(1e-3, float(np.quantile(-residual, 1 - miss * LOWER_MISSES)))
    high = max(1e-3, float(np.quantile(residual, 1 - miss * (1 - LOWER_MISSES))))
    size = _conformal_quantile(np.maximum(-residual / low, residual / high), coverage)
    return size * low, size * high


def _bin_of(predicted: FloatArray, starts: Sequence[float]) -> npt.NDArray[np.intp]:
    """The bin of each prediction; the first and the last bin are open to their sides."""
    return np.clip(np.searchsorted(starts, predicted, side="right") - 1, 0, len(starts) - 1)


def _conformal_quantile(scores: npt.NDArray[np.float64], level: float) -> float:
    """The ceil((n + 1) * level)-th smallest score; the largest when n is too small for that."""
    rank = min(len(scores), math.ceil((len(scores) + 1) * level))
    return float(np.sort(scores)[rank - 1])


def interval_bounds(predicted: FloatArray, interval: Interval) -> tuple[FloatArray, FloatArray]:
    """(age_low, age_high) for each predicted age, not below 0."""
    bins = _bin_of(predicted, interval.edges)
    low = np.maximum(0.0, predicted - np.asarray(interval.low)[bins])
    return low.astype(np.float32), (predicted + np.asarray(interval.high)[bins]).astype(np.float32)
