"""`photoage watch`: scan, and go on scanning whatever comes."""

from __future__ import annotations

import os
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.scan_options import prepare, print_summary, scan_options, scan_progress, stop_on_signal
from photoage.errors import DatabaseLockedError, LibraryError

if TYPE_CHECKING:
    from photoage.records import PhotoFile
    from photoage.scan.engine import Engine
    from photoage.scan.options import ScanOptions
    from photoage.scan.record import ScanSummary

RETRY = 2.0  # seconds before a database that another scan holds is tried again


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="FOLDER...")
@click.option(
    "--poll",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Look for changes this often instead of being told of them by the system.",
)
@scan_options
@global_options
def watch(context: Context, paths: tuple[str, ...], poll: float | None, **options: Any) -> None:
    """Scan folders, then keep scanning photos that are added to them or changed, within seconds.

    Ends with Ctrl-C: exit code 0, or 130 where it cut a scan short, which the next one makes up for.
    On network file systems, and where the system cannot watch so many folders, changes are looked for
    every 30 seconds. Photos that are deleted are marked missing by the next `photoage scan`.

    \b
    Example:
      photoage watch ~/Pictures
      photoage watch --poll 60 --exclude 'Screenshots' /mnt/nas/photos
    """
    roots, choices = prepare(paths, options)
    for root in roots:
        if not os.path.isdir(root):
            raise LibraryError(f"{root}: is not a folder; only folders can be watched")
    from photoage.photos.watch import watch as changes
    from photoage.scan.scan import make_engine

    first = True
    with stop_on_signal() as stopping, make_engine(choices) as engine:
        for files in changes(roots, choices.walk, stopping, poll=poll, warn=context.warn):
            summary = None
            if first or files is not None or _has_work(context, roots, choices):
                summary = _scan(context, engine, roots, choices, files, stopping)
            if summary is not None:
                print_summary(context, summary)
                if summary.interrupted:
                    sys.exit(130)
            if first:
                context.say("watching for changes; Ctrl-C ends it")
            first = False


def _has_work(context: Context, roots: list[str], options: ScanOptions) -> bool:
    """Whether a look at the roots finds anything to read, so that a scan run is worth recording.

    A photo that the system still refuses to open is nothing to read.
    """
    from photoage.photos.content import can_be_opened
    from photoage.scan.plan import Action
    from photoage.scan.scan import plan_scan

    planned = plan_scan(roots, context.database, options)
    return any(
        item.action is not Action.UNCHANGED and (not item.is_retry or can_be_opened(item.file.path))
        for item in planned
    )


def _scan(
    context: Context,
    engine: Engine,
    roots: list[str],
    options: ScanOptions,
    files: list[PhotoFile] | None,
    stopping: Event,
) -> ScanSummary | None:
    """One scan run, of the files or of everything; None if it was never another scan's turn to end."""
    from photoage.scan.scan import scan_with

    waiting = False
    while True:
        try:
            with scan_progress(context, roots, options, files) as progress:
                return scan_with(
                    engine,
                    roots,
                    context.database,
                    options,
                    files=files,
                    progress=progress,
                    should_stop=stopping.is_set,
                )
        except DatabaseLockedError as error:
            if not waiting:
                context.say(f"{error}; waiting")
            waiting = True
            if stopping.wait(RETRY):
                return None
