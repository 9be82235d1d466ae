"""Questions about persons, and all that is stored of them forgotten, in databases of both kinds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from databases import Place, assert_sound, opened, run_sql
from family import (
    YEARS,
    begin,
    embedding,
    path_of,
    rows,
    store_family,
)

from photoage.database.changes import changing
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces, iter_faces
from photoage.database.store import Store
from photoage.errors import DatabaseLockedError, UsageError
from photoage.people.forget import forget_persons, stored_of_persons


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
