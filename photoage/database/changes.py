"""Changes by commands other than a scan: one transaction, under the scan lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from photoage.database.connect import check_schema, database_errors, database_name, make_engine
from photoage.database.dialect import backend


@contextmanager
def changing(spec: str | os.PathLike[str] | None, *, dry_run: bool = False) -> Iterator[Connection]:
    """A connection to change a database with; what was done is kept if nothing fails, else none of it.

    With `dry_run` it never is. The database must be there, with this version's schema. Raises
    `DatabaseLockedError` at once while a scan writes to it, and `DatabaseError`.
    """
    engine = make_engine(spec)
    release = None
    try:
        with database_errors(database_name(engine.url)):
            release = backend(engine.url).take_scan_lock(engine)
        check_schema(engine, upgradable=False)
        with database_errors(database_name(engine.url)), engine.connect() as connection:
            yield connection
            if dry_run:
                connection.rollback()
            else:
                connection.commit()
    finally:
        engine.dispose()
        if release is not None:
            release()
