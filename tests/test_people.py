"""Persons in real databases of both kinds: what the user says of them stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from databases import Place, assert_sound, opened
from family import (
    FAMILY,
    YEARS,
    expected,
    find,
    number_of,
    path_of,
    persons_of,
    rows,
    store_family,
)
from small_library import runner

from photoage.database.changes import changing
from photoage.database.persons import find_person, list_persons
from photoage.errors import UsageError
from photoage.people.names import (
    add_faces,
    clean_name,
    faces_in,
    merge_persons,
    name_person,
    set_birth_date,
    take_out,
)
from photoage.people.refresh import refresh_persons


def test_a_birth_date_of_the_user_is_law(named: Place) -> None:
    with changing(named) as connection:
        set_birth_date(connection, find_person(connection, "Anna"), "1950-01-01")
        refresh_persons(connection)
    anna = rows(named, persons=("Anna",))
    assert len(anna) == len(YEARS["anna"])
    for row in anna:
        years = int(str(row.taken_at)[:4]) - 1950 + 0.5
        assert row.age_source == "birth"
        assert row.age == pytest.approx(years, abs=0.01)
        assert row.age_high - row.age_low < 0.01


def test_a_birth_year_leaves_a_year_open(named: Place) -> None:
    with changing(named) as connection:
        set_birth_date(connection, find_person(connection, "Anna"), "1950")
        refresh_persons(connection)
    for row in rows(named, persons=("Anna",)):
        assert 0.99 < row.age_high - row.age_low < 1.02
    with changing(named) as connection:
        set_birth_date(connection, find_person(connection, "Anna"), None)
        refresh_persons(connection)
    assert {row.age_source for row in rows(named, persons=("Anna",))} == {"person"}


def test_a_photo_from_before_the_birth_shows_the_age_of_its_face(named: Place) -> None:
    with changing(named) as connection:
        set_birth_date(connection, find_person(connection, "Anna"), "1960-01-01")
        refresh_persons(connection)
    sources = {int(str(row.taken_at)[:4]): row.age_source for row in rows(named, persons=("Anna",))}
    assert sources[1954] == sources[1959] == "face"
    assert sources[1964] == "birth"


@pytest.mark.parametrize("text", ["soon", "1950-13", "2190", "1950-06-01T10:00:00", ""])
def test_what_is_no_birth_date_is_refused(named: Place, text: str) -> None:
    with pytest.raises(UsageError, match=f"^{text}: is not a day of birth"), changing(named) as connection:
        set_birth_date(connection, find_person(connection, "Anna"), text)


def test_a_name_is_one_persons_and_no_number(named: Place) -> None:
    with pytest.raises(UsageError, match="name of another"), changing(named) as connection:
        name_person(connection, find_person(connection, "Carl"), " Anna ")
    for text in ("", "12", "#12", "a\nb\x1b", "x" * 500):
        if text != "a\nb\x1b":
            with pytest.raises(UsageError):
                clean_name(text)
    assert clean_name("  A\u030asa  B ") == "\u00c5sa B"


def test_persons_are_called_by_name_or_number(named: Place) -> None:
    with opened(named, read_only=True) as engine, engine.connect() as connection:
        number = find_person(connection, "Anna")
        assert find_person(connection, f"#{number}") == find_person(connection, str(number)) == number
        for text in ("anna", "#99999", "9" * 30, "-1"):
            with pytest.raises(UsageError, match="no such person"):
                find_person(connection, text)


def test_a_name_is_found_however_it_is_typed(named: Place) -> None:
    with changing(named) as connection:
        anna = find_person(connection, "Anna")
        name_person(connection, anna, "\u00c5sa  B")
        for text in ("\u00c5sa B", "A\u030asa B", " \u00c5sa  B "):
            assert find_person(connection, text) == anna


def test_birth_dates_that_agree_are_no_reason_not_to_merge(named: Place) -> None:
    with changing(named) as connection:
        anna, carl = (find_person(connection, name) for name in ("Anna", "Carl"))
        set_birth_date(connection, anna, "1950")
        set_birth_date(connection, carl, "1950-06-01")
        merge_persons(connection, anna, [carl])
        assert list_persons(connection, [anna])[0].birth_date == "1950-06-01"


def test_persons_of_different_birth_dates_are_not_made_one(named: Place) -> None:
    with changing(named) as connection:
        anna, carl = (find_person(connection, name) for name in ("Anna", "Carl"))
        set_birth_date(connection, anna, "1950-06")
        set_birth_date(connection, carl, "1950-07")
        with pytest.raises(UsageError, match="1950-06, 1950-07"):
            merge_persons(connection, anna, [carl])


def test_two_persons_made_one_stay_one(named: Place) -> None:
    with changing(named) as connection:
        anna, carl = (find_person(connection, name) for name in ("Anna", "Carl"))
        merge_persons(connection, anna, [carl])
        refresh_persons(connection)
    together = expected()["Anna"] | expected()["Carl"]
    assert persons_of(named)["Anna"] == together
    find(named, anew=True)
    assert persons_of(named)["Anna"] == together
    assert "Carl" not in persons_of(named)


def test_persons_who_are_in_one_photo_are_not_made_one(named: Place) -> None:
    before = rows(named)
    with pytest.raises(UsageError, match=r"twice in /family/1984\.jpg"), changing(named) as connection:
        merge_persons(connection, find_person(connection, "Anna"), [find_person(connection, "Berta")])
    assert rows(named) == before  # nothing of it is kept


def test_a_face_taken_away_never_comes_back(named: Place) -> None:
    with changing(named) as connection:
        carl = find_person(connection, "Carl")
        take_out(connection, carl, faces_in(connection, carl, path_of(1960, "carl")))
        refresh_persons(connection)
    (face,) = (row for row in rows(named) if row.path == path_of(1960, "carl"))
    assert (face.person, face.age_source) == (None, "face")
    for anew in (False, True):
        find(named, anew=anew)
        assert "1960-carl#0" not in persons_of(named)["Carl"]
    assert_sound(named)


def test_a_face_given_to_somebody_stays_there(named: Place) -> None:
    with changing(named) as connection:
        anna, carl = (find_person(connection, name) for name in ("Anna", "Carl"))
        faces = faces_in(connection, carl, path_of(1960, "carl"))
        take_out(connection, carl, faces)
        add_faces(connection, anna, faces)
    find(named, anew=True)
    assert "1960-carl#0" in persons_of(named)["Anna"]


def test_commands_name_merge_split_date_and_forget(tmp_path: Path) -> None:
    place = tmp_path / "photoage.db"
    store_family(place)
    run = runner(place)
    find(place)
    with opened(place, read_only=True) as engine, engine.connect() as connection:
        numbers = {name: str(number_of(connection, name)) for name in FAMILY}
    run("people", "name", numbers["anna"], "Anna")
    run("people", "name", numbers["carl"], "Carl")
    run("people", "birth", "Anna", "1950-01-01")
    listed = run("people", "list").stdout
    assert "Anna" in listed
    assert "1950-01-01" in listed
    assert "about 19" in listed
    assert '"name": "Anna"' in run("people", "list", "--json").stdout
    shown = run("people", "show", "Anna").stdout
    assert path_of(1954) in shown
    assert "birth" in shown
    assert '"age_source": "birth"' in run("people", "show", "Anna", "--json").stdout
    ages = run("query", "--person", "Anna", "--min-age", "4", "--max-age", "5", "--csv").stdout.splitlines()
    assert len(ages) == 2
    assert ",Anna,birth,1" in ages[1]
    assert "Anna" in run("stats", "--people").stdout
    assert '"people"' in run("stats", "--people", "--json").stdout
    run("people", "split", "Carl", path_of(1960, "carl"), path_of(1964, "carl"), "--name", "Dora")
    assert "2 faces" in run("people", "show", "Dora").stdout
    assert "not in this photo" in run("people", "split", "Carl", path_of(1960, "carl"), status=2).stderr
    run("people", "merge", "Carl", "Dora")
    run("people", "birth", "Anna", "--unknown")
    run("people", "birth", "Anna", status=2)
    assert "would remove" in run("people", "forget", "-n").stderr
    assert "removed" in run("people", "forget").stderr
    assert "no persons" in run("people", "list").stderr
    assert np.isclose(len(rows(place)), len(rows(place, age_source="face")))
