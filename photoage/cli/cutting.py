"""The progress of pages whose pictures are cut from photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from photoage.cli.context import Context


@contextmanager
def cutting_progress(context: Context) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr when a person watches, else nothing; it is told faces done and their total."""
    if not context.progress:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Cutting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("faces"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=context.stderr, transient=True) as bar:
        task = bar.add_task("page", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
