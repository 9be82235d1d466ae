"""Faces as CSV, JSON, JSON Lines or by a template. Every writer returns how many rows it wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any, TextIO

from photoage.database.query import DETAILS, FIELDS, NUMBERS, FaceRow
from photoage.errors import UsageError

DECIMALS = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs, or skips to reach what it runs
_TO_BE_ROUNDED = re.compile(rf"\.\d{{{DECIMALS + 1}}}|e")
_QUOTED = re.compile('["\r\n]')
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "\\": "\\"}
TEMPLATE_FIELDS = (*FIELDS, "name", "folder", "year")
_ENCODER = json.JSONEncoder(ensure_ascii=False)  # json.dumps makes a new one for every row
_JSON_FIELDS = (*FIELDS, *DETAILS)
_SURROGATE = re.compile("[\ud800-\udfff]")

_EXAMPLE = FaceRow("/a", 0, 1.0, 0.0, 2.0, 0.5, 0.0, 0.0, 1.0, 1.0, 1, 1, "2019-05-04T12:30:00", "", "", "")


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """How CSV is written: what stands between cells, before decimals, and at the beginning of the file."""

    separator: str = ","
    decimal: str = "."
    begin: str = ""


def write_csv(rows: Iterable[FaceRow], file: TextIO, style: CsvStyle = CsvStyle()) -> int:
    """CSV with a header; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Bytes of a path that are not UTF-8 are surrogate-escaped: open `file` with
    `encoding="utf-8", errors="surrogateescape", newline=""`, and they come out as they were.
    """
    number = 0
    file.write(f"{style.begin}{style.separator.join(FIELDS)}\n")
    for row in rows:
        # Not by the csv module, which leaves a carriage return unquoted when lines end without one.
        file.write(_csv_line(row, style))
        number += 1
    return number


def write_json(rows: Iterable[tuple[Any, ...]], file: TextIO) -> int:
    """A JSON array of objects, one per line, of rows with or without DETAILS.

    Never holds more than one row in memory.
    """
    number = 0
    file.write("[")
    for row in rows:
        file.write(f"{',' if number else ''}\n{_json(row)}")
        number += 1
    file.write("\n]\n" if number else "]\n")
    return number


def write_jsonl(rows: Iterable[tuple[Any, ...]], file: TextIO) -> int:
    """One JSON object per line, of rows with or without DETAILS."""
    number = 0
    for row in rows:
        file.write(f"{_json(row)}\n")
        number += 1
    return number


def write_template(template: str) -> Callable[[Iterable[FaceRow], TextIO], int]:
    """A writer that fills in `template` for every face, and adds nothing to it.

    `{field}` and `{field:format}` are replaced as by `str.format`: the CSV's columns, and `name`,
    `folder` and `year` (of `taken_at`). What is unknown is empty text. The escapes \\t \\n \\r \\0 and
    \\\\ are understood. Raises `UsageError` for anything else.
    """
    parts = _template_parts(template)

    def write(rows: Iterable[FaceRow], file: TextIO) -> int:
        number = 0
        for row in rows:
            file.write(_filled(parts, row))
            number += 1
        return number

    return write


def _template_parts(template: str) -> list[tuple[str, str | None, str]]:
    """Text, and the field with its format (or None) that follows it."""
    parts: list[tuple[str, str | None, str]] = []
    try:
        for text, field, form, conversion in Formatter().parse(_ESCAPE.sub(_unescaped, template)):
            if field is not None and field not in TEMPLATE_FIELDS:
                raise UsageError(
                    f"`template`: {{{field}}} is not a field; there are {', '.join(TEMPLATE_FIELDS)}"
                )
            if conversion or "{" in (form or ""):
                raise UsageError(
                    f"`template`: {{{field}}} takes a format such as {{age:.1f}}, and nothing else"
                )
            parts.append((text, field, form or ""))
        _filled(parts, _EXAMPLE)
    except ValueError as error:
        raise UsageError(f"`template`: {template!r} is not a template ({str(error).lower()})") from error
    return parts


def _unescaped(match: re.Match[str]) -> str:
    if match[1] not in _ESCAPES:
        known = " ".join(f"\\{letter}" for letter in _ESCAPES)
        raise UsageError(f"`template`: {match[0]} is not an escape; there are {known}")
    return _ESCAPES[match[1]]


def _filled(parts: list[tuple[str, str | None, str]], row: FaceRow) -> str:
    values = row._asdict()
    values["folder"], values["name"] = os.path.split(row.path)
    values["year"] = (row.taken_at or "")[:4]
    return "".join(
        f"{text}{'' if values.get(field) is None else format(values[field], form)}" if field else text
        for text, field, form in parts
    )


def _csv_line(row: FaceRow, style: CsvStyle) -> str:
    cells: tuple[Any, ...] = row
    between = style.separator
    numbers = between.join(map(repr, cells[NUMBERS]))
    # Stored numbers have no more decimals; those of other programs may.
    if _TO_BE_ROUNDED.search(numbers):
        numbers = between.join(str(round(number, DECIMALS)) for number in cells[NUMBERS])
    if style.decimal != ".":
        numbers = numbers.replace(".", style.decimal)
    rest = between.join(_text(cell, between) for cell in cells[NUMBERS.stop :])
    return f"{_text(row.path, between)}{between}{numbers}{between}{rest}\n"


@lru_cache(maxsize=1024)
def _text(value: Any, separator: str) -> str:
    if not isinstance(value, str):  # None, or what somebody else wrote into the database
        return "" if value is None else str(value)
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return '"' + text.replace('"', '""') + '"' if separator in text or _QUOTED.search(text) else text


def _json(row: tuple[Any, ...]) -> str:
    """The row as a JSON object. A byte that is not UTF-8 is the escape \\udcXX of its surrogate."""
    values = (round(value, DECIMALS) if isinstance(value, float) else value for value in row)
    text = _ENCODER.encode(dict(zip(_JSON_FIELDS[: len(row)], values, strict=True)))
    return _SURROGATE.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
