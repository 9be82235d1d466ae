"""The database file: opened, refused, upgraded, checked and copied, with real SQLite files."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from small_library import BROKEN, LATIN, store_library
from sqlalchemy import Engine, exc

from photoage import sqlite
from photoage.db import (
    REVISIONS,
    Base,
    backup,
    check_integrity,
    current_revision,
    database_name,
    database_url,
    decode_path,
    default_database,
    encode_path,
    head_revision,
    migrations_folder,
    on_network_filesystem,
    open_database,
    table_counts,
    upgrade,
)
from photoage.errors import DatabaseError, DatabaseLockedError, SchemaError
from photoage.query import FIELDS, FaceFilter, count_faces, iter_errors, iter_faces, iter_paths, iter_runs
from photoage.stats import library_stats

# A reader cannot remove the (empty) log it needed; the lock file is never removed, or it would not lock.
LEFT_BY_READING = {"photoage.db-shm", "photoage.db-wal", "photoage.db.scan.lock"}
OLD_DATABASES = Path(__file__).parent / "old_databases"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "photoage.db"
    store_library(path)
    return path


@contextmanager
def opened(path: Path, **options: bool) -> Iterator[Engine]:
    engine = open_database(path, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def run_sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What the last statement gives, by Python's own module."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


@contextmanager
def another_process(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed a line, and is killed in the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


HOLD_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(60)
"""


