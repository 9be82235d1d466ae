"""Faces as CSV, JSON or JSON lines, written row by row to a text file.

The file should be UTF-8 with newline translation off. Bytes of a path that are not UTF-8 are lone
surrogates in the text: the file's error handler decides how they leave.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

from photoage.query import FIELDS, FaceRow

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(rows: Iterable[FaceRow], file: TextIO) -> int:
    """A header and one line per face; returns the number of faces.

    A text cell that a spreadsheet would run as a formula gets an apostrophe in front; numbers are
    left alone. Missing values are empty.
    """
    writer = csv.writer(file, lineterminator="\r\n")  # RFC 4180; it also makes csv quote a lone CR
    writer.writerow(FIELDS)
    count = 0
    for row in rows:
        writer.writerow(["" if value is None else _cell(value) for value in row])
        count += 1
    return count


def write_json(rows: Iterable[FaceRow], file: TextIO) -> int:
    """One JSON array of objects, streamed; returns the number of faces."""
    count = 0
    file.write("[")
    for row in rows:
        file.write(",\n " if count else "\n ")
        file.write(_json(row))
        count += 1
    file.write("\n]\n" if count else "]\n")
    return count


def write_jsonl(rows: Iterable[FaceRow], file: TextIO) -> int:
    """One JSON object per line; returns the number of faces."""
    count = 0
    for row in rows:
        file.write(_json(row) + "\n")
        count += 1
    return count


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    return _number(value)


def _number(value: float) -> str:
    """At most three decimals, none that are needless."""
    return str(value) if isinstance(value, int) else f"{value:.3f}".rstrip("0").rstrip(".")


def _json(row: FaceRow) -> str:
    values = {
        name: round(value, 3) if isinstance(value, float) else value for name, value in row._asdict().items()
    }
    return json.dumps(values, ensure_ascii=False)
