"""Persons found in real databases of both kinds, and what later scans change of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from databases import LATER_CHECKPOINT, Place, assert_sound, opened
from family import (
    FAMILY,
    YEARS,
    begin,
    expected,
    find,
    path_of,
    persons_of,
    photo,
    rows,
    store_family,
)
from small_library import runner
from sqlalchemy import select

from photoage.database.changes import changing
from photoage.database.persons import find_person, list_persons
from photoage.database.store import Store
from photoage.database.tables import Face, Photo
from photoage.people.find import FoundPersons
from photoage.people.names import add_faces, set_birth_date
from photoage.people.refresh import refresh_persons
from photoage.records import Estimate


def test_the_persons_of_a_library_are_found(named: Place) -> None:
    assert persons_of(named) == expected()
    assert_sound(named)


def test_finding_again_changes_nothing(named: Place) -> None:
    before = rows(named)
    assert find(named).new == 0
    assert rows(named) == before
    find(named, anew=True)
    assert persons_of(named) == expected()


def test_without_embeddings_nobody_is_found(new_database: Callable[[], Place]) -> None:
    place = new_database()
    with Store.open(place) as store:
        begin(store)
        store.save_many([photo("/family/1.jpg", 1990, ["anna"], with_people=False)])
        store.commit()
    assert find(place) == FoundPersons(0, 0, 0, 0, 0)
    assert {row.person for row in rows(place)} == {None}


def test_birth_dates_are_fitted_and_ages_follow(named: Place) -> None:
    with opened(named, read_only=True) as engine, engine.connect() as connection:
        for person in list_persons(connection):
            assert person.name is not None
            born = FAMILY[person.name.lower()]
            assert person.fitted_birth is not None
            assert abs(int(person.fitted_birth[:4]) - born) <= 2
            assert str(person.fitted_low) < f"{born}-01-02"
            assert str(person.fitted_high) > f"{born}-01-01"
    for row in rows(named):
        if row.person is None:
            assert row.age_source == "face"
            continue
        assert row.age_source == "person"
        true = int(str(row.taken_at)[:4]) + 0.5 - FAMILY[row.person.lower()]
        assert abs(row.age - true) < 2
        assert row.age_low <= row.age <= row.age_high


def test_new_photos_join_the_persons_that_there_are(named: Place) -> None:
    with Store.open(named) as store:
        begin(store)
        store.save_many(
            [photo("/family/new.jpg", 2015, ["carl", "anna"]), photo("/family/x.jpg", 2016, ["xaver"])]
        )
        store.commit()
    result = find(named)
    assert (result.grouped, result.new) == (2, 0)
    people = persons_of(named)
    assert "new#0" in people["Carl"]
    assert "new#1" in people["Anna"]
    assert "x#0" not in set.union(*people.values())


def test_a_false_date_changes_neither_the_person_nor_its_own_face(named: Place) -> None:
    before = rows(named, persons=("Berta",))
    with Store.open(named) as store:
        begin(store)
        store.save_many([photo("/family/scan.jpg", 2024, ["berta"], ages=[5.0])])
        store.commit()
    find(named)
    with changing(named) as connection:
        face = connection.execute(select(Face.id).join(Photo).where(Photo.path == "/family/scan.jpg"))
        add_faces(connection, find_person(connection, "Berta"), face.scalars())
        refresh_persons(connection)
    after = {row.path: row for row in rows(named, persons=("Berta",))}
    assert (after["/family/scan.jpg"].age_source, after["/family/scan.jpg"].age) == ("face", 5.0)
    for row in before:
        assert abs(after[row.path].age - row.age) < 1


def test_a_photo_that_is_read_again_keeps_its_people(named: Place) -> None:
    before = persons_of(named)
    with Store.open(named) as store:
        begin(store)
        file, faces, estimates = photo(path_of(1984), 1984, ["anna", "berta"], with_people=False)
        store.save_many([(file, faces, estimates)])
        refresh_persons(store.known.connection)
        store.commit()
    assert persons_of(named) == before
    assert {row.age_source for row in rows(named, persons=("Anna",))} == {"person"}


def test_a_face_that_is_gone_from_a_photo_is_gone_from_its_person(named: Place) -> None:
    with Store.open(named) as store:
        begin(store)
        store.save_many([photo(path_of(1984), 1984, ["anna"], with_people=False)])
        refresh_persons(store.known.connection)
        store.commit()
    assert "1984#1" not in persons_of(named)["Berta"]
    assert "1984#0" in persons_of(named)["Anna"]
    assert_sound(named)


def test_ages_by_a_new_checkpoint_move_the_birth_date(named: Place) -> None:
    with opened(named, read_only=True) as engine, engine.connect() as connection:
        before = {person.name: person.fitted_birth for person in list_persons(connection)}
    with Store.open(named) as store:
        begin(store, LATER_CHECKPOINT)
        for year in YEARS["carl"]:
            known = store.known.by_path([path_of(year, "carl")])[path_of(year, "carl")]
            age = year - FAMILY["carl"] + 5.0  # this one sees everybody five years older
            store.add_estimates(known.id, [Estimate(age, age - 4, age + 4)])
        refresh_persons(store.known.connection)
        store.commit()
        assert store.known.by_path([path_of(1960, "carl")])[path_of(1960, "carl")].estimated
    with opened(named, read_only=True) as engine, engine.connect() as connection:
        after = {person.name: person.fitted_birth for person in list_persons(connection)}
    assert int(str(before["Carl"])[:4]) - int(str(after["Carl"])[:4]) >= 3
    assert after["Anna"] == before["Anna"]
    carl = rows(named, persons=("Carl",))
    assert {row.age_source for row in carl} == {"person"}
    assert {row.checkpoint for row in carl} == {"second"}


def test_photos_that_are_forgotten_leave_their_persons(named: Place) -> None:
    with Store.open(named) as store:
        begin(store)
        known = store.known.by_path([path_of(year, "carl") for year in YEARS["carl"]])
        store.prune([photo.id for photo in known.values()])
        refresh_persons(store.known.connection)
        store.commit()
    with opened(named, read_only=True) as engine, engine.connect() as connection:
        carl = next(person for person in list_persons(connection) if person.name == "Carl")
    assert (carl.faces, carl.fitted_birth) == (0, None)
    assert_sound(named)


def test_a_person_without_faces_of_whom_nothing_was_said_goes(tmp_path: Path) -> None:
    place = tmp_path / "photoage.db"
    store_family(place)
    find(place)
    with changing(place) as connection:
        persons = list_persons(connection)
        assert len(persons) == 3
        set_birth_date(connection, persons[0].id, "1950")
    runner(place)("forget", "/family")
    with changing(place, dry_run=True) as connection:
        (left,) = list_persons(connection)
    assert (left.id, left.birth_date, left.faces, left.fitted_birth) == (persons[0].id, "1950", 0, None)


def test_a_refresh_without_changes_does_nothing(named: Place) -> None:
    with changing(named) as connection:
        assert refresh_persons(connection) == 0