def without_privileges(code: str, *arguments: str | Path) -> str:
    """What a Python process prints for which file permissions count, even when root runs the tests."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions, and setpriv is not there to change that")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b"/a/plain.jpg", "/a/plain.jpg"),
        ("/ä/日本/🎖️.jpg".encode(), "/ä/日本/🎖️.jpg"),
        (b"/caf\xe9.jpg", "/caf\uefe9.jpg"),
        ("/genuine \uefe9".encode(), "/genuine \uefee\uefbf\uefa9"),
        (b"/cut \xe2\x82", "/cut \uefe2\uef82"),
        (b"/surrogate \xed\xb2\x80", "/surrogate \uefed\uefb2\uef80"),
    ],
)
def test_paths_are_stored_losslessly(name: bytes, stored: str) -> None:
    path = os.fsdecode(name)
    assert encode_path(path) == stored
    assert os.fsencode(decode_path(stored)) == name


def test_any_bytes_survive_as_a_path_and_no_two_are_stored_alike() -> None:
    chance = random.Random(1)
    pieces = [b"a", b"/", b"\xe9", "é".encode(), "\uef80".encode(), "\uefff".encode(), b"\xee", b"\xbe\x80"]
    names = {b"".join(chance.choices(pieces, k=chance.randrange(8))) for _ in range(20_000)}
    stored = {encode_path(os.fsdecode(name)): name for name in names}
    assert len(stored) == len(names)
    for text, name in stored.items():
        text.encode("utf-8")  # SQLite takes nothing else
        assert os.fsencode(decode_path(text)) == name


def test_times_are_readable_text(database: Path) -> None:
    taken = run_sql(database, "SELECT taken_at FROM photo WHERE path LIKE '%anna%'")
    assert taken == [("2019-05-04T12:30:00",)]
    ((scanned,),) = run_sql(database, "SELECT scanned_at FROM photo LIMIT 1")
    assert isinstance(scanned, str)
    assert scanned.endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(scanned)
    assert timedelta(0) <= age < timedelta(minutes=5)


# --- opening ----------------------------------------------------------------------------------


def test_a_new_database_has_the_newest_schema_and_safe_settings(tmp_path: Path) -> None:
    with opened(tmp_path / "new.db", create=True) as engine:
        assert current_revision(engine) == head_revision()
        with engine.connect() as connection:
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
            }
            assert settings == {
                "journal_mode": "wal",
                "foreign_keys": 1,
                "busy_timeout": 30_000,
                "synchronous": 1,
            }
            with pytest.raises(exc.IntegrityError, match="FOREIGN KEY"):
                connection.exec_driver_sql("INSERT INTO face VALUES (1, 99, 0, 0, 0, 1, 1, 0.5, '[]')")


def test_names_of_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert database_name(database_url("a.db")) == str(tmp_path / "a.db")
    assert database_name(database_url(Path("~/b.db"))) == str(tmp_path / "b.db")
    assert database_name(database_url("sqlite:///c.db")) == str(tmp_path / "c.db")
    assert database_name(database_url(None)) == str(default_database())
    assert database_name(database_url("postgresql://me:secret@host/photos")).count("secret") == 0


def test_a_database_may_lie_under_any_name(tmp_path: Path) -> None:
    for name in (b"caf\xe9 #1?mode=memory%20.db", "日本 & co.db".encode()):
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        store_library(path)
        assert path.stat().st_size > 0
        with opened(path, read_only=True) as engine:
            assert count_faces(engine, FaceFilter()) == 5


def no_file(path: Path) -> None:
    pass


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def short_text(path: Path) -> None:
    path.write_text("hello")


def long_text(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def nothing(path: Path) -> None:
    path.touch()


def foreign_database(path: Path) -> None:
    run_sql(path, "CREATE TABLE bookmarks (url TEXT)")


def foreign_alembic_database(path: Path) -> None:
    run_sql(path, "CREATE TABLE alembic_version (version_num TEXT)", "CREATE TABLE photo (id INTEGER)")


def header_only(path: Path) -> None:
    store_library(path)
    path.write_bytes(path.read_bytes()[:4096])


def no_revision(path: Path) -> None:
    store_library(path)
    run_sql(path, "DELETE FROM alembic_version")


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (no_file, "no database at {path}; run `photoage scan` first"),
        (folder, "{path}: is a folder, not a database file"),
        (pipe, "{path}: is not a regular file"),
        (short_text, "{path}: is not a database"),
        (long_text, "{path}: is not a database"),
        (nothing, "{path}: is empty; run `photoage scan` first"),
        (foreign_database, "{path}: is not a photoage database"),
        (foreign_alembic_database, "{path}: is not a photoage database"),
        (header_only, "{path}: is damaged"),
        (no_revision, "{path}: is damaged"),
    ],
)
def test_what_is_no_database_is_refused_and_left_alone(
    make: Callable[[Path], None], cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "photoage.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    # A scan makes a database out of nothing, and out of an empty file, but of nothing else.
    for options in ({"read_only": True}, {}, {"create": True})[: 2 if make in (no_file, nothing) else 3]:
        with pytest.raises(DatabaseError) as caught:
            open_database(path, **options)
        assert str(caught.value).startswith(cause.format(path=path))
        assert "\n" not in str(caught.value)
        assert (path.read_bytes() if path.is_file() else None) == before
        made = {p.name for p in tmp_path.iterdir()} - LEFT_BY_READING
        assert made == (set() if make is no_file else {path.name})


@pytest.mark.parametrize(
    "spec", ["nonsense://x/y", "sqlite://", "sqlite:///:memory:", "mysql://host/x", "://"]
)
def test_urls_that_lead_nowhere(spec: str) -> None:
    with pytest.raises(DatabaseError):
        open_database(spec, create=True)


def test_a_missing_folder_is_not_made_except_for_the_default_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatabaseError, match="no such folder"):
        open_database(tmp_path / "typo" / "photoage.db", create=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    with pytest.raises(DatabaseError, match="no database at"):
        open_database(None)
    open_database(None, create=True).dispose()
    assert default_database().is_file()


def test_a_newer_schema_is_refused_and_left_alone(database: Path) -> None:
    run_sql(database, "UPDATE alembic_version SET version_num = '9999'")
    before = database.read_bytes()
    for options in ({"read_only": True}, {}, {"create": True}):
        with pytest.raises(SchemaError, match=f"9999.*{head_revision()}"):
            open_database(database, **options)
    assert database.read_bytes() == before
    with opened(database, read_only=True, any_schema=True) as engine:
        assert current_revision(engine) == "9999"
        assert check_integrity(engine) == []


READ_AND_WRITE = """
import sys
from photoage.db import open_database
from photoage.errors import DatabaseError
from photoage.query import FaceFilter, count_faces
from photoage.store import Store
for use in (
    lambda: count_faces(open_database(sys.argv[1], read_only=True), FaceFilter()),
    lambda: Store.open(sys.argv[1]),
):
    try:
        print(use())
    except DatabaseError as error:
        print(error)
