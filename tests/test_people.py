"""Persons in real databases of both kinds: found, named, corrected, dated, forgotten."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from databases import LATER_CHECKPOINT, Place, assert_sound, opened, run_sql
from family import FAMILY, YEARS, begin, embedding, path_of, persons_of, photo, store_family
from small_library import runner
from sqlalchemy import Connection, select

from photoage.database.changes import changing
from photoage.database.face_filter import FaceFilter
from photoage.database.persons import find_person, list_persons
from photoage.database.query import FaceRow, count_faces, iter_faces
from photoage.database.store import Store
from photoage.database.tables import Face, PersonFace, Photo
from photoage.errors import DatabaseLockedError, UsageError
from photoage.people.find import FoundPersons, find_persons
from photoage.people.forget import forget_persons, stored_of_persons
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
from photoage.records import Estimate


@pytest.fixture(scope="module")
def prepared(new_database: Callable[[], Place]) -> dict[str, Path]:
    """SQLite's files of a library at some stage, which are copied for each test."""
    return {}


@pytest.fixture
def make(
    new_database: Callable[[], Place], prepared: dict[str, Path], tmp_path: Path
) -> Callable[[str, Callable[[Place], None]], Place]:
    """Gives a database on which something was done, done once for all tests where files can be copied."""

    def made(stage: str, do: Callable[[Place], None]) -> Place:
        place = prepared.get(stage) or new_database()
        if stage not in prepared:
            do(place)
            if not isinstance(place, Path):
                return place
            prepared[stage] = place
        return Path(shutil.copy(place, tmp_path / f"{stage}.db"))

    return made


@pytest.fixture
def place(make: Callable[[str, Callable[[Place], None]], Place]) -> Place:
    return make("family", store_family)


def find(place: Place, *, anew: bool = False) -> FoundPersons:
    with changing(place) as connection:
        return find_persons(connection, anew=anew)


def rows(place: Place, **wanted: object) -> list[FaceRow]:
    with opened(place, read_only=True) as engine:
        return list(iter_faces(engine, FaceFilter(**wanted)))  # type: ignore[arg-type]


def number_of(connection: Connection, name: str) -> int:
    """The person who was found to be on the first photo of somebody of the family."""
    year = YEARS[name][0]
    path, place = path_of(year, "carl" if name == "carl" else ""), int(name == "berta")
    face = select(Face.id).join(Photo).where(Photo.path == path, Face.face_index == place).scalar_subquery()
    return connection.execute(select(PersonFace.person_id).where(PersonFace.face_id == face)).scalar_one()


@pytest.fixture
def named(make: Callable[[str, Callable[[Place], None]], Place]) -> Place:
    """The family, found and named."""

    def name(place: Place) -> None:
        store_family(place)
        find(place)
        with changing(place) as connection:
            for each in FAMILY:
                name_person(connection, number_of(connection, each), each.title())
            refresh_persons(connection)

    return make("named", name)


def expected() -> dict[str, set[str]]:
    faces = {
        "Anna": {f"{year}#0" for year in YEARS["anna"]},
        "Berta": {f"{year}#{int(year in YEARS['anna'])}" for year in YEARS["berta"]},
        "Carl": {f"{year}-carl#0" for year in YEARS["carl"]},
    }
    return faces


# --- finding --------------------------------------------------------------------------------------


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


# --- what the user says ---------------------------------------------------------------------------


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
    with pytest.raises(UsageError, match=r"date|birth|month"), changing(named) as connection:
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


# --- rescans --------------------------------------------------------------------------------------


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


def test_a_refresh_without_changes_does_nothing(named: Place) -> None:
    with changing(named) as connection:
        assert refresh_persons(connection) == 0


# --- questions ------------------------------------------------------------------------------------


def test_questions_can_be_about_a_person_at_an_age(named: Place) -> None:
    young = rows(named, persons=("Berta",), max_age=10)
    assert {row.path for row in young} == {path_of(1984), path_of(1989)}
    both = rows(named, persons=("Anna", "Carl"))
    assert {row.person for row in both} == {"Anna", "Carl"}
    assert len(both) == len(YEARS["anna"]) + len(YEARS["carl"])
    with opened(named, read_only=True) as engine:
        assert count_faces(engine, FaceFilter(persons=("Berta",), max_age=10)) == 2
        with pytest.raises(UsageError, match="no such person"):
            count_faces(engine, FaceFilter(persons=("Nobody",)))


def test_questions_can_be_about_what_single_faces_show(named: Place) -> None:
    single = rows(named, age_source="face")
    assert {row.age_source for row in single} == {"face"}
    assert len(single) == len(rows(named))
    some = rows(named, age_source="face", min_age=20, max_age=40)
    assert some == [row for row in single if 20 <= row.age <= 40]
    with opened(named, read_only=True) as engine:
        for source in (None, "face"):
            wanted = FaceFilter(age_source=source, min_age=20, max_age=40)  # type: ignore[arg-type]
            assert count_faces(engine, wanted) == len(list(iter_faces(engine, wanted)))


def test_faces_view_shows_persons_and_where_ages_come_from(named: Place) -> None:
    found = run_sql(
        named, "SELECT person, age_source, count(*) FROM faces_view GROUP BY 1, 2 ORDER BY 3 DESC"
    )
    assert ("Anna", "person", len(YEARS["anna"])) in found
    assert (None, "face", 10) in found


# --- forgetting -----------------------------------------------------------------------------------


def test_forgetting_removes_all_of_persons_and_nothing_else(named: Place) -> None:
    kept = [row._replace(person=None) for row in rows(named, age_source="face")]
    with changing(named) as connection:
        stored = stored_of_persons(connection)
        assert stored.embeddings == len(kept)
        assert stored.persons == 3
        assert forget_persons(connection) == stored
        assert stored_of_persons(connection) == (0, 0, 0)
    assert rows(named) == kept
    assert_sound(named)


def bytes_of(path: Path) -> bytes:
    files = [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")]
    return b"".join(file.read_bytes() for file in files if file.exists())


@pytest.fixture
def vectors() -> list[bytes]:
    return [embedding("carl", year).astype("<f2").tobytes()[100:164] for year in YEARS["carl"]]


def test_no_embedding_is_left_in_the_file(tmp_path: Path, vectors: list[bytes]) -> None:
    place = tmp_path / "photoage.db"
    store_family(place)
    assert all(vector in bytes_of(place) for vector in vectors)
    with Store.open(place) as store:  # some were deleted before, and are in free pages
        begin(store)
        store.prune([photo.id for photo in store.known.by_path([path_of(1960, "carl")]).values()])
        store.commit()
    with closing(sqlite3.connect(place)) as reader:
        reader.execute("SELECT count(*) FROM face").fetchone()
        with changing(place) as connection:
            forget_persons(connection)
        assert not any(vector in bytes_of(place) for vector in vectors)


def test_a_reader_that_keeps_them_in_the_log_is_reported(tmp_path: Path) -> None:
    place = tmp_path / "photoage.db"
    store_family(place)
    with closing(sqlite3.connect(place, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM face").fetchone()
        with changing(place) as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
            with pytest.raises(DatabaseLockedError):
                forget_persons(connection)
    with changing(place) as connection:
        assert forget_persons(connection) == (0, 0, 0)


# --- the command line -------------------------------------------------------------------------------


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
