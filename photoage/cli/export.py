"""`photoage export`: the faces that match, in a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import face_filter
from photoage.cli.output import face_writer, stdout_text
from photoage.errors import PhotoageError, UsageError

if TYPE_CHECKING:
    from photoage.query import FaceFilter

FORMATS = ("csv", "json", "jsonl")


@click.command()
@click.option("-o", "--output", required=True, metavar="FILE", help="File to write; - for stdout.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    help="Format of the file. [default: from its extension; csv on stdout]",
)
@face_filter
@global_options
def export(context: Context, output: str, file_format: str | None, faces: FaceFilter) -> None:
    """Write the matching faces, all by default, to a .csv, .json or .jsonl file.

    The file appears only when it is complete; a failed export leaves the old one as it was.

    \b
    Example:
      photoage export -o faces.csv
      photoage export --min-age 60 -o - --format jsonl | wc -l
    """
    chosen = file_format or _format_of(output)
    from photoage.query import iter_faces

    write, errors = face_writer(chosen)
    with context.reading() as engine:
        opened = stdout_text(errors) if output == "-" else replacing(Path(output), errors)
        with opened as out:
            write(iter_faces(engine, faces), out)
    if output != "-":
        context.say(f"wrote {output}")


def _format_of(output: str) -> str:
    if output == "-":
        return "csv"
    suffix = Path(output).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(
            f"{output}: the extension is none of .csv, .json and .jsonl; give one or use --format"
        )
    return suffix


@contextmanager
def replacing(target: Path, errors: str) -> Iterator[TextIO]:
    """A UTF-8 text file that takes the place of `target` once it is complete and on disk.

    Raises `PhotoageError` when it cannot be written; `target` is then as it was before.
    """
    final = Path(os.path.realpath(target))  # a link stays a link
    partial = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        if final.is_dir():
            raise IsADirectoryError(None, "is a folder")
        if final.exists() and not final.is_file():
            partial = final  # a pipe or device can only be written to
        with open(partial, "w", encoding="utf-8", errors=errors, newline="") as file:
            yield file
            file.flush()
            if partial != final:
                os.fsync(file.fileno())
        if partial != final:
            if final.exists():
                shutil.copymode(final, partial)
            partial.replace(final)
    except BaseException as error:
        if partial != final:
            with suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            raise PhotoageError(f"{target}: cannot be written ({error.strerror})") from error
        raise
