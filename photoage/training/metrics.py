"""Error measures for age estimates: over all faces, by age, and by group."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from photoage.records import FloatArray

BoolArray = npt.NDArray[np.bool_]

AGE_BINS: tuple[tuple[int, int], ...] = (
    (0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 200),
)  # fmt: skip


@dataclass(frozen=True)
class Metrics:
    """Errors in years over `count` faces; `cs5` in percent."""

    count: int
    mae: float
    cs5: float
    bias: float
    coverage: float | None = None  # share of ages inside the interval, percent
    width: float | None = None  # mean interval width in years


def bin_name(low: int, high: int) -> str:
    return f"{low}+" if high >= 200 else f"{low}-{high}"


def measure(
    predicted: FloatArray,
    age: FloatArray,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    rows: BoolArray | None = None,
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


def entry(
    predicted: FloatArray,
    age: FloatArray,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    rows: BoolArray | None = None,
) -> dict[str, Any]:
    """`measure` as plain numbers with three decimals; without faces, count is 0 and the figures are None."""
    metrics = measure(predicted, age, bounds, rows)
    if metrics is None:
        return {"count": 0} | dict.fromkeys(("mae", "cs5", "bias", "coverage", "width"))
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(metrics).items()}


def by_age(
    predicted: FloatArray,
    age: FloatArray,
    bounds: tuple[FloatArray, FloatArray] | None = None,
    rows: BoolArray | None = None,
) -> dict[str, Any]:
    """An `entry` for each age bin, of the chosen rows."""
    chosen = np.ones(len(age), np.bool_) if rows is None else rows
    return {
        bin_name(low, high): entry(predicted, age, bounds, chosen & within(age, low, high))
        for low, high in AGE_BINS
    }


def within(age: FloatArray, low: int, high: int) -> BoolArray:
    """Which ages are `low` to `high` years, in whole years as people say them: 9.5 is 9."""
    return (age >= low) & (age < high + 1)


def grouped_figures(
    predicted: FloatArray,
    age: FloatArray,
    groups: dict[str, tuple[npt.NDArray[Any], int]],
    bounds: tuple[FloatArray, FloatArray] | None = None,
) -> dict[str, Any]:
    """All tables of an evaluation as plain numbers with three decimals.

    The figures over all faces are at the top level: count, mae, cs5, bias, coverage, width. `groups`
    maps a name such as `gender` to one code per face and the number of codes. Every bin and code
    has its entry; where there are no faces, count is 0 and the figures are None.
    """

    def chosen(rows: BoolArray) -> dict[str, Any]:
        return entry(predicted, age, bounds, rows)

    return {
        **entry(predicted, age, bounds),
        "by_age": by_age(predicted, age, bounds),
        **{
            f"by_{name}": {str(code): chosen(codes == code) for code in range(count)}
            for name, (codes, count) in groups.items()
        },
        "secondary": {
            "ages 1-80": chosen(within(age, 1, 80)),
            "ages 21-60": chosen(within(age, 21, 60)),
        },
    }
