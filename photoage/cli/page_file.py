"""What commands that write a page have in common: options, the file, its progress, and the browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from photoage.cli.context import Context
from photoage.errors import UsageError
from photoage.files import is_stream, replacing_binary

_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=click.Path(),
        required=True,
        metavar="FILE",
        help="HTML file to write; - for stdout.",
    ),
    click.option("--open", "opened", is_flag=True, help="Show it in the web browser."),
    click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that read photos [default: one per core].",
    ),
)


def page_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as `output`, `opened` and `workers`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def is_streamed(output: str, opened: bool) -> bool:
    """Whether the page goes to a stream, not to a file. Raises `UsageError` where it cannot go there."""
    if output == "-" or is_stream(output):
        if opened:
            raise UsageError("--open needs a file; name one with -o")
        return True
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{output}: the extension is neither .html nor .htm")
    return False


@contextmanager
def page_file(output: str) -> Iterator[BinaryIO]:
    """What the page is written to: stdout, or a file that appears only when it is complete."""
    if output == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing_binary(output) as file:
        yield file


def show_page(context: Context, output: str) -> None:
    """Show a written page in the web browser; a warning where there is none."""
    import webbrowser

    if not webbrowser.open(Path(output).resolve().as_uri()):
        context.warn(f"{output}: no web browser could be started to show it")


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
