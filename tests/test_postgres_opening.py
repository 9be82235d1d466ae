"""Opening a database of a PostgreSQL server, which may refuse: what is said, and what is left alone."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from databases import (
    assert_sound,
    begin,
    opened,
    run_sql,
    save,
    stored_ages,
)
from postgres_server import Server
from small_library import real, runner, store_library

from photoage.database.connect import open_database
from photoage.database.known import IdSet
from photoage.database.store import Store
from photoage.errors import DatabaseError, DatabaseLockedError

pytestmark = pytest.mark.slow


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_database()


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
