"""`photoage people find`: embeddings for faces that lack them, persons, birth dates."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.scan_options import stop_on_signal

if TYPE_CHECKING:
    from photoage.people.embed import EmbedCounts


@click.command(short_help="Find the persons in the photos that were scanned.")
@click.option(
    "-j", "--workers", type=click.IntRange(min=1), help="Processes that read photos [default: one per core]."
)
@click.option("--anew", is_flag=True, help="Group all faces again, but for what you have named or corrected.")
@global_options
def find(context: Context, workers: int | None, anew: bool) -> None:
    """Find the persons in the photos that were scanned, and when they were born.

    Reads each photo once, to compute and store embeddings of its faces: biometric data, which never leaves
    this machine, and which `people forget` removes. Then groups the faces into persons, and fits a birth
    date to the ages in each person's dated photos; the ages that follow take the place of those that single
    faces show. Names, birth dates and corrections of yours always stay.

    Can be interrupted at any time, and goes on from there. Later, only new photos are read, and their faces
    join the persons that there are.

    \b
    Example:
      photoage people find
    """
    from photoage.database.changes import changing
    from photoage.faces.recogniser import default_recogniser
    from photoage.machine import available_cores
    from photoage.people.embed import EmbedOptions, embed_faces
    from photoage.people.find import find_persons
    from photoage.pool import PHOTO_TIMEOUT

    options = EmbedOptions(default_recogniser(), workers or available_cores(), PHOTO_TIMEOUT)
    with changing(context.database) as connection:
        with stop_on_signal() as stopping, _progress(context) as progress:
            counts = embed_faces(connection, options, progress, stopping.is_set)
        for warning in counts.warnings:
            context.warn(warning)
        if not stopping.is_set():
            context.detail(f"{counts.faces} embeddings computed")
            found = find_persons(connection, anew=anew)
    if stopping.is_set():
        context.say(f"interrupted after {counts.photos} of {counts.total} photos; the next call goes on")
        sys.exit(130)
    context.say(
        f"{found.persons} persons ({found.new} new) in {found.faces} faces; "
        f"{found.born} of them with a birth date"
    )


@contextlib.contextmanager
def _progress(context: Context) -> Iterator[Callable[[EmbedCounts], None]]:
    """A progress bar on stderr when a person watches, else nothing."""
    if not context.progress:
        yield lambda counts: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("Reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("photos"),
        TimeRemainingColumn(),
        console=context.stderr,
        transient=True,
    )
    task = bar.add_task("read", total=None)
    with bar:
        yield lambda counts: bar.update(task, total=counts.total, completed=counts.photos)
