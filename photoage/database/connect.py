"""The database: opening, schema check and upgrade, integrity check, backup.

SQLite is the default, PostgreSQL the other choice. Where they differ is in dialect.py, sqlite.py and
postgres.py; everything else, here and in tables.py, store.py and query.py, is SQLAlchemy that both run.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    and_,
    exists,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from photoage.database.dialect import backend, cause
from photoage.database.sqlite import default_database
from photoage.database.tables import (
    Base,
    DamagedValueError,
    Face,
    Photo,
    StoredEstimate,
)
from photoage.errors import DatabaseError, DatabaseLockedError, SchemaError
from photoage.filesystem import filesystem_type, is_network

# Every schema revision, oldest first. Known without loading Alembic, which only an upgrade needs.
REVISIONS = ("0001", "0002")
ROWS_FETCHED = 1000  # rows fetched at a time


def database_url(spec: str | os.PathLike[str] | None) -> URL:
    """The URL of a database given as a path, as a URL, or (None) by default."""
    if isinstance(spec, str) and "://" in spec:
        try:
            url = make_url(spec)
        except (ArgumentError, ValueError):
            # Neither it nor its parts are shown: a password may be anywhere in it.
            raise DatabaseError("what was given for the database is not a URL") from None
        if url.get_backend_name() != "sqlite":
            return url
        if not url.database or url.database == ":memory:":
            raise DatabaseError(f"{spec}: names no file")
        spec = url.database
    path = Path(spec).expanduser() if spec else default_database()
    return URL.create("sqlite", database=os.path.abspath(path))


def database_file(url: URL) -> Path | None:
    """The file behind an SQLite URL; None for a database server."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def database_name(url: URL) -> str:
    """How messages call a database: its file, or its URL without the password."""
    return backend(url).name(url)


def make_engine(
    spec: str | os.PathLike[str] | None, *, create: bool = False, read_only: bool = False
) -> Engine:
    """An engine for a database that is there (or may be made if `create`), whatever it holds.

    Raises `DatabaseError`.
    """
    url = database_url(spec)
    return backend(url).make_engine(url, create=create, read_only=read_only)


