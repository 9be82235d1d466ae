"""What only PostgreSQL needs. `dialect.Backend` describes the functions that sqlite.py has as well."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Generator, Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert as insert
from sqlalchemy.exc import DBAPIError

from photoage.database.tables import Base
from photoage.errors import DatabaseError, DatabaseLockedError

DRIVERS = ("postgresql", "postgresql+psycopg", "postgres")
TRUST_PLANNER = True  # it knows how ages, dates and paths are distributed
CONNECT_TIMEOUT = 10  # seconds

# Locks of the server that belong to a database and to nothing in it; any numbers do, if always the same.
SCAN_LOCK = int.from_bytes(b"photoage")
SCHEMA_LOCK = SCAN_LOCK + 1

# Compiling a query takes longer than nearly all of ours run, and what is read is in memory or on an SSD,
# not on the disks that the server's own default is about. A long answer takes as long as its reader does,
# and a scan's lock as long as the scan.
SETTINGS = {
    "jit": "off",
    "random_page_cost": "1.1",
    "work_mem": "64MB",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
}
# Sets those of SETTINGS that the server has and that the user's connection options leave open.
_SET = """
SELECT set_config(name, wanted.setting, false)
FROM pg_settings JOIN unnest(%s::text[], %s::text[]) AS wanted (name, setting) USING (name)
WHERE source <> 'client'
"""
ROWS_RECEIVED = 1000  # rows received at a time

_CAUSES: dict[str | None, tuple[type[DatabaseError], str]] = {
    "40P01": (DatabaseLockedError, "another process is writing to it"),
    "40001": (DatabaseLockedError, "another process is writing to it"),
    "55P03": (DatabaseLockedError, "another process is writing to it"),
    "53100": (DatabaseError, "no space left on its server's disk"),
}


def name(url: URL) -> str:
    """The URL without its passwords."""
    shown = url.difference_update_query(["password", "sslpassword", "passfile"])
    return shown.render_as_string(hide_password=True)


def size(connection: Connection) -> int:
    return connection.scalar(select(func.pg_database_size(func.current_database()))) or 0


# --- connections --------------------------------------------------------------------------------


def make_engine(url: URL, *, create: bool, read_only: bool) -> Engine:
    """An engine for a database of a server; nothing is connected yet, and no database ever made."""
    if url.drivername not in DRIVERS:
        raise DatabaseError(f"{name(url)}: only the driver psycopg is supported: postgresql+psycopg://")
    if url.host and "@" in url.host:
        # Half of the password would be taken for the host, and shown.
        raise DatabaseError("the database URL has an @ in its password: write it as %40")
    wanted: dict[str, Any] = {
        "keepalives_idle": 60,  # seconds; routers forget connections that are silent for long
        "client_encoding": "utf8",
        "fallback_application_name": "photoage",
    }
    if "PGCONNECT_TIMEOUT" not in os.environ:
        wanted["connect_timeout"] = CONNECT_TIMEOUT
    arguments = {key: value for key, value in wanted.items() if key not in url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=arguments,
            execution_options={"postgresql_readonly": read_only},
        )
    except ImportError as error:
        raise DatabaseError(
            f"{name(url)}: PostgreSQL needs the driver psycopg (`pip install 'psycopg[binary]'`): {error}"
        ) from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "before_cursor_execute", _choose_format)
    return engine


def _choose_format(
    _: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    """Numbers as the server has them, where many are read: half of the time would go into their digits."""
    if context is not None and context.execution_options.get("binary"):
        cursor.format = 1  # psycopg.pq.Format.BINARY


def _prepare(connection: Any, _: object) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        database = connection.info.dbname
        connection.close()
        raise DatabaseError(f"the database {database} has the encoding {encoding}; photoage needs UTF8")
    connection.execute(_SET, (list(SETTINGS), list(SETTINGS.values())))
    connection.commit()
    connection.server_cursor_factory = _streaming_cursor()


@cache
def _streaming_cursor() -> type:
    """A cursor that reads an answer while the server sends it.

    SQLAlchemy takes it for what is wanted in pieces (`yield_per`). A cursor in the server, the driver's
    own way, makes it find the rows with one process instead of several. Until the answer has been read or
    closed, its connection can run nothing else.
    """
    from psycopg import Cursor, capabilities

    logging.getLogger("psycopg").addHandler(
        logging.NullHandler()
    )  # or warnings go to stderr; errors are raised
    size = ROWS_RECEIVED if capabilities.has_stream_chunked() else 1

    class StreamingCursor(Cursor[Any]):
        def __init__(self, connection: Any, name: str, **_: Any) -> None:
            super().__init__(connection)
            self._stream: Iterator[Any] = iter(())
            self._left = self._stream

        def execute(self, query: Any, params: Any = None, **_: Any) -> Any:
            self._stream = self.stream(query, params, size=size)
            for first in self._stream:
                self._left = chain([first], self._stream)
                return self
            # Without a row, it is an ordinary answer that tells the columns.
            return super().execute(f"SELECT * FROM ({query}) AS empty LIMIT 0", params)

        def fetchmany(self, size: int = 0) -> list[Any]:
            return list(islice(self._left, size or self.arraysize))

        def fetchall(self) -> list[Any]:
            return list(self._left)

        def close(self) -> None:
            if isinstance(self._stream, Generator):
                self._stream.close()  # stops the server, and frees the connection
            super().close()

    return StreamingCursor


def cause(error: BaseException) -> tuple[type[DatabaseError], str]:
    """The error to raise for an error of the driver, and its message."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return DatabaseError, "the connection to the server was lost; what was stored until then is kept"
        error = error.orig or error
    kind, message = _CAUSES.get(getattr(error, "sqlstate", None), (DatabaseError, None))
    diagnosed = getattr(getattr(error, "diag", None), "message_primary", None)
    if not diagnosed and type(error).__name__ == "OperationalError":
        return kind, message or _not_connected(str(error))
    return kind, message or " ".join((diagnosed or str(error)).split())


