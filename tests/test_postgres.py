"""What only PostgreSQL has: a server that may refuse or go away, its regular expressions, a real scan."""

from __future__ import annotations

import json
import os
import random
import shlex
import sqlite3
import subprocess
import sys
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
from small_library import real, runner, store_library
from sqlalchemy import make_url, select

from photoage.database.connect import REVISIONS, database_name, database_url, open_database, reading
from photoage.database.dialect import cause as cause_of
from photoage.database.dialect import glob_as_regex
from photoage.database.history import iter_errors
from photoage.database.known import IdSet
from photoage.database.store import Store
from photoage.database.tables import Photo
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.records import PhotoFile

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_database()


# --- a server that refuses ----------------------------------------------------------------------


@pytest.fixture
def refusing(postgres: Server) -> Server:
    """The server, with roles and databases that photoage cannot use."""
    postgres.run(
        "DROP DATABASE IF EXISTS latin",
        "DROP DATABASE IF EXISTS locked",
        "DROP ROLE IF EXISTS guarded",
        "CREATE ROLE guarded LOGIN PASSWORD 'secreT'",
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc",
        "CREATE DATABASE locked",
        "REVOKE CONNECT ON DATABASE latin FROM public",
    )
    return postgres


def test_what_a_server_refuses_is_one_line_without_the_password(refusing: Server) -> None:
    here = f"127.0.0.1:{refusing.port}"
    for url, name, cause in (
        ("me:secret@127.0.0.1:1/x", "me:***@127.0.0.1:1/x", "cannot connect: Connection refused"),
        (f"postgres:secret@{here}/no", f"postgres:***@{here}/no", 'cannot connect: database "no" does not'),
        (f"nobody:secret@{here}/x", f"nobody:***@{here}/x", 'cannot connect: role "nobody" does not exist'),
        (f"guarded:secret@{here}/x", f"guarded:***@{here}/x", "cannot connect: password authentication"),
        (f"guarded@{here}/x?password=secret", f"guarded@{here}/x", "cannot connect: password auth"),
        (f"guarded@{here}/x", f"guarded@{here}/x", "cannot connect: fe_sendauth: no password supplied"),
        (f"guarded:secreT@{here}/latin", f"guarded:***@{here}/latin", "cannot connect: permission denied"),
        (f"guarded:secreT@{here}/locked", f"guarded:***@{here}/locked", "permission denied for schema"),
    ):
        for scheme in ("postgresql+psycopg", "postgresql", "postgres"):
            run = runner(f"{scheme}://{url}")
            last = run("db", "upgrade", "-v", status=1).stderr.splitlines()[-1]
            assert last.startswith(f"photoage: error: postgresql+psycopg://{name}: {cause}")
            assert "secret" not in run("db", "upgrade", "-v", status=1).stderr.lower()


def test_a_database_in_another_encoding_is_refused(refusing: Server) -> None:
    with pytest.raises(DatabaseError, match="the database latin has the encoding LATIN1; photoage needs"):
        open_database(refusing.url("latin"), create=True)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql://me:secret@host:port/x", "what was given for the database is not a URL"),
        ("postgresql://me:very@secret@host/x", "the database URL has an @ in its password: write it as %40"),
        ("postgresql+asyncpg://me:secret@host/x", "only the driver psycopg is supported"),
        ("mysql://me:secret@host/x", "mysql databases are not supported"),
    ],
)
def test_urls_that_make_no_sense_are_one_line_without_the_password(url: str, cause: str) -> None:
    done = real(url, "query", "-v")
    assert done.returncode == 1
    assert b"secret" not in done.stderr
    assert cause in done.stderr.decode().splitlines()[-1]


def test_a_missing_driver_says_how_to_install_it(postgres: Server) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from photoage.cli import main\n"
        f"sys.argv = ['photoage', '--db', {postgres.url('postgres')!r}, 'query']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "PostgreSQL needs the driver psycopg (`pip install 'psycopg[binary]'`)" in done.stderr


def test_foreign_tables_are_left_alone(url: str) -> None:
    run_sql(url, "CREATE TABLE bookmarks (address text)")
    for options in ({"read_only": True}, {}, {"create": True}):
        with pytest.raises(DatabaseError, match="is not a photoage database"):
            open_database(url, **options)
    with pytest.raises(DatabaseError, match="is not a photoage database"):
        Store.open(url)