def open_database(
    spec: str | os.PathLike[str] | None,
    *,
    create: bool = False,
    read_only: bool = False,
    any_schema: bool = False,
) -> Engine:
    """Open a database and make sure that its schema is this version's.

    `create` makes a missing database and upgrades an older one; without it, either is an error.
    `any_schema` skips the check, for commands that describe, copy or upgrade a database.
    Raises `SchemaError`, `DatabaseLockedError` or `DatabaseError`.
    """
    engine = make_engine(spec, create=create, read_only=read_only)
    try:
        if create or not any_schema:
            check_schema(engine, upgradable=create, read_only=read_only)
        else:
            current_revision(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check_schema(engine: Engine, *, upgradable: bool, read_only: bool = False) -> None:
    """Make sure that a database has this version's schema; bring it there if `upgradable`."""
    name = database_name(engine.url)
    revision = current_revision(engine)
    _require_schema(name, revision, upgradable=upgradable)
    if not read_only:
        # Only now is it certain that the database is photoage's to change.
        with database_errors(name), engine.connect() as connection:
            backend(engine.url).prepare_writing(connection)
    if revision != head_revision():
        upgrade(engine)


def _require_schema(name: str, revision: str | None, *, upgradable: bool) -> None:
    if revision is not None and revision not in REVISIONS:
        raise SchemaError(
            f"{name}: has schema {revision}, newer than {head_revision()}, the newest that this photoage"
            " knows; update photoage"
        )
    if revision is None and not upgradable:
        raise DatabaseError(f"{name}: is empty; run `photoage scan` first")
    if revision != head_revision() and not upgradable:
        raise SchemaError(
            f"{name}: has schema {revision}, this photoage works with {head_revision()};"
            " run `photoage db upgrade`"
        )


@contextmanager
def database_errors(name: str) -> Iterator[None]:
    """Turn every error of the database driver into a `DatabaseError` with a one-line cause."""
    try:
        yield
    except (DamagedValueError, UnicodeDecodeError) as error:  # the latter by the driver, of text not UTF-8
        raise DatabaseError(f"{name}: is damaged: {' '.join(str(error).split())}") from error
    except (DBAPIError, sqlite3.Error) as error:
        kind, message = cause(error)
        raise kind(f"{name}: {message}") from error


def reading(connection: Connection) -> Connection:
    """The connection, reading rows only as they are asked for, however many there are."""
    return connection.execution_options(yield_per=ROWS_FETCHED, binary=True)


# --- schema -----------------------------------------------------------------------------------


def head_revision() -> str:
    """The schema revision that this version works with."""
    return REVISIONS[-1]


def current_revision(engine: Engine) -> str | None:
    """The schema revision of a database; None when it is empty.

    Raises `DatabaseError` when it holds something that is not photoage's.
    """
    name = database_name(engine.url)
    with database_errors(name), engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        if not tables:
            return None
        if not {"photo", "face", "estimate", "alembic_version"} <= tables:
            raise DatabaseError(f"{name}: is not a photoage database")
        revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if revision is None:
            raise DatabaseError(f"{name}: is damaged: it does not say its schema")
        return revision


def upgrade(engine: Engine) -> None:
    """Bring a database to `head_revision` in one transaction: on failure it stays as it was."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        backend(engine.url).begin_schema_change(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def migrations_folder() -> Path:
    """The Alembic environment: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parents[1] / "migrations"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "migrations"


# --- care ----------------------------------------------------------------------------------------


def table_counts(engine: Engine) -> dict[str, int]:
    """The number of rows of every table that the database has, by its name."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        present = set(inspect(connection).get_table_names())
        tables = [table for table in Base.metadata.sorted_tables if table.name in present]
        return {t.name: connection.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


def database_size(engine: Engine) -> int:
    """Bytes that the database takes on disk."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        return backend(engine.url).size(connection)


def check_integrity(engine: Engine) -> list[str]:
    """What is wrong with a database, one line each; nothing when it is sound.

    Other processes may write at the same time. Raises `DatabaseLockedError`.
    """
    problems: list[str] = []
    try:
        with database_errors(database_name(engine.url)), engine.connect() as connection:
            problems += backend(engine.url).problems(connection)
            if not problems and current_revision(engine) == head_revision():
                problems += _broken_rules(connection)
    except DatabaseLockedError:
        raise
    except DatabaseError as error:
        problems.append(str(error))
    return problems


def _broken_rules(connection: Connection) -> Iterator[str]:
    """Rules that the tables themselves cannot enforce."""
    current = exists().where(StoredEstimate.face_id == Face.id, StoredEstimate.current)
    unhashed = and_(Photo.status == "done", Photo.content_hash.is_(None))
    silent = and_(Photo.status == "unreadable", Photo.error_kind.is_(None))
    rules = (
        ("faces without a current estimate", select(func.count()).select_from(Face).where(~current)),
        ("photos done without a content hash", select(func.count()).select_from(Photo).where(unhashed)),
        ("photos unreadable without a cause", select(func.count()).select_from(Photo).where(silent)),
    )
    for text_, query in rules:
        if number := connection.scalar(query):
            yield f"{number} {text_}"


def update_statistics(connection: Connection) -> None:
    """Let the planner know how selective the indices are. Failing costs speed only, so it is silent."""
    try:
        backend(connection.engine.url).analyze(connection)
        connection.commit()
    except DBAPIError:
        connection.rollback()


def on_network_filesystem(path: str | os.PathLike[str]) -> str | None:
    """The type of the network file system that holds `path`, where SQLite's locks cannot be trusted.

    None on a local file system, and where the platform does not say.
    """
    kind = filesystem_type(Path(path))
    return kind if is_network(kind) else None


def backup(engine: Engine, target: Path) -> None:
    """Copy a database, as it is at one moment, to a new file; other processes may go on writing.

    Raises `DatabaseError`, also when `target` exists: a backup never replaces anything.
    """
    with database_errors(f"{target}: backup of {database_name(engine.url)}"):
        backend(engine.url).backup(engine, target)
