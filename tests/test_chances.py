"""`--prob`: faces by the chance that their age lies in a range."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from databases import CHECKPOINT, DETECTOR, LATER_CHECKPOINT, Place, detections, opened, run_sql
from small_library import runner

from photoage.ages.intervals import LEVELS, calibrate, residual_table
from photoage.database.chances import likely_normal, likely_ranges
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces, iter_faces, iter_paths
from photoage.database.store import Store
from photoage.errors import UsageError
from photoage.records import Estimate, PhotoFaces, PhotoFile

SIGMA = 5.0
# Residuals of a normal distribution up to 40, twice as far above; faces of stratum 1 twice as far again.
NORMAL = [NormalDist(0, SIGMA).inv_cdf(min(max(level, 0.001), 0.999)) for level in LEVELS]
TABLE: dict[str, Any] = {
    "levels": list(LEVELS),
    "edges": [0.0, 40.0],
    "residuals": [NORMAL, [2 * value for value in NORMAL]],
    "factors": [1.0, 2.0],
}


def chance(age: float, stratum: int, low: float, high: float) -> float:
    """By the table itself, one estimate at a time."""
    quantiles = [v * TABLE["factors"][stratum] for v in TABLE["residuals"][age >= 40]]
    below = [float(np.interp(bound - age, quantiles, LEVELS, left=0, right=1)) for bound in (low, high)]
    return below[1] - below[0]


@pytest.mark.parametrize(
    ("low", "high"), [(60, math.inf), (-math.inf, 12), (18, math.inf), (30, 45), (38, 42)]
)
@pytest.mark.parametrize("prob", [0.05, 0.2, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("stratum", [0, 1])
def test_ranges_hold_the_estimates_that_are_likely_enough(
    low: float, high: float, prob: float, stratum: int
) -> None:
    ranges = likely_ranges(TABLE, stratum, low, high, prob)
    for age in np.random.default_rng(0).uniform(0, 116, 300).round(3).tolist():
        inside = any(least <= age <= most for least, most in ranges)
        assert inside == (chance(age, stratum, max(low, -1e6), min(high, 1e6)) >= prob - 1e-9), age


def test_chances_are_those_of_the_residuals_they_come_from() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.uniform(0, 90, 6000).astype(np.float32)
    age = (predicted + rng.normal(0, 3 + predicted / 15)).astype(np.float32)
    table = residual_table(calibrate(predicted[:3000], age[:3000]))
    assert table is not None
    for prob in (0.2, 0.5, 0.8):
        (least, most), *_ = likely_ranges(table, 0, 60, math.inf, prob)
        near = np.abs(predicted[3000:] - least) < 3
        assert ((age[3000:] >= 60)[near]).mean() == pytest.approx(prob, abs=0.15)
        assert most > 110


def test_estimates_without_residuals_are_taken_as_normal() -> None:
    width = 2 * NormalDist().inv_cdf(0.95) * 4  # a deviation of 4 years
    ((least, most),) = likely_normal(width, 60, math.inf, 0.8)
    assert least == pytest.approx(60 + 4 * NormalDist().inv_cdf(0.8), abs=0.15)
    assert most > 110
    assert likely_normal(width, 30, 31, 0.9) == []
    ((least, most),) = likely_normal(0, 18, 30, 0.5)
    assert (least, most) == (pytest.approx(18, abs=0.1), pytest.approx(30, abs=0.1))


# --- queries -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(new_database: Callable[[], Place]) -> tuple[Place, list[tuple[float, float, str, int, bool]]]:
    """200 faces: strata 0, 1 and one that the checkpoint does not know, other sources, an old checkpoint."""
    place, random_ = new_database(), random.Random(3)
    stored: list[tuple[float, float, str, int, bool]] = []
    with Store.open(place) as store:
        for checkpoint, residuals, count in ((CHECKPOINT, None, 40), (LATER_CHECKPOINT, TABLE, 160)):
            store.begin_run(["/p"], {}, DETECTOR, checkpoint, residuals)
            for number in range(count):
                age, width = round(random_.uniform(0, 100), 3), random_.choice([0.1, 4.0, 18.5, 70.0])
                stratum = random_.choice([0, 0, 1, 7])
                path = f"/p/{checkpoint[0]}-{number:03}.jpg"
                estimate = Estimate(age, age - width / 2, age + width / 2, stratum)
                content = PhotoFaces("c", 640, 480, detections(1))
                store.save_many([(PhotoFile(path, 100, 1), content, [estimate])])
                stored.append((age, width, path, stratum, residuals is not None))
        store.commit()
    person = [path for _, _, path, _, known in stored if known][::5]
    names = ", ".join(f"'{path}'" for path in person)
    run_sql(
        place,
        "UPDATE estimate SET age_source = 'person' WHERE face_id IN (SELECT face.id FROM face JOIN photo ON"
        f" photo.id = photo_id WHERE path IN ({names})) RETURNING id",
    )
    return place, [(a, w, p, s, known and p not in person) for a, w, p, s, known in stored]


@pytest.mark.parametrize(("low", "high"), [(60, None), (None, 12), (18, None), (30, 45)])
@pytest.mark.parametrize("prob", [0.05, 0.5, 0.9])
def test_a_query_finds_the_faces_that_are_likely_enough(
    faces: tuple[Place, list[tuple[float, float, str, int, bool]]],
    low: float | None,
    high: float | None,
    prob: float,
) -> None:
    place, stored = faces
    least, most = (-1e6 if low is None else low), (1e6 if high is None else high)
    expected = set()
    unsure = set()  # a normal distribution is told in classes of widths
    for age, width, path, stratum, known in stored:
        if known:
            if chance(age, stratum if stratum < 2 else 0, least, most) >= prob - 1e-9:
                expected.add(path)
        else:
            normal = NormalDist(age, max(width / 3.29, 0.01))
            value = normal.cdf(most) - normal.cdf(least)
            if value >= prob:
                expected.add(path)
            if abs(value - prob) < 0.06 or width < 1:
                unsure.add(path)
    wanted = FaceFilter(min_age=low, max_age=high, prob=prob)
    with opened(place, read_only=True) as engine:
        found = [face.path for face in iter_faces(engine, wanted)]
        assert set(found) ^ expected <= unsure
        assert found == sorted(found)
        assert count_faces(engine, wanted) == len(found)
        assert list(iter_paths(engine, wanted)) == found
        some = FaceFilter(min_age=low, max_age=high, prob=prob, path_glob="*second*", sort="age", limit=5)
        ages = [face.age for face in iter_faces(engine, some)]
        assert ages == sorted(face.age for face in iter_faces(engine, wanted) if "second" in face.path)[:5]


def test_a_chance_needs_an_age_and_is_one() -> None:
    for prob in (0, -0.1, 1.01, math.nan):
        with pytest.raises(UsageError, match="`prob`"):
            FaceFilter(min_age=3, prob=prob)
    with pytest.raises(UsageError, match="`prob` needs `min_age` or `max_age`"):
        FaceFilter(prob=0.5)
    assert FaceFilter(max_age=3, prob=1).prob == 1


def test_commands_take_a_chance(faces: tuple[Place, Any]) -> None:
    run = runner(faces[0])
    likely = int(run("query", "--min-age", "60", "--prob", "0.9", "--count").stdout)
    possible = int(run("query", "--min-age", "60", "--prob", "0.1", "--count").stdout)
    assert 0 < likely < int(run("query", "--min-age", "60", "--count").stdout) < possible
    exported = run("export", "--min-age", "60", "--prob", "0.9", "-o", "-").stdout
    assert len(exported.splitlines()) == likely + 1
    assert "--prob" in run("report", "--help").stdout
    for wrong in ("0", "1.5", "x"):
        assert "--prob" in run("query", "--min-age", "3", "--prob", wrong, status=2).stderr
    assert "needs --min-age or --max-age" in run("query", "--prob", "0.5", status=2).stderr