def _not_connected(text: str) -> str:
    """The server's own reason, out of libpq's and psycopg's many words (of the last host tried)."""
    lines = [line for line in text.splitlines() if "failed: " in line] or [text]
    reason = lines[-1].rpartition("failed: ")[2].removeprefix("FATAL:")
    return f"cannot connect: {' '.join(reason.split())}"


def take_scan_lock(engine: Engine) -> Callable[[], None]:
    """Keep other scans out until the function returned is called, or the process ends."""
    # A connection of its own, outside any transaction: it outlives those of the scan.
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()
    try:
        # A schema is a library of its own.
        schema = connection.scalar(text("SELECT oid FROM pg_namespace WHERE nspname = current_schema()"))
        if schema is None:
            path = connection.scalar(text("SHOW search_path"))
            raise DatabaseError(f"{name(engine.url)}: has no schema of its search_path, {path}")
        if not connection.scalar(select(func.pg_try_advisory_lock(SCAN_LOCK + int(schema)))):
            raise DatabaseLockedError(f"another scan is writing to {name(engine.url)}")
    except BaseException:
        connection.close()
        raise
    return connection.close


def prepare_writing(connection: Connection) -> None:
    pass


def begin_schema_change(connection: Connection) -> None:
    """Wait for another process that changes the schema; what it did is then seen."""
    connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))


def erase(connection: Connection) -> None:
    """Write the table of embeddings anew. What the server's log and its copies keep is the server's."""
    with connection.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as alone:
        alone.exec_driver_sql("VACUUM FULL embedding, person, person_face, person_apart")


def analyze(connection: Connection) -> None:
    connection.exec_driver_sql("ANALYZE photo, face, estimate")


# --- care ---------------------------------------------------------------------------------------


def problems(connection: Connection) -> Iterator[str]:
    """Rows without their parents: possible where a dump was loaded with its triggers disabled."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            parent: Table = key.column.table
            absent = ~exists().where(key.column == key.parent)
            (row_id, *_) = table.primary_key
            orphans = select(row_id).where(key.parent.is_not(None), absent).order_by(row_id)
            for row in connection.scalars(orphans.limit(100)):
                yield f"{table.name} row {row} refers to a {parent.name} that is not there"


def backup(engine: Engine, target: Path) -> None:
    """Refused: PostgreSQL has its own program for this."""
    url = engine.url._replace(drivername="postgresql", password=None)
    command = ["pg_dump", "--format=custom", f"--file={target}", name(url)]
    raise DatabaseError(f"{name(engine.url)}: is copied with PostgreSQL's own program: {shlex.join(command)}")
