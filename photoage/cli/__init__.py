"""The command line: the only part of photoage that prints and exits.

Each command lives in a module of its own that is imported when the command is called, so that
`photoage --help` answers without waiting for torch or a database.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

import click

from photoage import __version__
from photoage.cli.context import Context, global_options
from photoage.cli.lazy import LazyCommand, LazyGroup
from photoage.cli.process import keep_printing, open_streams, use_utf8

OBJECTS_BEFORE_COLLECTION = 50_000

COMMANDS = {  # in the order of a first use
    "scan": LazyCommand("photoage.cli.scan:scan", "Find the faces in photos and estimate their ages."),
    "watch": LazyCommand("photoage.cli.watch:watch", "Scan, then keep scanning photos as they come."),
    "query": LazyCommand("photoage.cli.query:query", "Show the faces that match filters such as age."),
    "export": LazyCommand("photoage.cli.export:export", "Write the matching faces to files of many kinds."),
    "show": LazyCommand("photoage.cli.show:show", "Draw the faces and ages of one photo on it."),
    "report": LazyCommand("photoage.cli.report:report", "Write a page with the faces to look at."),
    "people": LazyCommand("photoage.cli.people:people", "Find, name and correct persons; exact ages."),
    "errors": LazyCommand("photoage.cli.errors:errors", "List the files that could not be read."),
    "runs": LazyCommand("photoage.cli.runs:runs", "Show the history of scan runs."),
    "stats": LazyCommand("photoage.cli.stats:stats", "Show counts by age, year and folder."),
    "forget": LazyCommand("photoage.cli.forget:forget", "Remove photos from the database."),
    "dates": LazyCommand("photoage.cli.dates:dates", "Tell the year of photos by the people in them."),
    "models": LazyCommand("photoage.cli.models:models", "List, locate, verify and download models."),
    "train": LazyCommand("photoage.cli.train:train", "Train the age model on labelled faces."),
    "evaluate": LazyCommand("photoage.cli.evaluate:evaluate", "Measure a checkpoint on labelled faces."),
    "db": LazyCommand("photoage.cli.db:db", "Upgrade, check, describe and back up the database."),
    "doctor": LazyCommand("photoage.cli.doctor:doctor", "Report what is installed and really used."),
    "config": LazyCommand("photoage.cli.config:config", "Show the settings from file and environment."),
    "completion": LazyCommand("photoage.cli.completion:completion", "Print a script for shell completion."),
}


@click.group(
    "photoage",
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options not given come from the environment (PHOTOAGE_QUIET, PHOTOAGE_SCAN_WORKERS), else from "
    "the file that `photoage config path` names. "
    "Example: photoage scan ~/Pictures && photoage query --min-age 60",
)
@click.version_option(__version__, prog_name="photoage", message="%(prog)s %(version)s")
@global_options
def cli(context: Context) -> None:
    """Estimate the age of every face in a photo library, and query it by age range.

    Everything runs on this machine: no photo, and nothing derived from one, leaves it.
    """


def main() -> NoReturn:
    """Entry point of the `photoage` program."""
    open_streams()
    use_utf8()
    keep_printing()
    # Nothing here multiplies matrices large enough for OpenBLAS's threads; each would cost a start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The libraries' modules are hundreds of thousands of objects, none of them garbage: looking for some
    # among them as often as by default takes a quarter of the time of a query.
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    try:
        cli.main(sys.argv[1:], prog_name="photoage")
    finally:
        if "triton" not in sys.modules:  # PyTorch's, which reports as leaks what is not collected
            gc.freeze()  # nor need the interpreter look when it ends
