"""Results on stdout: text for people, and exact bytes for programs."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from photoage.cli.text import visible

if TYPE_CHECKING:
    from rich.console import Console


# How bytes of a path that are not UTF-8 leave: as themselves, or as the escape that JSON has for them.
RAW_BYTES = "surrogateescape"
JSON_ESCAPES = "backslashreplace"

GAP = 2  # characters between columns
ROOM = 28  # characters in which a path can be read; with fewer, it gets a line of its own
TABLE_CHUNK = 500  # rows laid out at a time, so that a long listing begins to show at once


class _TerminalText(io.TextIOWrapper):
    """Stdout when it is a terminal: a file name in the output cannot drive it."""

    def write(self, text: str) -> int:
        return super().write(visible(text.replace("\r\n", "\n"), keep="\t\n"))


def face_writer(form: str, *, excel: bool = False) -> tuple[Callable[[Iterable[Any], TextIO], int], str]:
    """What writes faces as `csv`, `json` or `jsonl`, and the `errors` its text file must have."""
    from photoage.export.writers import write_csv, write_json, write_jsonl

    if excel:
        from photoage.export.excel import excel_style

        return partial(write_csv, style=excel_style()), RAW_BYTES
    if form == "csv":
        return write_csv, RAW_BYTES
    return (write_json if form == "json" else write_jsonl), JSON_ESCAPES


@contextmanager
def stdout_text(errors: str) -> Iterator[TextIO]:
    """Stdout as a UTF-8 text file without newline translation, whatever the locale says."""
    sys.stdout.flush()
    kind: type[io.TextIOWrapper] = _TerminalText if sys.stdout.isatty() else io.TextIOWrapper
    stream = kind(sys.stdout.buffer, encoding="utf-8", errors=errors, newline="")
    try:
        yield stream
        stream.flush()
    finally:
        stream.detach()


def print_json(value: Any) -> None:
    """One JSON document on stdout. Times become ISO 8601 text in UTC."""
    with stdout_text(JSON_ESCAPES) as out:
        json.dump(value, out, ensure_ascii=False, indent=2, default=_as_json)
        out.write("\n")


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_paths(paths: Iterable[str], *, nul: bool) -> None:
    """Paths on stdout, byte for byte unless it is a terminal, one per line or each ended by NUL."""
    end = b"\0" if nul else b"\n"
    binary = sys.stdout.buffer
    sys.stdout.flush()
    terminal = sys.stdout.isatty()
    for path in paths:
        binary.write((visible(path).encode() if terminal else os.fsencode(path)) + end)
    binary.flush()


def print_line(text: str = "") -> None:
    """One line for people; `text` may hold file names."""
    sys.stdout.write(visible(text) + "\n")


class Column(NamedTuple):
    """A column of a listing; without a width, it takes the room that is left."""

    title: str
    width: int | None = None
    right: bool = False


def print_rows(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
    """List rows for people and return how many: a table on a terminal, else one line each.

    Rows are shown as they come, however many there are.
    """
    shown = 0
    if not sys.stdout.isatty():
        for row in rows:
            print_line("  ".join(map(_padded, columns, row)).rstrip())
            shown += 1
        return shown
    source = iter(rows)
    while chunk := list(islice(source, TABLE_CHUNK)):
        _print_table(columns, chunk, header=shown == 0)
        shown += len(chunk)
    return shown


def _padded(column: Column, cell: str) -> str:
    return cell.rjust(column.width or 0) if column.right else cell.ljust(column.width or 0)


def _print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], header: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    fixed = [column.width + GAP for column in columns if column.width]
    if console.width < sum(fixed) + ROOM * (len(columns) - len(fixed)):
        _print_stacked(columns, rows, header, console)
        return
    # With fixed widths, and the rest of the line for the others, all chunks are laid out alike.
    table = Table(box=None, expand=True, show_header=header, pad_edge=False, padding=(0, GAP, 0, 0))
    for title, width, right in columns:
        table.add_column(
            Text(title),
            width=width,
            ratio=None if width else 1,
            overflow="fold",
            justify="right" if right else "left",
        )
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console.print(table)


def _print_stacked(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], header: bool, console: Console
) -> None:
    """The narrow columns of a row on one line, and each of the others on lines of its own below."""
    from rich.padding import Padding
    from rich.text import Text

    if header:
        rows = [[column.title for column in columns], *rows]
    for row in rows:
        cells = list(zip(columns, map(visible, row), strict=True))
        line = (" " * GAP).join(_padded(column, cell) for column, cell in cells if column.width)
        if len(line) > console.width:  # of numbers, none may lose digits
            line = (" " * GAP).join(cell for column, cell in cells if column.width)
        console.print(Text(line.rstrip(), overflow="fold"))
        for column, cell in cells:
            if not column.width:
                console.print(Padding(Text(cell, overflow="fold"), (0, 0, 0, GAP)))


def readable_size(size: int) -> str:
    """`1.2 MB`, in powers of 1000 as file managers show it."""
    from rich.filesize import decimal  # which completion and help need not wait for

    return decimal(size)
