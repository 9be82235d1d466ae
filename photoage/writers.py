"""Faces as CSV, JSON or JSON Lines. Every writer returns how many rows it wrote."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from typing import Any, TextIO

from photoage.query import FIELDS, FaceRow

DECIMALS = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs, or skips to reach what it runs
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_csv(rows: Iterable[FaceRow], file: TextIO) -> int:
    """CSV with a header; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Bytes of a path that are not UTF-8 are surrogate-escaped: open `file` with
    `encoding="utf-8", errors="surrogateescape", newline=""`, and they come out as they were.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(FIELDS)
    number = 0
    for number, row in enumerate(rows, 1):
        writer.writerow([_cell(value) for value in row])
    return number


def write_json(rows: Iterable[FaceRow], file: TextIO) -> int:
    """A JSON array of objects, one per line. Never holds more than one row in memory."""
    number = 0
    file.write("[")
    for number, row in enumerate(rows, 1):
        file.write(f"{',' if number > 1 else ''}\n{_json(row)}")
    file.write("\n]\n" if number else "]\n")
    return number


def write_jsonl(rows: Iterable[FaceRow], file: TextIO) -> int:
    """One JSON object per line."""
    number = 0
    for number, row in enumerate(rows, 1):
        file.write(f"{_json(row)}\n")
    return number


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _json(row: FaceRow) -> str:
    """The row as a JSON object. A byte that is not UTF-8 is the escape \\udcXX of its surrogate."""
    values = (round(value, DECIMALS) if isinstance(value, float) else value for value in row)
    text = json.dumps(dict(zip(FIELDS, values, strict=True)), ensure_ascii=False)
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