def test_reading_is_read_only(url: str) -> None:
    store_library(url)
    with (
        opened(url, read_only=True) as engine,
        engine.connect() as connection,
        pytest.raises(Exception, match="read-only transaction"),
    ):
        connection.exec_driver_sql("DELETE FROM photo")


def test_a_backup_is_for_pg_dump_and_the_command_named_works(url: str, tmp_path: Path) -> None:
    store_library(url)
    target = tmp_path / "a copy.dump"
    result = runner(url.replace("postgres@", "postgres:secret@"))("db", "backup", str(target), status=1)
    assert "is copied with PostgreSQL's own program" in result.stderr
    command = shlex.split(result.stderr[result.stderr.index("pg_dump") :])
    assert "***" not in command[-1], "it would be taken for the password"
    subprocess.run(command, check=True, capture_output=True)
    assert target.read_bytes().startswith(b"PGDMP")


def test_settings_are_ours_unless_the_user_has_some(
    postgres: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = url.rpartition("%3D")[2]
    server = url.partition("?")[0]
    store_library(url)
    postgres.run(
        "DROP ROLE IF EXISTS hasty",
        "CREATE ROLE hasty LOGIN SUPERUSER",
        "ALTER ROLE hasty SET statement_timeout = '5s'",
    )
    services = tmp_path / "services"
    services.write_text(f"[photos]\nhost=127.0.0.1\nport={postgres.port}\nuser=hasty\ndbname=postgres\n"
                        f"options=-csearch_path={schema} -cwork_mem=9MB\n")  # fmt: skip
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGOPTIONS", f"-c search_path={schema} -c jit=on")
    for place, expected in (
        (url, ["off", "64MB", "0", "0", schema]),
        (f"{url} -cwork_mem%3D8MB -cstatement_timeout%3D7s", ["off", "8MB", "7s", "0", schema]),
        (server, ["on", "64MB", "0", "0", schema]),
        (server.replace("postgres@", "hasty@"), ["on", "64MB", "0", "0", schema]),
        ("postgresql:///?service=photos", ["off", "9MB", "0", "0", schema]),
    ):
        with opened(place, read_only=True) as engine, engine.connect() as connection:
            names = ("jit", "work_mem", "statement_timeout", "idle_session_timeout", "search_path")
            found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
        assert found == expected, place


def test_a_schema_is_a_library_of_its_own(url: str, postgres: Server) -> None:
    with Store.open(url) as store, Store.open(postgres.new_database()) as other:
        begin(store)
        begin(other)
        with pytest.raises(DatabaseLockedError, match="another scan is writing"):
            Store.open(url)


def test_a_schema_may_need_quotes_and_must_be_there(url: str) -> None:
    base, schema = url.rpartition("%3D")[0], "Anna Müller"
    run_sql(base.partition("?")[0], f'CREATE SCHEMA "{schema}"')
    with Store.open(f"{base}%3D%22Anna%5C%20M%C3%BCller%22") as store:
        begin(store)
        with pytest.raises(DatabaseLockedError, match="another scan is writing"):
            Store.open(f"{base}%3D%22Anna%5C%20M%C3%BCller%22")
    with pytest.raises(DatabaseError, match="has no schema of its search_path, absent") as caught:
        Store.open(f"{base}%3Dabsent")
    assert not isinstance(caught.value, DatabaseLockedError)


def test_ids_go_beyond_32_bits(url: str) -> None:
    """Every attempt to store a row uses an id up: a large library's full rescans come to more."""
    with Store.open(url) as store:
        begin(store)
        for table in ("photo", "face", "estimate"):
            run_sql(url, f"SELECT setval('{table}_id_seq', {2**40})")
        photo_id = save(store, "/p/a.jpg", 31, 32)
        store.commit()
        assert photo_id > 2**40
        assert len(store.known.faces(photo_id).pages) == 2
        seen = IdSet()
        seen.add(photo_id)
        assert list(store.known.unseen(["/p"], seen)) == []
        assert [photo.id for photo in store.known.unseen(["/p"], IdSet())] == [photo_id]
    assert stored_ages(url) == [31, 32]
    assert_sound(url)


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
