"""Results on stdout: text for people, and exact bytes for programs."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from photoage.cli.text import visible

if TYPE_CHECKING:
    from rich.console import Console

# How bytes of a path that are not UTF-8 leave: as themselves, or as the escape that JSON has for them.
RAW_BYTES = "surrogateescape"
JSON_ESCAPES = "backslashreplace"


class _TerminalText(io.TextIOWrapper):
    """Stdout when it is a terminal: a file name in the output cannot drive it."""

    def write(self, text: str) -> int:
        return super().write(visible(text.replace("\r\n", "\n"), keep="\n"))


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
    """One JSON document on stdout. Dates become ISO 8601 text."""
    with stdout_text(JSON_ESCAPES) as out:
        json.dump(value, out, ensure_ascii=False, indent=2, default=_as_json)
        out.write("\n")


def _as_json(value: object) -> str:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
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
    click.echo(visible(text))


def on_terminal() -> bool:
    return sys.stdout.isatty()


def console() -> Console:
    """A console on stdout that takes text as it is, without markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def readable_size(size: int) -> str:
    """`1.2 MB`, in powers of 1000 as file managers show it."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if unit != "bytes" else f"{size} bytes"
