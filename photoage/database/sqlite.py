"""What only SQLite needs. `dialect.Backend` describes the functions that postgres.py has as well."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import platformdirs
from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.dialects.sqlite import insert as insert

from photoage.database.tables import read_json
from photoage.errors import DatabaseError, DatabaseLockedError

PRIVATE = 0o600  # the permissions of new files
BUSY_TIMEOUT = 30.0  # seconds to wait for another process's transaction
TRUST_PLANNER = False  # it cannot know how many rows a range has

_CAUSES: dict[int | None, tuple[type[DatabaseError], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseLockedError, "another process is writing to it"),
    sqlite3.SQLITE_LOCKED: (DatabaseLockedError, "another process is writing to it"),
    sqlite3.SQLITE_READONLY: (DatabaseError, "is read-only"),
    sqlite3.SQLITE_FULL: (DatabaseError, "no space left on its disk"),
    sqlite3.SQLITE_IOERR: (DatabaseError, "its disk cannot be read or written (or is full)"),
    sqlite3.SQLITE_CORRUPT: (DatabaseError, "is damaged; restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (DatabaseError, "is not a database"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseError, "cannot be opened"),
}


# --- the file -----------------------------------------------------------------------------------


def default_database() -> Path:
    """The database used when none is named: in the platform's folder for user data."""
    return platformdirs.user_data_path("photoage", appauthor=False) / "photoage.db"


def name(url: URL) -> str:
    return str(url.database)


def size(connection: Connection) -> int:
    return os.stat(str(connection.engine.url.database)).st_size


def _check_file(file: Path, *, create: bool, read_only: bool) -> None:
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
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"{folder}: cannot be created: {error.strerror}") from error


# --- connections --------------------------------------------------------------------------------


def make_engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    """An engine for a file that is there, or may be made if `create`. Raises `DatabaseError`."""
    file = Path(str(url.database))
    _check_file(file, create=create, read_only=read_only)
    mode = "ro" if read_only else "rwc" if create else "rw"

    def connect() -> sqlite3.Connection:
        if create:
            # A library's faces and children's ages are nobody else's business. The log gets the same.
            with suppress(OSError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
        # Python then begins a transaction, with the write lock, at the first change and not before:
        # reading never keeps other processes from writing, or the log from being written back.
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level="IMMEDIATE",
            check_same_thread=False,
        )
        try:
            if mode == "ro":
                connection = _readable(connection, file)
            else:
                connection.execute("PRAGMA synchronous = NORMAL")  # with a log, loses no more than FULL
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
        except BaseException:
            connection.close()
            raise
        return connection

    return create_engine(url, creator=connect, json_deserializer=read_json)


def _readable(connection: sqlite3.Connection, file: Path) -> sqlite3.Connection:
    """`connection`, or one that also reads on read-only media, where the usual one needs a log file."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        log = file.with_name(f"{file.name}-wal")
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if os.access(file.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            raise  # somebody may be writing: what is in the log must be read, too
        connection.close()
        return sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True, check_same_thread=False)
    return connection


def cause(error: BaseException) -> tuple[type[DatabaseError], str]:
    """The error to raise for an error of the driver, and its message."""
    code = getattr(error, "sqlite_errorcode", None)
    kind, message = _CAUSES.get(code & 0xFF if code else None, (DatabaseError, None))
    return kind, message or " ".join(str(error).split())


def take_scan_lock(engine: Engine) -> Callable[[], None]:
    """Keep other scans out until the function returned is called, or the process ends."""
    from filelock import FileLock, Timeout  # which a query need not wait for

    database = os.path.realpath(str(engine.url.database))
    lock = FileLock(f"{database}.scan.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DatabaseLockedError(f"another scan is writing to {database}") from error
    except (OSError, NotImplementedError) as error:
        raise DatabaseError(f"{lock.lock_file}: cannot be locked: {error}") from error
    return lock.release


def prepare_writing(connection: Connection) -> None:
    """Write ahead to a log from now on: readers then see a whole database while a scan writes."""
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def begin_schema_change(connection: Connection) -> None:
    # Python's driver begins no transaction for CREATE or ALTER by itself.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def erase(connection: Connection) -> None:
    """Write the database anew, without free pages, and cut its log off."""
    connection.exec_driver_sql("VACUUM")
    busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    if busy:
        raise DatabaseLockedError("another process is reading; when it has ended, run this again")


def analyze(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA analysis_limit = 1000")  # a sample only, which takes no time
    connection.exec_driver_sql("ANALYZE")


# --- care ---------------------------------------------------------------------------------------


def problems(connection: Connection) -> Iterator[str]:
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield " ".join(line.split())
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"{table} row {row} refers to a {parent} that is not there"


def backup(engine: Engine, target: Path) -> None:
    """Copy the database, as it is now, to the new file `target`. Raises `sqlite3.Error`, too."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
    except FileExistsError as error:
        raise DatabaseError(f"{target}: exists already; a backup never replaces a file") from error
    except OSError as error:
        raise DatabaseError(f"{target}: cannot be created: {error.strerror}") from error
    try:
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            with closing(sqlite3.connect(target)) as copy:
                driver.backup(copy)  # in one step: in several, it would begin anew at every change
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, readable on any medium
    except BaseException:
        for leftover in (target, target.with_name(f"{target.name}-journal")):
            leftover.unlink(missing_ok=True)
        raise
