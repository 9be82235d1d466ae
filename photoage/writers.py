"""Faces as CSV, JSON or JSON Lines. Every writer returns how many rows it wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TextIO

from photoage.query import FIELDS, FaceRow

DECIMALS = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs, or skips to reach what it runs
_QUOTED = re.compile('[,"\r\n]')
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_csv(rows: Iterable[FaceRow], file: TextIO) -> int:
    """CSV with a header; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Bytes of a path that are not UTF-8 are surrogate-escaped: open `file` with
    `encoding="utf-8", errors="surrogateescape", newline=""`, and they come out as they were.
    """
    number = 0
    file.write(f"{','.join(FIELDS)}\n")
    for row in rows:
        # Not by the csv module, which leaves a carriage return unquoted when lines end without one.
        file.write(f"{','.join(map(_cell, row))}\n")
        number += 1
    return number


def write_json(rows: Iterable[FaceRow], file: TextIO) -> int:
    """A JSON array of objects, one per line. Never holds more than one row in memory."""
    number = 0
    file.write("[")
    for row in rows:
        file.write(f"{',' if number else ''}\n{_json(row)}")
        number += 1
    file.write("\n]\n" if number else "]\n")
    return number


def write_jsonl(rows: Iterable[FaceRow], file: TextIO) -> int:
    """One JSON object per line."""
    number = 0
    for row in rows:
        file.write(f"{_json(row)}\n")
        number += 1
    return number


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(round(value, DECIMALS))
    if not isinstance(value, str):
        return str(value)
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _json(row: FaceRow) -> str:
    """The row as a JSON object. A byte that is not UTF-8 is the escape \\udcXX of its surrogate."""
    values = (round(value, DECIMALS) if isinstance(value, float) else value for value in row)
    text = json.dumps(dict(zip(FIELDS, values, strict=True)), ensure_ascii=False)
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
