"""Birth dates fitted to ages and dates, and dates told by birth dates and ages."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from photoage.people.births import (
    YEAR,
    Birth,
    DatedFaces,
    NoBirth,
    agreement,
    fit_birth,
    habitual_error,
    to_date,
    year_range,
)
from photoage.people.posterior import CONTRADICTION, KnownFace, contradiction, date_photo


def dated(
    born: float, years: list[float], errors: list[float], width: float = 4.0, taken_error: float = 0.0
) -> DatedFaces:
    taken = np.array(years)
    age = np.maximum(0.0, taken - born + np.array(errors))
    number = len(years)
    return DatedFaces(taken, np.full(number, taken_error), age, np.maximum(0.0, age - width), age + width)


def fitted(faces: DatedFaces) -> Birth:
    found = fit_birth(faces)
    assert isinstance(found, Birth)
    return found


def refused(faces: DatedFaces) -> str:
    found = fit_birth(faces)
    assert isinstance(found, NoBirth)
    return found.reason


YEARS = [1955.0, 1961.0, 1968.0, 1975.0, 1984.0, 1999.0]


def test_many_ages_tell_a_birth_date_better_than_one() -> None:
    found = fitted(dated(1950.0, YEARS, [2, -3, 1, -2, 3, -1]))
    assert abs(found.born - 1950) < 1
    assert found.low < 1950 < found.high
    assert found.high - found.low < 9
    assert found.faces == 6


def test_false_dates_and_strangers_do_not_move_it() -> None:
    faces = dated(1950.0, [*YEARS, 2000.0, 2024.0], [2, -3, 1, -2, 3, -1, -40, -60])
    found = fitted(faces)
    assert abs(found.born - 1950) < 1.5
    assert (agreement(faces, found.born) > 0.5).tolist() == [True] * 6 + [False] * 2


def test_narrow_intervals_count_most() -> None:
    ages = dated(1950.0, [1953.0, 1954.0, 1990.0, 1991.0], [0, 0, 8, 8])
    half = np.array([2, 2, 15, 15])
    wide = DatedFaces(ages.taken, ages.taken_error, ages.age, ages.age - half, ages.age + half)
    assert abs(fitted(wide).born - 1950) < 1


def test_the_error_that_a_persons_photos_share_grows_with_age() -> None:
    child = fitted(dated(1950.0, [1953.0 + i for i in range(8)], [0] * 8))
    adult = fitted(dated(1900.0, [1953.0 + i for i in range(8)], [0] * 8))
    assert child.high - child.low < 5
    assert adult.high - adult.low > 15  # no number of photos tells who merely looks old


def test_many_photos_of_one_year_count_little_more_than_one() -> None:
    one = fitted(dated(1950.0, [1955.0, 1965.0, 1975.0], [0, 0, 4]))
    many = fitted(dated(1950.0, [1955.0, 1965.0] + [1975.0] * 50, [0, 0] + [4] * 50))
    assert abs(many.born - one.born) < 2


def test_dates_that_are_years_widen_the_interval() -> None:
    exact = fitted(dated(1950.0, YEARS, [0] * 6))
    vague = fitted(dated(1950.0, YEARS, [0] * 6, taken_error=5.0))
    assert vague.high - vague.low > exact.high - exact.low


def test_nothing_is_fitted_to_few_or_contradicting_photos() -> None:
    assert refused(dated(1950.0, YEARS[:2], [0, 0])) == "too few dated photos"
    contradicting = dated(1950.0, YEARS, [0, 0, 30, 60, 90, 45], width=2.0)
    assert refused(contradicting) == "dates and ages contradict each other"
    assert refused(dated(1900.0, YEARS[3:], [0, 9, -9], width=60.0)) == "the ages leave it open"


@pytest.mark.parametrize("kind", ["young", "old"])
def test_intervals_cover_what_they_say(kind: str) -> None:
    rng = np.random.default_rng(1)
    start = 1 if kind == "young" else 40
    covered = []
    for _ in range(150):
        years = np.sort(1950 + start + rng.uniform(0, 30, 8))
        error = rng.normal(0, 0.1) * (years - 1950)  # the part that all estimates of a person share
        faces = dated(1950.0, years.tolist(), (error + rng.normal(0, 4 / 1.645, 8)).tolist())
        found = fitted(faces)
        covered.append(found.low <= 1950 <= found.high)
    assert 0.83 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1984", date(1984, 1, 1), date(1985, 1, 1)),
        ("1984-06", date(1984, 6, 1), date(1984, 7, 1)),
        ("1984-12", date(1984, 12, 1), date(1985, 1, 1)),
        ("1984-06-12", date(1984, 6, 12), date(1984, 6, 13)),
        ("1984-06-12T10:00:00", date(1984, 6, 12), date(1984, 6, 13)),
    ],
)
def test_a_date_is_a_range_as_long_as_what_is_not_known(text: str, first: date, last: date) -> None:
    assert year_range(text) == (first.toordinal() / YEAR, last.toordinal() / YEAR)
    assert to_date(year_range(text)[0]) == first


@pytest.mark.parametrize("text", ["", "84", "1984-13", "1984-02-30", "June 1984"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|month|day"):
        year_range(text)


# --- the year of a photo ------------------------------------------------------------------------


def face(born: float, age: float, width: float = 5.0, person: int = 1, error: float = 0.5) -> KnownFace:
    return KnownFace(person, born, born - error, born + error, age, max(0.0, age - width), age + width)


def test_the_habitual_error_is_that_of_dated_photos_of_similar_ages() -> None:
    faces = dated(
        1950.0, [1953.0, 1954.0, 1955.0, 1956.0, 1990.0, 1991.0, 1992.0, 1993.0], [1] * 4 + [-6] * 4
    )
    assert 0.5 < habitual_error(faces, 1950.0, 6.0) < 1.0
    assert -6 < habitual_error(faces, 1950.0, 36.0) < -3
    assert habitual_error(dated(1950.0, YEARS[:3], [5] * 3), 1950.0, 10.0) == 0.0


def test_a_false_date_is_no_habitual_error() -> None:
    faces = dated(1950.0, [1953.0, 1954.0, 1955.0, 1956.0, 1957.0], [0, 0, 0, 0, 40])
    assert abs(habitual_error(faces, 1950.0, 6.0)) < 0.2


def test_a_photo_is_as_old_as_its_people_tell() -> None:
    found = date_photo([face(1950.0, 10.0)], 2026.0)
    assert found is not None
    assert abs(found.taken - 1960) < 0.5
    assert found.low < 1956
    assert found.high > 1964
    assert found.persons == (1,)


def test_several_people_tell_it_better_and_the_surest_is_named_first() -> None:
    one = date_photo([face(1950.0, 40.0, 10)], 2026.0)
    both = date_photo([face(1950.0, 40.0, 10), face(1985.0, 4.0, 2, person=2)], 2026.0)
    assert one is not None
    assert both is not None
    assert abs(both.taken - 1989) < 0.7
    assert both.high - both.low < (one.high - one.low) / 2
    assert both.persons == (2, 1)


def test_one_wrong_name_is_outvoted() -> None:
    found = date_photo([face(1950.0, 40.0, 4), face(1960.0, 30.0, 4, 2), face(1900.0, 20.0, 4, 3)], 2026.0)
    assert found is not None
    assert abs(found.taken - 1990) < 1


def test_no_photo_is_of_the_future_or_of_nobody() -> None:
    assert date_photo([], 2026.0) is None
    found = date_photo([face(1990.0, 60.0)], 2026.0)
    assert found is None or found.high <= 2026.1


def test_a_date_that_the_ages_contradict_is_told_from_one_that_they_allow() -> None:
    people = [face(1950.0, 10.0, 4)]
    assert contradiction(people, 1960.0, 0.0) < 2
    assert contradiction(people, 1964.0, 0.0) < CONTRADICTION
    assert contradiction(people, 2000.0, 0.0) > CONTRADICTION
    assert contradiction(people, 1940.0, 0.0) > CONTRADICTION  # before the birth
    assert contradiction([], 1940.0, 0.0) == 1.0
