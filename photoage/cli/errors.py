"""`photoage errors`: the files that could not be read."""

from __future__ import annotations

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import output_form
from photoage.cli.output import print_json, print_line, print_paths


@click.command()
@output_form(json="A JSON array of objects with path, kind and message.", paths=None, print0=None)
@global_options
def errors(context: Context, form: str | None) -> None:
    """List the files that could not be read, with the kind of error and a message.

    `photoage scan --retry-errors` tries them again.

    \b
    Example:
      photoage errors
      photoage errors -0 | xargs -0 ls -l
    """
    from photoage.query import iter_errors

    with context.reading() as engine:
        rows = iter_errors(engine)
        if form == "json":
            print_json([row._asdict() for row in rows])
        elif form in ("paths", "print0"):
            print_paths((row.path for row in rows), nul=form == "print0")
        else:
            row = None
            for row in rows:
                # Messages name their file already, as every message of photoage does.
                print_line(f"{row.kind:12}  {row.path}: {row.message.removeprefix(f'{row.path}: ')}")
            if row is None:
                context.say("no file is unreadable")
