"""Error measures, and intervals that cover what they promise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from photoage.ages.intervals import (
    LEVELS,
    MIN_CALIBRATION,
    Interval,
    calibrate,
    for_strata,
    interval_bounds,
    residual_table,
)
from photoage.records import FloatArray
from photoage.training.metrics import AGE_BINS, bin_name, grouped_figures, measure


def floats(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


# --- measures ----------------------------------------------------------------------------------


def test_measures_agree_with_a_calculation_by_hand() -> None:
    metrics = measure(
        floats(10, 25, 36, 50), floats(12, 20, 30, 50), (floats(9, 21, 30, 40), floats(13, 30, 40, 60))
    )
    assert metrics is not None
    assert metrics.count == 4
    assert metrics.mae == pytest.approx((2 + 5 + 6 + 0) / 4)
    assert metrics.bias == pytest.approx((-2 + 5 + 6 + 0) / 4)
    assert metrics.cs5 == pytest.approx(75)  # an error of exactly 5 years counts as within
    assert metrics.coverage == pytest.approx(75)  # 20 is below 21; 30 lies on its bound
    assert metrics.width == pytest.approx((4 + 9 + 10 + 20) / 4)


def test_nothing_to_measure_is_none_and_not_nan() -> None:
    assert measure(floats(), floats()) is None
    assert measure(floats(1), floats(1), rows=np.array([False])) is None


def test_a_report_has_an_entry_for_every_group_even_without_faces() -> None:
    predicted, age = floats(22, 35, 81), floats(21, 30, 85)
    codes = np.array([1, 1, 0])
    bounds = (predicted - 4, predicted + 4)
    tables = grouped_figures(
        predicted, age, {"gender": (codes, 2), "ethnicity": (np.array([0, 0, 4]), 5)}, bounds
    )
    assert list(tables["by_age"]) == [bin_name(low, high) for low, high in AGE_BINS]
    assert list(tables["by_age"])[:3] == ["0-2", "3-9", "10-19"]
    assert list(tables["by_age"])[-1] == "70+"
    empty = {"count": 0, "mae": None, "cs5": None, "bias": None, "coverage": None, "width": None}
    assert tables["by_age"]["0-2"] == empty
    assert tables["by_ethnicity"]["3"] == empty
    assert tables["by_ethnicity"]["4"]["count"] == 1
    assert tables["by_gender"]["1"]["mae"] == 3.0
    assert tables["secondary"]["ages 1-80"]["count"] == 2
    assert tables["secondary"]["ages 21-60"]["count"] == 2
    assert (tables["count"], tables["mae"], tables["coverage"]) == (3, 3.333, 66.667)
    assert json.loads(json.dumps(tables, allow_nan=False)) == tables


def test_age_bins_leave_no_age_out() -> None:
    ages = np.arange(0, 117, dtype=np.float32)
    tables = grouped_figures(ages, ages, {})
    assert sum(entry["count"] for entry in tables["by_age"].values()) == 117


# --- intervals -----------------------------------------------------------------------------------


def residuals(count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Predictions and ages with errors that are skewed and grow with age, as real ones do."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 90, count)
    scale = 1 + predicted / 10
    age = predicted + scale * (rng.exponential(1.0, count) * 1.5 - 0.5 * rng.exponential(1.0, count))
    return predicted.astype(np.float32), age.astype(np.float32)


def test_intervals_cover_what_they_promise_on_data_they_have_not_seen() -> None:
    table = calibrate(*residuals(4000, 1))
    predicted, age = residuals(4000, 2)
    low, high = interval_bounds(predicted, table)
    inside = (age >= np.where(low > 0, low, -np.inf)) & (age <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    for start, end in zip(table.edges, [*table.edges[1:], math.inf], strict=True):
        rows = (predicted >= start) & (predicted < end)
        assert inside[rows].mean() == pytest.approx(0.9, abs=0.06)


def test_intervals_are_as_lopsided_as_the_errors() -> None:
    table = calibrate(*residuals(4000, 3))
    assert all(high > 1.5 * low for low, high in zip(table.low, table.high, strict=True))
    assert table.high[-1] > 2 * table.high[0], "older ages are harder"


def test_other_coverages_can_be_asked_for() -> None:
    predicted, age = residuals(4000, 4)
    table = calibrate(predicted, age, coverage=0.5)
    low, high = interval_bounds(predicted, table)
    assert ((age >= low) & (age <= high)).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("count", "bins"), [(0, 1), (5, 1), (150, 1), (400, 2), (5000, 9)])
def test_bins_with_few_residuals_are_merged(count: int, bins: int) -> None:
    table = calibrate(*residuals(count, 5))
    assert len(table.edges) == len(table.low) == len(table.high)
    assert table.edges[0] == 0.0
    assert list(table.edges) == sorted(set(table.edges))
    assert (len(table.edges) == 1) if bins == 1 else (len(table.edges) >= bins)
    if count > MIN_CALIBRATION:
        predicted, _ = residuals(count, 5)
        counts = np.histogram(predicted, [*table.edges, np.inf])[0]
        assert counts.min() >= MIN_CALIBRATION
    assert all(math.isfinite(value) and value >= 0 for value in table.low + table.high)
    assert all(len(row) == len(LEVELS) and list(row) == sorted(row) for row in table.residuals)


def test_a_few_faces_that_count_more_widen_the_intervals() -> None:
    predicted, age = residuals(2000, 6)
    age[:100] += np.where(np.arange(100) % 2, 25, -25).astype(np.float32)
    weights = np.ones(2000)
    equal = calibrate(predicted, age, weights=weights)
    assert equal == calibrate(predicted, age)
    weights[:100] = 8
    heavy = calibrate(predicted, age, weights=weights)
    few = [interval_bounds(predicted[:100], interval) for interval in (equal, heavy)]
    inside = [((age[:100] >= low) & (age[:100] <= high)).mean() for low, high in few]
    assert inside[1] > inside[0] + 0.2


def test_a_stratum_gets_intervals_as_wide_as_it_needs() -> None:
    predicted, age = residuals(4000, 7)
    strata = (np.arange(4000) % 4 == 0).astype(np.intp)
    age = np.where(strata == 1, predicted + 2 * (age - predicted), age).astype(np.float32)
    interval = for_strata(calibrate(predicted, age), predicted, age, strata, np.ones(4000))
    assert interval.factors[0] == 1.0
    assert interval.factors[1] == pytest.approx(2.2, rel=0.1), "a little above what it needs"
    low, high = interval_bounds(predicted, interval, strata)
    inside = (age >= np.where(low > 0, low, -np.inf)) & (age <= high)
    for stratum in (0, 1):
        assert inside[strata == stratum].mean() == pytest.approx(0.9 + 0.01 * stratum, abs=0.02)
    few = for_strata(
        calibrate(predicted, age), predicted, age, (np.arange(4000) < 20).astype(np.intp), np.ones(4000)
    )
    assert few.factors[1] == pytest.approx(1, abs=0.1), "too few faces to tell"
    unknown = interval_bounds(predicted, interval, np.full(4000, 7))
    np.testing.assert_array_equal(unknown, interval_bounds(predicted, interval))
    assert residual_table(interval) == json.loads(json.dumps(residual_table(interval)))
    assert residual_table(Interval(0.9, (0.0,), (1.0,), (1.0,))) is None


def test_predictions_outside_all_bins_take_the_nearest_one() -> None:
    table = Interval(0.9, (0.0, 10.0), (1.0, 5.0), (2.0, 6.0))
    low, high = interval_bounds(floats(-3, 0, 9.99, 10, 500), table)
    assert low.tolist() == pytest.approx([0, 0, 8.99, 5, 495])
    assert high.tolist() == pytest.approx([-1, 2, 11.99, 16, 506])
