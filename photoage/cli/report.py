"""`photoage report`: the faces that match, as a page to look at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import face_filter
from photoage.errors import UsageError
from photoage.files import is_stream, replacing_binary

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from photoage.database.face_filter import FaceFilter
    from photoage.export.report.build import ReportSummary


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    required=True,
    metavar="FILE",
    help="HTML file to write; - for stdout.",
)
@click.option("--open", "opened", is_flag=True, help="Show it in the web browser.")
@click.option(
    "-j", "--workers", type=click.IntRange(min=1), help="Processes that read photos [default: one per core]."
)
@face_filter
@global_options
def report(context: Context, output: str, opened: bool, workers: int | None, faces: FaceFilter) -> None:
    """Write the matching faces, all by default, to one HTML page with their pictures.

    The page has counts, the ages by number and over time, and a gallery of the faces with links to
    their photos, which a slider of ages, the date and the folder narrow down. It holds all it needs
    and loads nothing. A face whose photo is gone or has changed is shown without a picture.

    The file appears only when it is complete.

    \b
    Example:
      photoage report -o report.html --open
      photoage report --year 2012-2015 --min-score 0.6 -o children.html --max-age 12
    """
    streamed = output == "-" or is_stream(output)
    if not streamed and Path(output).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: the extension is neither .html nor .htm")
    if streamed and opened:
        raise UsageError("--open needs a file; name one with -o")
    with context.reading() as engine:
        summary = _write(context, engine, faces, output, workers)
    if not streamed:
        context.say(f"wrote {output}")
    if summary.without_picture:
        context.say(
            f"{summary.without_picture} of {summary.faces} faces have no picture: their photos are gone, "
            "changed or unreadable; the page says why"
        )
    if opened:
        import webbrowser

        if not webbrowser.open(Path(output).resolve().as_uri()):
            context.warn(f"{output}: no web browser could be started to show it")


def _write(
    context: Context, engine: Engine, faces: FaceFilter, output: str, workers: int | None
) -> ReportSummary:
    from photoage.export.report.build import write_report

    with _progress(context, engine, faces) as progress:
        if output == "-":
            sys.stdout.flush()
            summary = write_report(engine, faces, sys.stdout.buffer, workers=workers, progress=progress)
            sys.stdout.buffer.flush()
            return summary
        with replacing_binary(Path(output)) as file:
            return write_report(engine, faces, file, workers=workers, progress=progress)


@contextmanager
def _progress(context: Context, engine: Engine, faces: FaceFilter) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr when a person watches, else nothing."""
    if not context.progress:
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from photoage.database.query import count_faces

    columns = (
        TextColumn("Cutting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("faces"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=context.stderr, transient=True) as bar:
        task = bar.add_task("report", total=count_faces(engine, faces))
        yield lambda done: bar.update(task, completed=done)
