"""Opening a database file, or refusing to, with real SQLite files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from databases import opened, run_sql, without_privileges
from small_library import store_library
from sqlalchemy import exc

from photoage.database.connect import (
    check_integrity,
    current_revision,
    database_name,
    database_url,
    head_revision,
    on_network_filesystem,
    open_database,
)
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces
from photoage.database.sqlite import default_database
from photoage.database.tables import decode_path, encode_path
from photoage.errors import DatabaseError, SchemaError

# A reader cannot remove the (empty) log it needed; the lock file is never removed, or it would not lock.
FACE = "id, photo_id, face_index, x1, y1, x2, y2, det_score, landmarks"
LEFT_BY_READING = {"photoage.db-shm", "photoage.db-wal", "photoage.db.scan.lock"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "photoage.db"
    store_library(path)
    return path


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
                connection.exec_driver_sql(
                    f"INSERT INTO face ({FACE}) VALUES (1, 99, 0, 0, 0, 1, 1, 0.5, '[]')"
                )


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
from photoage.database.connect import open_database
from photoage.errors import DatabaseError
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces
from photoage.database.store import Store
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


def test_a_local_disk_is_no_network_file_system(tmp_path: Path) -> None:
    assert on_network_filesystem(tmp_path / "photoage.db") is None
