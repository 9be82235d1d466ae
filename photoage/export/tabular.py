"""Faces as a Parquet file or an SQLite file: typed tables for programs that read columns.

Both hold text only. In a path that is not UTF-8, every byte that is not valid is the character
U+EF00 + byte, as in photoage's own database: `photoage.database.tables.decode_path` gives the real name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from photoage.database.query import FIELDS, FaceRow
from photoage.database.tables import encode_path
from photoage.errors import PhotoageError
from photoage.records import PhotoDate

if TYPE_CHECKING:
    import pyarrow

ROWS = 50_000  # of one row group: some MB in memory, and large enough to compress well
INTEGERS = ("face_index", "photo_width", "photo_height", "page")
TEXTS = ("path", "detector", "checkpoint")
WORDS = ("taken_at", "date_source", "person", "age_source")


def write_parquet(rows: Iterable[FaceRow], file: BinaryIO) -> int:
    """Parquet, in row groups of ROWS; never holds more rows in memory. Returns how many it wrote.

    `scanned_at` is a timestamp in UTC, `taken_at` text, for it may be a year alone. Raises `PhotoageError`
    when pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PhotoageError(f"Parquet needs pyarrow: pip install pyarrow ({error})") from error

    schema = pyarrow.schema([(name, _arrow_type(name)) for name in FIELDS])
    number = 0
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for chunk in _chunks(rows):
            columns = zip(*map(_typed, chunk), strict=True)
            arrays = [
                pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            number += len(chunk)
    return number


def write_sqlite(rows: Iterable[FaceRow], path: Path) -> int:
    """An SQLite file, so far absent or empty, with one table `faces`. Returns how many rows it wrote.

    Times are text as in the CSV. Raises `OSError` when the file cannot be written.
    """
    columns = ", ".join(f"{name} {_sqlite_type(name)}" for name in FIELDS)
    places = ", ".join("?" * len(FIELDS))
    number = 0
    try:
        with closing(sqlite3.connect(path)) as connection, connection:
            # The file is of no use until it is complete, so it needs no journal.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute(f"CREATE TABLE faces ({columns})")
            for chunk in _chunks(rows):
                connection.executemany(f"INSERT INTO faces VALUES ({places})", map(_stored, chunk))
                number += len(chunk)
    except sqlite3.Error as error:
        raise OSError(None, str(error)) from error
    return number


def _chunks(rows: Iterable[FaceRow]) -> Iterator[list[FaceRow]]:
    source = iter(rows)
    while chunk := list(islice(source, ROWS)):
        yield chunk


def _stored(row: FaceRow) -> FaceRow:
    """The row with text that UTF-8 can hold."""
    texts: dict[str, Any] = {name: encode_path(getattr(row, name) or "") for name in TEXTS}
    return row._replace(**texts)


def _typed(row: FaceRow) -> tuple[Any, ...]:
    """The values, `scanned_at` as a datetime."""
    values = _stored(row)._asdict()
    try:
        values["scanned_at"] = datetime.fromisoformat(values["scanned_at"]).astimezone(UTC)
        if values["taken_at"] is not None:
            PhotoDate.parse(values["taken_at"])
    except (AttributeError, TypeError, ValueError) as error:
        raise PhotoageError(f"{row.path}: the database holds a time that is none ({error})") from error
    return tuple(values.values())


def _arrow_type(name: str) -> pyarrow.DataType:
    import pyarrow

    if name in TEXTS or name in WORDS:
        return pyarrow.string()
    if name in INTEGERS:
        return pyarrow.int32()
    if name == "scanned_at":
        return pyarrow.timestamp("us", tz="UTC")
    return pyarrow.float64()


def _sqlite_type(name: str) -> str:
    if name in TEXTS or name in WORDS or name == "scanned_at":
        return "TEXT"
    return "INTEGER" if name in INTEGERS else "REAL"
