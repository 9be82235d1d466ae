"""`photoage query`: the faces that match."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import EXCEL, face_filter, output_form
from photoage.cli.output import (
    RAW_BYTES,
    Column,
    face_writer,
    print_line,
    print_paths,
    print_rows,
    stdout_text,
)
from photoage.errors import UsageError

if TYPE_CHECKING:
    from photoage.database.face_filter import FaceFilter
    from photoage.database.query import FaceRow

COLUMNS = (
    Column("Age", 5, right=True),
    Column("90 %", 7, right=True),
    Column("Face", 4, right=True),
    Column("Taken", 10),
    Column("Photo"),
)


@click.command()
@face_filter
@click.option(
    "--print",
    "template",
    metavar="TEMPLATE",
    allow_from_autoenv=False,
    help="Each face as TEMPLATE says; see below.",
)
@output_form(json=None, jsonl=None, csv=None, paths=None, print0=None, count=None)
@EXCEL
@global_options
def query(context: Context, faces: FaceFilter, template: str | None, form: str | None, excel: bool) -> None:
    """Show the faces that match all given filters.

    Without a form of output, lists age, 90 % interval, number of the face from the left, date and
    photo. DATE is a day, a month or a year.

    A GLOB without a slash is matched with the name of the file; one with a slash with the end of its
    path, or with all of it where the GLOB begins with a slash. A slash at the end of the GLOB means
    everything in that folder. * stands for any characters, ? for any one, [abc] for one of these.

    A TEMPLATE is text with fields such as {path}, {age:.1f} or {x1:.0f}: the columns of the CSV, and
    {name}, {folder} and {year}. Write \\t for a tab, \\n for the end of a line, \\0 for NUL.

    \b
    Example:
      photoage query --min-age 60 --sort age
      photoage query --year 2012-2015 --print '{age:.0f}\\t{name}\\n'
      photoage query --from-date 2019-05 --to-date 2019 --csv > faces.csv
      photoage query --path '*/holidays/*' --max-age 12 -0 | xargs -0 ls -l
    """
    if template is not None and form is not None:
        raise UsageError("--print cannot be combined with another form of output")
    if excel:
        if template is not None or form not in (None, "csv"):
            raise UsageError("--excel is for CSV, and cannot be combined with another form of output")
        form = "csv"
    from photoage.database.query import count_faces, iter_detailed, iter_faces, iter_paths
    from photoage.export.writers import write_template

    written: tuple[Callable[[Iterable[Any], TextIO], int], str] | None = None
    if template is not None:
        written = write_template(template), RAW_BYTES
    elif form in ("json", "jsonl", "csv"):
        written = face_writer(form, excel=excel)
    with context.reading() as engine:
        if form == "count":
            print_line(str(count_faces(engine, faces)))
        elif form in ("paths", "print0"):
            print_paths(iter_paths(engine, faces), nul=form == "print0")
        elif written is not None:
            write, errors = written
            with stdout_text(errors) as out:
                rows = iter_detailed if form in ("json", "jsonl") else iter_faces
                write(rows(engine, faces), out)
        else:
            shown = print_rows(COLUMNS, map(_cells, iter_faces(engine, faces)))
            context.say(f"{shown} face{'' if shown == 1 else 's'}" if shown else "no face matches")


def _cells(row: FaceRow) -> tuple[str, ...]:
    interval = f"{row.age_low:.0f}-{row.age_high:.0f}"
    return f"{row.age:.1f}", interval, str(row.face_index), (row.taken_at or "-")[:10], row.path
