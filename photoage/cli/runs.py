"""`photoage runs`: the history of scan runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import Column, print_json, print_rows

if TYPE_CHECKING:
    from photoage.database.history import RunRow

COLUMNS = (
    Column("Run", 4, right=True),
    Column("Started", 16),
    Column("Took", 8, right=True),
    Column("Status", 11),
    Column("Seen", 8, right=True),
    Column("Read", 8, right=True),
    Column("Faces", 8, right=True),
    Column("Unreadable", 10, right=True),
    Column("Folders"),
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON array, with options, models and all counts.")
@global_options
def runs(context: Context, as_json: bool) -> None:
    """Show the history of scan runs, oldest first.

    Seen counts all photos that the run met, Read those that it had to open.

    \b
    Example:
      photoage runs
      photoage runs --json
    """
    from photoage.database.history import iter_runs

    with context.reading() as engine:
        rows = iter_runs(engine)
        if as_json:
            print_json([row._asdict() for row in rows])
        elif not print_rows(COLUMNS, map(_cells, rows)):
            context.say("no scan has been run")


def _cells(run: RunRow) -> tuple[str, ...]:
    counts = run.counts
    return (
        str(run.id),
        run.started_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        _duration((run.finished_at - run.started_at).total_seconds()) if run.finished_at else "-",
        run.status,
        f"{counts['photos_seen']:,}",
        f"{counts['done']:,}",
        f"{counts['faces']:,}",
        f"{counts['unreadable']:,}",
        ", ".join(run.roots),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