"""


def test_a_read_only_file_can_be_read(database: Path) -> None:
    database.chmod(0o444)
    before = database.read_bytes()
    assert without_privileges(READ_AND_WRITE, database).splitlines() == ["5", f"{database}: is read-only"]
    assert database.read_bytes() == before


def test_a_database_in_a_read_only_folder_can_be_read(database: Path) -> None:
    database.parent.chmod(0o555)
    try:
        read, written = without_privileges(READ_AND_WRITE, database).splitlines()
    finally:
        database.parent.chmod(0o755)
    assert read == "5"
    assert written == f"{database}: cannot be written: its folder is read-only"


def test_a_log_in_a_read_only_folder_is_read_or_refused_but_not_ignored(database: Path) -> None:
    # As after a scan was killed on a disk that is now mounted read-only.
    killed = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("DELETE FROM face WHERE id = 1")
connection.commit()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", killed, str(database)], check=True)
    assert database.with_name("photoage.db-wal").stat().st_size > 0
    database.with_name("photoage.db-shm").unlink()
    database.parent.chmod(0o555)
    try:
        read, _ = without_privileges(READ_AND_WRITE, database).splitlines()
    finally:
        database.parent.chmod(0o755)
    assert read == "4" or read.startswith(f"{database}: ")


def test_no_permission_is_one_line(database: Path) -> None:
    database.chmod(0)
    for line in without_privileges(READ_AND_WRITE, database).splitlines():
        assert line == f"{database}: no permission to read it"


# --- schema -----------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables_of_the_models(tmp_path: Path) -> None:
    with opened(tmp_path / "new.db", create=True) as engine, engine.connect() as connection:
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
            "checkpoint": 1, "detector": 1, "scan_run": 1, "photo": 7, "face": 5, "estimate": 5
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


def test_an_upgrade_of_an_up_to_date_database_does_nothing(database: Path) -> None:
    with opened(database, create=True) as engine:
        upgrade(engine)
        assert table_counts(engine)["photo"] == 7


def test_the_view_has_the_columns_and_rows_of_the_csv(database: Path) -> None:
    with opened(database, read_only=True) as engine:
        faces = list(iter_faces(engine, FaceFilter()))
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT * FROM faces_view ORDER BY path, face_index")
        assert tuple(column[0] for column in rows.description) == FIELDS
        assert [(decode_path(row[0]), *row[1:]) for row in rows] == faces
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM faces_view WHERE age > 60").fetchall()
    assert any("ix_estimate_age" in step[3] for step in plan)


# --- care -------------------------------------------------------------------------------------


def test_check_finds_what_is_wrong(database: Path) -> None:
    with opened(database, read_only=True) as engine:
        assert check_integrity(engine) == []
    run_sql(database, "UPDATE estimate SET current = 0 WHERE id = 1")
    with opened(database, read_only=True) as engine:
        assert check_integrity(engine) == ["1 faces without a current estimate"]
    run_sql(database, "DELETE FROM photo WHERE id = 1")  # plain connections do not enforce foreign keys
    with opened(database, read_only=True) as engine:
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
    connection.execute("INSERT INTO photo SELECT NULL, '/w/' || ?, 1, 1, 'h', 1, 1, NULL, 'done', NULL, NULL,"
                       " 1, 'k', 1, '2026-01-01T00:00:00Z'", (number,))
    connection.execute("INSERT INTO face SELECT NULL, max(id), 0, 0, 0, 1, 1, 0.5, '[]' FROM photo")
    connection.execute("INSERT INTO estimate SELECT NULL, max(id), 1, 30, 20, 40, 1 FROM face")
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


def test_the_files_of_the_database_are_no_more_open_than_the_umask_says(database: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(database.stat().st_mode) == 0o644 & ~mask


def test_a_local_disk_is_no_network_file_system(tmp_path: Path) -> None:
    assert on_network_filesystem(tmp_path / "photoage.db") is None
