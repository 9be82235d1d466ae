"""The database: opening, schema check and upgrade, integrity check, backup.

SQLite is the default. What only SQLite needs is in sqlite.py; everything else, here and in tables.py,
store.py and query.py, is SQLAlchemy that PostgreSQL runs as well.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    and_,
    create_engine,
    exists,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from photoage import sqlite
from photoage.errors import DatabaseError, DatabaseLockedError, SchemaError
from photoage.filesystem import filesystem_type, is_network
from photoage.tables import (
    RUN_COUNTS,
    Base,
    CheckpointRow,
    DetectorRow,
    EstimateRow,
    Face,
    PathText,
    Photo,
    ScanRun,
    decode_path,
    encode_path,
)

__all__ = [
    "RUN_COUNTS",
    "Base",
    "CheckpointRow",
    "DetectorRow",
    "EstimateRow",
    "Face",
    "PathText",
    "Photo",
    "ScanRun",
    "decode_path",
    "encode_path",
]

# Every schema revision, oldest first. Known without loading Alembic, which only an upgrade needs.
REVISIONS = ("0001",)


def default_database() -> Path:
    """The database used when none is named: in the platform's folder for user data."""
    return platformdirs.user_data_path("photoage", appauthor=False) / "photoage.db"


def database_url(spec: str | os.PathLike[str] | None) -> URL:
    """The URL of a database given as a path, as a URL, or (None) by default."""
    if isinstance(spec, str) and "://" in spec:
        try:
            url = make_url(spec)
        except ArgumentError as error:
            raise DatabaseError(f"{spec}: not a database URL") from error
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
    return str(database_file(url) or url.render_as_string(hide_password=True))


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
    url = database_url(spec)
    file = database_file(url)
    if file is not None:
        check_file(file, create=create, read_only=read_only)
    engine = _engine(url, create=create, read_only=read_only)
    try:
        revision = current_revision(engine)
        if any_schema and not create:
            return engine
        _require_schema(database_name(url), revision, upgradable=create)
        if file is not None and not read_only:
            # Only now is it certain that the file is photoage's to change.
            with database_errors(database_name(url)), engine.connect() as connection:
                sqlite.use_log(connection)
        if revision != head_revision():
            upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


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


def check_file(file: Path, *, create: bool, read_only: bool) -> None:
    """Refuse, with the cause, what cannot be a database file. Makes the default database's folder."""
    try:
        found = file.stat()
    except FileNotFoundError:
        if not create:
            raise DatabaseError(f"no database at {file}; run `photoage scan` first") from None
        if file == default_database():
            _make_folder(file.parent)
        if not file.parent.is_dir():
            raise DatabaseError(f"{file}: there is no such folder") from None
        if not os.access(file.parent, os.W_OK):
            raise DatabaseError(f"{file}: cannot be created: its folder is read-only") from None
        return
    except OSError as error:
        raise DatabaseError(f"{file}: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        raise DatabaseError(f"{file}: is a folder, not a database file")
    if not stat.S_ISREG(found.st_mode):
        raise DatabaseError(f"{file}: is not a regular file")
    if not os.access(file, os.R_OK):
        raise DatabaseError(f"{file}: no permission to read it")
    if not read_only and not os.access(file, os.W_OK):
        raise DatabaseError(f"{file}: is read-only")
    if not read_only and not os.access(file.parent, os.W_OK):
        raise DatabaseError(f"{file}: cannot be written: its folder is read-only")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{folder}: cannot be created: {error.strerror}") from error


def _engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    try:
        if database_file(url) is not None:
            return sqlite.sqlite_engine(url, "ro" if read_only else "rwc" if create else "rw")
        return create_engine(url, execution_options={"postgresql_readonly": read_only})
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError(f"{database_name(url)}: not supported here: {error}") from error


@contextmanager
def database_errors(name: str) -> Iterator[None]:
    """Turn every error of the database driver into a `DatabaseError` with a one-line cause."""
    try:
        yield
    except ValueError as error:  # not UTF-8, not a date, not JSON: nothing that photoage wrote
        raise DatabaseError(f"{name}: is damaged: {' '.join(str(error).split())}") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", None)
        kind, message = sqlite.CAUSES.get(code & 0xFF if code else None, (DatabaseError, None))
        raise kind(f"{name}: {message or ' '.join(str(cause).split())}") from error


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
        if engine.dialect.name == "sqlite":
            sqlite.begin_schema_change(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def migrations_folder() -> Path:
    """The Alembic environment: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "migrations"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "migrations"


# --- care ----------------------------------------------------------------------------------------


def table_counts(engine: Engine) -> dict[str, int]:
    """The number of rows of every table that the database has, by its name."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        present = set(inspect(connection).get_table_names())
        tables = [table for table in Base.metadata.sorted_tables if table.name in present]
        return {t.name: connection.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


def check_integrity(engine: Engine) -> list[str]:
    """What is wrong with a database, one line each; nothing when it is sound.

    Other processes may write at the same time. Raises `DatabaseLockedError`.
    """
    problems: list[str] = []
    try:
        with database_errors(database_name(engine.url)), engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                problems += sqlite.file_problems(connection)
            if not problems and current_revision(engine) == head_revision():
                problems += _broken_rules(connection)
    except DatabaseLockedError:
        raise
    except DatabaseError as error:
        problems.append(str(error))
    return problems


def _broken_rules(connection: Connection) -> Iterator[str]:
    """Rules that the tables themselves cannot enforce."""
    current = exists().where(EstimateRow.face_id == Face.id, EstimateRow.current)
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
        if connection.dialect.name == "sqlite":
            sqlite.sample_statistics(connection)
        connection.exec_driver_sql("ANALYZE")
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
    source = database_file(engine.url)
    if source is None:
        raise DatabaseError(f"{database_name(engine.url)}: only SQLite databases are copied to a file")
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError as error:
        raise DatabaseError(f"{target}: exists already; a backup never replaces a file") from error
    except OSError as error:
        raise DatabaseError(f"{target}: cannot be created: {error.strerror}") from error
    try:
        with database_errors(f"{target}: backup of {source}"), engine.connect() as connection:
            sqlite.copy_database(connection, target)
    except BaseException:
        for leftover in (target, target.with_name(f"{target.name}-journal")):
            leftover.unlink(missing_ok=True)
        raise
