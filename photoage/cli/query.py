"""`photoage query`: the faces that match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import face_filter, output_form
from photoage.cli.output import (
    JSON_ESCAPES,
    RAW_BYTES,
    console,
    on_terminal,
    print_line,
    print_paths,
    stdout_text,
)
from photoage.cli.text import visible

if TYPE_CHECKING:
    from photoage.query import FaceFilter, FaceRow

TABLE_CHUNK = 500  # rows laid out at a time, so that a large answer begins to show at once


@click.command()
@face_filter
@output_form(json=None, jsonl=None, csv=None, paths=None, print0=None, count=None)
@global_options
def query(context: Context, faces: FaceFilter, form: str | None) -> None:
    """Show the faces that match all given filters.

    Without an output form, a table. GLOB matches the whole absolute path: * any characters,
    ? any one, [...] one of these. DATE is a day, a month or a year.

    \b
    Example:
      photoage query --min-age 60 --sort age
      photoage query --from-date 2019-05 --to-date 2019 --csv > faces.csv
      photoage query --path '*/holidays/*' --max-age 12 -0 | xargs -0 ls -l
    """
    from photoage import writers
    from photoage.query import count_faces, iter_faces, iter_paths

    with context.reading() as engine:
        if form == "count":
            print_line(str(count_faces(engine, faces)))
        elif form in ("paths", "print0"):
            print_paths(iter_paths(engine, faces), nul=form == "print0")
        elif form == "csv":
            with stdout_text(RAW_BYTES) as out:
                writers.write_csv(iter_faces(engine, faces), out)
        elif form in ("json", "jsonl"):
            write = writers.write_json if form == "json" else writers.write_jsonl
            with stdout_text(JSON_ESCAPES) as out:
                write(iter_faces(engine, faces), out)
        else:
            shown = _show(iter_faces(engine, faces))
            context.say(f"{shown} face{'' if shown == 1 else 's'}" if shown else "no face matches")


def _show(rows: Iterator[FaceRow]) -> int:
    """Print faces for people and return how many: a table on a terminal, else one line each."""
    shown = 0
    if not on_terminal():
        for row in rows:
            print_line("  ".join(_cells(row)))
            shown += 1
        return shown
    while chunk := list(islice(rows, TABLE_CHUNK)):
        _print_table(chunk, header=shown == 0)
        shown += len(chunk)
    return shown


def _cells(row: FaceRow) -> tuple[str, str, str, str, str]:
    interval = f"{row.age_low:.0f}-{row.age_high:.0f}"
    taken = str(row.taken_at)[:10] if row.taken_at else "-"
    return f"{row.age:5.1f}", f"{interval:>7}", f"face {row.face_index}", f"{taken:10}", row.path


def _print_table(rows: Iterable[FaceRow], header: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    # Fixed widths but for the path: every chunk of a long answer is laid out alike.
    table = Table(box=None, expand=True, show_header=header, pad_edge=False, padding=(0, 2, 0, 0))
    for title, width in (("Age", 5), ("90 %", 7), ("Face", 8), ("Taken", 10)):
        table.add_column(title, width=width, no_wrap=True, justify="left" if title == "Taken" else "right")
    table.add_column("Photo", ratio=1, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in _cells(row)))
    console().print(table)
