"""Error measures and conformal intervals for age estimates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from photoage.records import FloatArray

AGE_BINS: tuple[tuple[int, int], ...] = (
    (0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 200),
)  # fmt: skip
CALIBRATION_EDGES = (0.0, 3.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
MIN_CALIBRATION = 80  # residuals a bin needs for tails of 5 % to mean something


@dataclass(frozen=True)
class Metrics:
    """Errors in years over `count` faces; `cs5` in percent."""

    count: int
    mae: float
    cs5: float
    bias: float
    coverage: float | None = None  # share of ages inside the interval, percent
    width: float | None = None  # mean interval width in years


@dataclass(frozen=True)
class IntervalTable:
    """The numbers of an `age_model.Interval`, without torch."""

    coverage: float
    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def bin_name(low: int, high: int) -> str:
    return f"{low}+" if high >= 200 else f"{low}-{high}"


def measure(
    predicted: FloatArray,
    age: FloatArray,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    rows: npt.NDArray[np.bool_] | None = None,
) -> Metrics | None:
    """Metrics over the chosen rows, or None when there are none."""
    if rows is not None:
        predicted, age = predicted[rows], age[rows]
        bounds = (bounds[0][rows], bounds[1][rows]) if bounds else None
    if len(age) == 0:
        return None
    error = predicted.astype(np.float64) - age
    coverage = width = None
    if bounds is not None:
        coverage = float(((age >= bounds[0]) & (age <= bounds[1])).mean() * 100)
        width = float((bounds[1] - bounds[0]).mean())
    return Metrics(
        len(age),
        float(np.abs(error).mean()),
        float((np.abs(error) <= 5).mean() * 100),
        float(error.mean()),
        coverage,
        width,
    )


def calibrate(
    predicted: FloatArray, age: FloatArray, coverage: float = 0.9, edges: Sequence[float] = CALIBRATION_EDGES
) -> IntervalTable:
    """Split-conformal half-widths by predicted-age bin, each side covering (1 + coverage) / 2.

    Neighbouring bins with fewer than MIN_CALIBRATION residuals are merged. Method: Romano, Patterson
    and Candes, "Conformalized quantile regression", NeurIPS 2019 (asymmetric form), applied per bin
    (Mondrian) to a plain regression.
    """
    bounds = list(edges) + [math.inf]
    groups: list[tuple[float, float]] = list(zip(bounds[:-1], bounds[1:], strict=True))

    def count(group: tuple[float, float]) -> int:
        return int(((predicted >= group[0]) & (predicted < group[1])).sum())

    while len(groups) > 1 and min(count(g) for g in groups) < MIN_CALIBRATION:
        i = min(range(len(groups)), key=lambda k: count(groups[k]))
        j = i - 1 if i > 0 and (i == len(groups) - 1 or count(groups[i - 1]) <= count(groups[i + 1])) else i + 1
        a, b = sorted((i, j))
        groups[a : b + 1] = [(groups[a][0], groups[b][1])]
    low, high = [], []
    for start, end in groups:
        rows = (predicted >= start) & (predicted < end)
        residual = (age - predicted)[rows].astype(np.float64)
        low.append(_conformal_quantile(-residual, (1 + coverage) / 2))
        high.append(_conformal_quantile(residual, (1 + coverage) / 2))
    return IntervalTable(coverage, tuple(g[0] for g in groups), tuple(low), tuple(high))


def _conformal_quantile(scores: npt.NDArray[np.float64], level: float) -> float:
    """The ceil((n + 1) * level)-th smallest score; the largest when n is too small for that."""
    if len(scores) == 0:
        return 0.0
    rank = min(len(scores), math.ceil((len(scores) + 1) * level))
    return float(max(0.0, np.sort(scores)[rank - 1]))


def interval_bounds(predicted: FloatArray, table: Any) -> tuple[FloatArray, FloatArray]:
    """(age_low, age_high) for each predicted age, not below 0. `table` has edges, low and high."""
    index = np.clip(np.searchsorted(table.edges, predicted, side="right") - 1, 0, len(table.edges) - 1)
    low = np.maximum(0.0, predicted - np.asarray(table.low)[index])
    return low.astype(np.float32), (predicted + np.asarray(table.high)[index]).astype(np.float32)


def report(
    predicted: FloatArray,
    age: FloatArray,
    groups: dict[str, npt.NDArray[Any]],
    bounds: tuple[FloatArray, FloatArray] | None = None,
) -> dict[str, Any]:
    """All tables of an evaluation as plain numbers.

    `groups` maps a name such as `gender` to one code per face. Empty groups appear as None, so that
    no bin silently lacks a figure.
    """

    def entry(rows: npt.NDArray[np.bool_] | None) -> dict[str, Any] | None:
        metrics = measure(predicted, age, bounds, rows)
        return asdict(metrics) if metrics else None

    span: Callable[[int, int], npt.NDArray[np.bool_]] = lambda a, b: (age >= a) & (age <= b)  # noqa: E731
    return {
        "all_ages": entry(None),
        "secondary": {"ages 1-80": entry(span(1, 80)), "ages 21-60": entry(span(21, 60))},
        "by_age": {bin_name(a, b): entry(span(a, b)) for a, b in AGE_BINS},
        **{
            f"by_{name}": {str(code): entry(codes == code) for code in sorted(set(codes.tolist()))}
            for name, codes in groups.items()
        },
    }
