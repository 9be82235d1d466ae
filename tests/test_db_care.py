"""The database over time: upgraded and checked, both kinds; damaged and copied, SQLite files."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import HOLD_LOCK, Place, another_process, begin, detections, opened, run_sql
from small_library import BROKEN, LATIN, runner, store_library
from sqlalchemy import Engine

from photoage.database import sqlite
from photoage.database.connect import (
    REVISIONS,
    backup,
    check_integrity,
    current_revision,
    head_revision,
    make_engine,
    migrations_folder,
    open_database,
    table_counts,
    upgrade,
)
from photoage.database.face_filter import FaceFilter
from photoage.database.history import iter_errors, iter_runs
from photoage.database.query import FIELDS, iter_faces, iter_paths
from photoage.database.stats import library_stats
from photoage.database.store import Store
from photoage.database.tables import Base, decode_path
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.records import Estimate, PhotoFaces, PhotoFile

OLD_DATABASES = Path(__file__).parent / "old_databases"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "photoage.db"
    store_library(path)
    return path


@pytest.fixture
def place(new_database: Callable[[], Place]) -> Place:
    place = new_database()
    store_library(place)
    return place


# --- schema -----------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_models(new_database: Callable[[], Place]) -> None:
    with opened(new_database(), create=True) as engine, engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory(str(migrations_folder()))
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(REVISIONS))


def test_every_revision_has_its_old_database() -> None:
    assert sorted(path.stem for path in OLD_DATABASES.iterdir()) == list(REVISIONS)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_every_revision_is_upgraded_and_loses_nothing(revision: str, tmp_path: Path) -> None:
    path = tmp_path / "photoage.db"
    shutil.copy(OLD_DATABASES / f"{revision}.sqlite", path)
    ((before,),) = run_sql(path, "SELECT version_num FROM alembic_version")
    assert before == revision
    with opened(path, create=True) as engine:
        assert current_revision(engine) == head_revision()
        assert check_integrity(engine) == []
        assert table_counts(engine) == {
            "checkpoint": 1, "detector": 1, "scan_run": 1, "photo": 7, "face": 5, "estimate": 5,
            "recogniser": 0, "embedding": 0, "person": 0, "person_face": 0, "person_apart": 0,
        }  # fmt: skip
        faces = list(iter_faces(engine, FaceFilter(sort="age")))
        assert [face.age for face in faces] == [5.0, 8.5, 34.25, 45.0, 71.0]
        assert faces[3].path == LATIN
        assert next(iter_errors(engine)).path == BROKEN


def test_an_upgrade_that_is_locked_out_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.2)
    path = tmp_path / "empty.db"
    run_sql(path, "PRAGMA journal_mode = WAL")
    with another_process(HOLD_LOCK, path), pytest.raises(DatabaseLockedError, match="another process"):
        open_database(path, create=True)
    assert run_sql(path, "SELECT * FROM sqlite_master") == []
    open_database(path, create=True).dispose()


def test_an_upgrade_that_fails_halfway_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "clash.db"
    # The name of the last thing that the first migration makes is taken.
    run_sql(path, "CREATE VIEW faces_view AS SELECT 1")
    with pytest.raises(DatabaseError, match="faces_view"):
        open_database(path, create=True)
    assert run_sql(path, "SELECT name FROM sqlite_master") == [("faces_view",)]


def test_an_upgrade_of_an_up_to_date_database_does_nothing(place: Place) -> None:
    with opened(place, create=True) as engine:
        upgrade(engine)
        assert table_counts(engine)["photo"] == 7


UPGRADE = """
import os, sys
from photoage.database.connect import open_database
children = []
for _ in range(4):
    children.append(os.fork())
    if children[-1] == 0:
        open_database(sys.argv[1], create=True).dispose()
        os._exit(0)
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_programs_that_upgrade_at_the_same_time_wait_for_each_other(
    new_database: Callable[[], Place],
) -> None:
    place = new_database()
    command = [sys.executable, "-c", UPGRADE, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[0, 0, 0, 0]\n", "")
    with opened(place, read_only=True) as engine:
        assert table_counts(engine)["photo"] == 0


def test_the_view_has_the_columns_and_rows_of_the_csv(place: Place) -> None:
    with opened(place, read_only=True) as engine, engine.connect() as connection:
        faces = list(iter_faces(engine, FaceFilter()))
        rows = connection.exec_driver_sql("SELECT * FROM faces_view ORDER BY path, face_index")
        assert tuple(rows.keys()) == FIELDS
        assert [(decode_path(row[0]), *row[1:]) for row in rows] == faces


def test_the_view_uses_the_index_of_ages(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM faces_view WHERE age > 60").fetchall()
    assert any("ix_estimate_age" in step[3] for step in plan)


# --- care -------------------------------------------------------------------------------------


def test_check_finds_what_is_wrong(place: Place) -> None:
    with opened(place, read_only=True) as engine:
        assert check_integrity(engine) == []
    run_sql(place, "UPDATE estimate SET current = false WHERE id = 1")
    with opened(place, read_only=True) as engine:
        assert check_integrity(engine) == ["1 faces without a current estimate"]
    # SQLite's plain connections do not enforce foreign keys, PostgreSQL's can be made not to.
    unchecked = ["SET session_replication_role = replica"] if isinstance(place, str) else []
    run_sql(place, *unchecked, "DELETE FROM photo WHERE id = 1")
    with opened(place, read_only=True) as engine:
        assert check_integrity(engine) == [
            f"face row {row} refers to a photo that is not there" for row in (1, 2)
        ]


def ask_once(path: Path, ask: Callable[[Engine], object]) -> None:
    with opened(path, read_only=True) as engine:
        ask(engine)


def error_of(action: Callable[[], object]) -> str | None:
    """The message of the `DatabaseError` that an action raises, or None."""
    try:
        action()
    except DatabaseError as error:
        return str(error)
    return None


def test_damaged_files_give_one_line_errors_only(database: Path, tmp_path: Path) -> None:
    chance = random.Random(2)
    sound = database.read_bytes()
    caught = 0
    for number in range(150):
        damaged = tmp_path / f"damaged{number}.db"
        data = bytearray(sound)
        if number % 3 == 0:
            del data[chance.randrange(len(data)) :]
        elif number % 3 == 1:
            for _ in range(30):
                data[chance.randrange(len(data))] = chance.randrange(256)
        else:
            start = chance.randrange(len(data) // 4096) * 4096
            data[start : start + 4096] = chance.randbytes(4096)
        damaged.write_bytes(data)
        questions: list[Callable[[Engine], object]] = [
            lambda engine: list(iter_faces(engine, FaceFilter(sort="date", path_glob="*"))),
            lambda engine: list(iter_paths(engine, FaceFilter(min_age=1))),
            lambda engine: list(iter_errors(engine)),
            lambda engine: list(iter_runs(engine)),
            library_stats,
            check_integrity,
        ]
        for ask in questions:
            cause = error_of(partial(ask_once, damaged, ask))
            if cause is not None:
                caught += 1
                assert cause.startswith(f"{damaged}: ")
                assert "\n" not in cause
        assert damaged.read_bytes() == bytes(data)
    assert caught > 100


WRITE_ON = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
number = 0
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO photo (path, size, mtime_ns, content_hash, width, height, status,"
                       " detector_id, detect_key, scan_run_id, scanned_at)"
                       " VALUES ('/w/' || ?, 1, 1, 'h', 1, 1, 'done', 1, 'k', 1, '2026-01-01T00:00:00Z')",
                       (number,))
    connection.execute("INSERT INTO face (photo_id, face_index, x1, y1, x2, y2, det_score, landmarks)"
                       " SELECT max(id), 0, 0, 0, 1, 1, 0.5, '[]' FROM photo")
    connection.execute("INSERT INTO estimate (face_id, checkpoint_id, age, age_low, age_high, current)"
                       " SELECT max(id), 1, 30, 20, 40, 1 FROM face")
    connection.execute("COMMIT")
    number += 1
    if number == 10:
        print("writing", flush=True)
"""


def test_check_and_backup_while_another_process_writes(database: Path, tmp_path: Path) -> None:
    with another_process(WRITE_ON, database) as writer, opened(database, read_only=True) as engine:
        before = table_counts(engine)["face"]
        for number in range(5):
            assert check_integrity(engine) == []
            target = tmp_path / f"copy{number}.db"
            backup(engine, target)
            with opened(target, read_only=True) as copy:
                assert check_integrity(copy) == []
                assert table_counts(copy)["face"] >= before
            assert run_sql(target, "PRAGMA journal_mode") == [("delete",)]
        assert writer.poll() is None
        limit = time.monotonic() + 30
        while table_counts(engine)["face"] == before:
            assert time.monotonic() < limit, "the writer was kept from writing"


def test_a_backup_never_replaces_anything(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("precious")
    with opened(database, read_only=True) as engine:
        for place, cause in (
            (target, "exists already"),
            (database, "exists already"),
            (tmp_path, "exists already"),
            (tmp_path / "absent" / "copy.db", "cannot be created"),
        ):
            with pytest.raises(DatabaseError, match=cause):
                backup(engine, place)
    assert target.read_text() == "precious"


def test_a_backup_that_fails_leaves_no_half_copy(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with opened(database, read_only=True) as engine, engine.connect():
        # Damaged after it was opened, as by a failing disk.
        with database.open("r+b") as file:
            file.truncate(database.stat().st_size - 8192)
        with pytest.raises(DatabaseError, match=f"{target}: backup of {database}: "):
            backup(engine, target)
    assert not target.exists()


def test_an_error_of_the_programs_own_is_no_damage(database: Path, tmp_path: Path) -> None:
    path = shutil.copy(database, tmp_path / "p.db")
    with Store.open(path) as store:
        begin(store)
        with pytest.raises(ValueError, match="zip"):  # two faces, one estimate
            store.save_many([(PhotoFile("/p/new.jpg", 1, 1), PhotoFaces("n", 1, 1, detections(2)),
                              [Estimate(1, 0, 2)])])  # fmt: skip
        store.commit()
        assert store.known.by_path(["/p/new.jpg"]) == {}
    run_sql(path, "UPDATE scan_run SET started_at = 'yesterday' WHERE id = 1")
    with (
        opened(path, read_only=True) as engine,
        pytest.raises(DatabaseError, match=r"is damaged: .*yesterday"),
    ):
        list(iter_runs(engine))
    run_sql(path, "UPDATE scan_run SET started_at = finished_at, roots = '{' WHERE id = 1")
    with opened(path, read_only=True) as engine, pytest.raises(DatabaseError, match="is damaged: not JSON"):
        list(iter_runs(engine))


def test_databases_and_backups_are_for_their_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold children's ages, and where their photos are."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with Store.open(None) as store:
        begin(store)
    place = tmp_path / "data" / "photoage" / "photoage.db"
    with opened(place) as engine:
        backup(engine, tmp_path / "backup.db")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, tmp_path / "backup.db")] == [
        0o700, 0o600, 0o600
    ]  # fmt: skip


def test_db_upgrade_keeps_out_of_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    run_sql(path, "PRAGMA journal_mode = WAL")
    engine = make_engine(path)
    release = sqlite.take_scan_lock(engine)
    try:
        done = runner(path)("db", "upgrade", status=1)
        assert "another scan is writing" in done.stderr
        assert run_sql(path, "SELECT * FROM sqlite_master") == []
    finally:
        release()
        engine.dispose()
    assert "upgraded from schema none" in runner(path)("db", "upgrade").stderr
