"""What only PostgreSQL has: a server that may go away, its regular expressions, a real scan."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from conftest import ScannedLibrary
from databases import (
    PHOTOS,
    Place,
    another_writer,
    assert_sound,
    begin,
    opened,
    photo,
    run_sql,
    save,
    stored_ages,
)
from postgres_server import Server
from small_library import runner, store_library
from sqlalchemy import make_url, select

from photoage.database.connect import REVISIONS, database_name, database_url, reading
from photoage.database.dialect import cause as cause_of
from photoage.database.dialect import glob_as_regex
from photoage.database.history import iter_errors
from photoage.database.store import Store
from photoage.database.tables import Photo
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.records import PhotoFile

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_database()


# --- a server that goes away --------------------------------------------------------------------


def test_a_lost_connection_is_one_line_and_costs_what_was_not_committed(url: str) -> None:
    with Store.open(url) as store:
        begin(store)
        save(store, "/p/a.jpg", 1)
        store.commit()
        save(store, "/p/b.jpg", 2)
        run_sql(
            url,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'photoage' AND pid <> pg_backend_pid()",
        )
        with pytest.raises(DatabaseError) as caught:
            save(store, "/p/c.jpg", 3)
        lost = "the connection to the server was lost; what was stored until then is kept"
        assert str(caught.value) == f"{database_name(database_url(url))}: {lost}"
    assert stored_ages(url) == [1.0]
    with Store.open(url) as store:
        begin(store)
        save(store, "/p/b.jpg", 2)
        store.commit()
    assert stored_ages(url) == [1.0, 2.0]
    assert_sound(url)


@pytest.fixture
def many_errors(url: str) -> str:
    """A database with more unreadable photos than fit between a server and who reads it."""
    with Store.open(url) as store:
        begin(store)
        store.save_unreadable(PhotoFile("/p/a.jpg", 1, 1), "io", "bad")
        store.commit()
    run_sql(
        url,
        "INSERT INTO photo (id, path, size, mtime_ns, status, error_kind, error_message, scan_run_id,"
        " scanned_at) SELECT 10 + i, '/q/' || i, 1, 1, 'unreadable', 'io', repeat('x', 1000), scan_run_id,"
        " scanned_at FROM photo, generate_series(1, 20000) AS i",
    )
    return url


READER = "FROM pg_stat_activity WHERE query LIKE 'SELECT photo.path, photo.error_kind%' AND state = 'active'"


def test_rows_come_while_the_server_sends_them(many_errors: str) -> None:
    with opened(many_errors, read_only=True) as engine:
        errors = iter_errors(engine)
        assert next(errors).path == "/p/a.jpg"
        # An ordinary query, at which several processes may work, not a cursor, at which one has to.
        assert run_sql(many_errors, f"SELECT count(*) {READER}") == [(1,)]
        errors.close()  # type: ignore[attr-defined]
        assert run_sql(many_errors, f"SELECT count(*) {READER}") == [(0,)]
        assert sum(1 for _ in iter_errors(engine)) == 20_001
        with engine.connect() as connection:
            assert len(reading(connection).execute(select(Photo.path)).all()) == 20_001
            assert reading(connection).execute(select(Photo.path).where(Photo.id < 0)).all() == []


def test_a_connection_lost_in_the_middle_of_an_answer_is_one_line(many_errors: str) -> None:
    with opened(many_errors, read_only=True) as engine:
        errors = iter_errors(engine)
        next(errors)
        assert run_sql(many_errors, f"SELECT pg_terminate_backend(pid, 10000) {READER}") == [(True,)]
        with pytest.raises(DatabaseError, match="the connection to the server was lost"):
            list(errors)
        assert next(iter_errors(engine)).message == "bad"


def test_what_the_driver_itself_refuses_is_no_matter_of_connecting(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as server, pytest.raises(psycopg.DataError) as caught:
        server.execute("SELECT %s", ["\0"])
    assert cause_of(caught.value) == (DatabaseError, "PostgreSQL text fields cannot contain NUL (0x00) bytes")


def test_of_writers_that_wait_for_each_other_one_is_told(url: str) -> None:
    errors: list[DatabaseError] = []
    with Store.open(url) as store:
        begin(store)
        met = threading.Barrier(2)

        def write(first: str, second: str) -> None:
            with another_writer(url, store) as writer:
                save(writer, first, 30)
                met.wait(10)
                try:
                    save(writer, second, 30)
                    writer.commit()
                except DatabaseError as error:
                    errors.append(error)

        threads = [threading.Thread(target=write, args=order) for order in (PHOTOS[:2], PHOTOS[1::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert [type(error) for error in errors] == [DatabaseLockedError]
    assert str(errors[0]).endswith(": another process is writing to it")
    assert stored_ages(url) == [30.0, 30.0]


# --- values -------------------------------------------------------------------------------------


def test_a_cause_with_a_nul_character_is_stored(url: str) -> None:
    with Store.open(url) as store:
        begin(store)
        store.save_unreadable(PhotoFile("/p/a.jpg", 1, 1), "io", "a\0b \udce9")
        store.commit()
    with opened(url, read_only=True) as engine:
        assert next(iter_errors(engine)).message == r"a\x00b \udce9"


def test_options_with_bytes_that_are_not_utf8_are_stored(url: str) -> None:
    exclude = os.fsdecode(b"caf\xe9*")
    with Store.open(url) as store:
        store.begin_run(["/p"], {"exclude": [exclude]}, ("d", "d"), ("c", "c"))
    (run,) = json.loads(runner(url)("runs", "--json").stdout)
    assert run["options"] == {"exclude": [exclude]}


def random_text(chance: random.Random, alphabet: str, most: int) -> str:
    return "".join(chance.choices(alphabet, k=chance.randrange(most)))


def test_patterns_match_as_in_sqlite(postgres: Server) -> None:
    chance = random.Random(3)
    texts = [random_text(chance, "ab-]^\\[.*?é\uefe9\n$(日Z", 7) for _ in range(300)]
    patterns = [random_text(chance, "ab-]^\\[[*?!é\uefe9\n$(+{日Z", 8) for _ in range(1500)]
    found = 0
    with (
        psycopg.connect(postgres.url("postgres").replace("+psycopg", "")) as server,
        closing(sqlite3.connect(":memory:")) as lite,
    ):
        lite.execute("CREATE TABLE t (x TEXT)")
        lite.executemany("INSERT INTO t VALUES (?)", [(text,) for text in texts])
        for pattern in patterns:
            expected = [row[0] for row in lite.execute("SELECT x FROM t WHERE x GLOB ?", (pattern,))]
            rows = server.execute(
                "SELECT x FROM unnest(%s::text[]) WITH ORDINALITY AS t(x, n)"
                ' WHERE x COLLATE "C" ~ %s ORDER BY n',
                (texts, glob_as_regex(pattern)),
            )
            assert [row[0] for row in rows] == expected, pattern
            found += len(expected)
    assert found > 5_000


# --- a real scan --------------------------------------------------------------------------------


def faces_of(database: Place, *options: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(runner(database)("query", "--json", *options).stdout)
    return [{**row, "scanned_at": ""} for row in rows]


def test_a_scan_into_postgresql_answers_as_one_into_sqlite(url: str, scanned: ScannedLibrary) -> None:
    run, lite = runner(url), runner(scanned.database)
    for command in ("query", "errors", "runs", "stats"):
        assert "is empty; run `photoage scan` first" in run(command, status=1).stderr
    run("scan", str(scanned.library), "-j", "2")
    assert faces_of(url) == faces_of(scanned.database)
    for options in ("--min-age 40 --max-age 90", "--sort score --reverse", "--path *.jpg --limit 5"):
        assert faces_of(url, *options.split()) == faces_of(scanned.database, *options.split())
    for command in ("errors --json", "stats --json", "query --count", "query -0 --sort age"):
        assert run(*command.split()).stdout == lite(*command.split()).stdout
    (mine,), (theirs,) = (json.loads(which("runs", "--json").stdout) for which in (run, lite))
    assert mine["counts"] == theirs["counts"]
    assert (mine["status"], mine["checkpoint"]) == ("finished", theirs["checkpoint"])
    # Nothing is read again, and nothing is doubled.
    assert "0 read" in run("scan", str(scanned.library), "-j", "2").stderr
    assert run("scan", "-n", str(scanned.library)).stdout == ""
    assert faces_of(url) == faces_of(scanned.database)
    assert run("db", "check").stdout == "ok\n"
    assert run("db", "upgrade").stderr == f"schema {REVISIONS[-1]}: nothing to upgrade\n"


def test_commands_about_the_database(url: str, tmp_path: Path) -> None:
    assert "upgraded from schema none" in runner(url)("db", "upgrade").stderr
    store_library(url)
    info = json.loads(runner(url)("db", "info", "--json").stdout)
    assert (info["database"], info["file_system"]) == (make_url(url).render_as_string(), None)
    assert info["size"] > 1_000_000
    assert info["rows"]["face"] == 5
    checks = json.loads(runner(url)("doctor", "--json").stdout)
    text = json.dumps(checks)
    assert "up to date" in text
    assert "database file system" not in text
    target = tmp_path / "faces.csv"
    runner(url)("export", "-o", str(target))
    assert len(target.read_bytes().splitlines()) == 6


def test_many_are_saved_as_each(url: str, tmp_path: Path) -> None:
    for place in (url, tmp_path / "photoage.db"):
        with Store.open(place) as store:
            begin(store)
            assert sorted(store.save_many(photo(path) for path in reversed(PHOTOS))) == sorted(
                known.id for known in store.known.by_path(PHOTOS).values()
            )
            store.commit()
    assert stored_ages(url) == stored_ages(tmp_path / "photoage.db")
