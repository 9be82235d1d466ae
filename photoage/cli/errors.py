"""`photoage errors`: the files that could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import output_form
from photoage.cli.output import Column, print_json, print_paths, print_rows
from photoage.errors import PASSING_KINDS

if TYPE_CHECKING:
    from photoage.database.history import UnreadableRow

COLUMNS = (Column("Kind", 12), Column("File"), Column("Cause"))


@click.command()
@output_form(json="A JSON array of objects with path, kind and message.", paths=None, print0=None)
@global_options
def errors(context: Context, form: str | None) -> None:
    """List the files that could not be read, with the kind of error and a message.

    Photos that the system refused to open, or for which a package was missing, are tried again by every
    scan; `photoage scan --retry-errors` tries all of them.

    \b
    Example:
      photoage errors
      photoage errors -0 | xargs -0 ls -l
    """
    from photoage.database.history import iter_errors

    with context.reading() as engine:
        rows = iter_errors(engine)
        if form == "json":
            print_json([row._asdict() for row in rows])
        elif form in ("paths", "print0"):
            print_paths((row.path for row in rows), nul=form == "print0")
        elif not print_rows(COLUMNS, ((row.kind, row.path, _cause(row)) for row in rows)):
            context.say("no file is unreadable")


def _cause(row: UnreadableRow) -> str:
    """The message without the name of the file, which most messages begin with, and what will be done."""
    stored = " ".join(row.path.encode("utf-8", "backslashreplace").decode().split())
    again = " (the next scan tries it again)" if row.kind in PASSING_KINDS else ""
    return row.message.removeprefix(f"{stored}: ") + again
