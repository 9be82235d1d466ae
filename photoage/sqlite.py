"""What only SQLite needs, and the only place for SQL that only SQLite understands."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from photoage.errors import DatabaseError, DatabaseLockedError

BUSY_TIMEOUT = 30.0  # seconds to wait for another process's transaction

CAUSES: dict[int | None, tuple[type[DatabaseError], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseLockedError, "another process is writing to it"),
    sqlite3.SQLITE_LOCKED: (DatabaseLockedError, "another process is writing to it"),
    sqlite3.SQLITE_READONLY: (DatabaseError, "is read-only"),
    sqlite3.SQLITE_FULL: (DatabaseError, "no space left on its disk"),
    sqlite3.SQLITE_IOERR: (DatabaseError, "its disk cannot be read or written (or is full)"),
    sqlite3.SQLITE_CORRUPT: (DatabaseError, "is damaged; restore it from a backup"),
    sqlite3.SQLITE_NOTADB: (DatabaseError, "is not a database"),
    sqlite3.SQLITE_CANTOPEN: (DatabaseError, "cannot be opened"),
}


def sqlite_engine(url: URL, mode: str) -> Engine:
    """`mode` as in SQLite's URIs: ro, rw or rwc."""
    file = Path(str(url.database))

    def connect() -> sqlite3.Connection:
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

    return create_engine(url, creator=connect)


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


def sample_statistics(connection: Connection) -> None:
    """Make ANALYZE look at a sample only, which takes no time."""
    connection.exec_driver_sql("PRAGMA analysis_limit = 1000")


def glob(text: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """Whether a text matches a pattern with * (any characters), ? (any one) and [sets]."""
    return text.op("GLOB", is_comparison=True)(pattern)


class _Unindexed(FunctionElement[Any]):
    inherit_cache = True


def unindexed(column: Any) -> ColumnElement[Any]:
    """The column, in a condition for which the planner is not to choose an index."""
    element = _Unindexed(column)
    element.type = column.type
    return element


@compiles(_Unindexed)
def _as_it_is(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Unindexed, "sqlite")
def _with_plus(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


def use_log(connection: Connection) -> None:
    """Write ahead to a log from now on: readers then see a whole database while a scan writes."""
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def begin_schema_change(connection: Connection) -> None:
    # Python's driver begins no transaction for CREATE or ALTER by itself.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def file_problems(connection: Connection) -> Iterator[str]:
    for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield " ".join(line.split())
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"{table} row {row} refers to a {parent} that is not there"


def copy_database(connection: Connection, target: Path) -> None:
    """Copy the database, as it is now, into the empty file `target`. Raises `sqlite3.Error`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    with closing(sqlite3.connect(target)) as copy:
        driver.backup(copy)  # in one step: in several, it would begin anew at every change
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, readable on any medium
