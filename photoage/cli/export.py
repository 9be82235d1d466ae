"""`photoage export`: the faces that match, in a file, in sidecars or as crops."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.export_photos import PhotoDestination, photo_destinations
from photoage.cli.options import EXCEL, face_filter
from photoage.cli.output import face_writer, stdout_text
from photoage.errors import UsageError
from photoage.files import is_stream, replacing_binary, replacing_path, replacing_text

if TYPE_CHECKING:
    from photoage.database.face_filter import FaceFilter
    from photoage.database.query import FaceRow

SUFFIXES = {
    "csv": "csv",
    "json": "json",
    "jsonl": "jsonl",
    "parquet": "parquet",
    "sqlite": "sqlite",
    "db": "sqlite",
}
FORMATS = ("csv", "json", "jsonl", "parquet", "sqlite")


@click.command()
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="File to write; - for stdout.")
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    help="Format of the file. [default: from its extension; csv on stdout and to pipes]",
)
@EXCEL
@photo_destinations
@face_filter
@global_options
def export(
    context: Context,
    output: str | None,
    format: str | None,  # noqa: A002
    excel: bool,
    destination: PhotoDestination | None,
    faces: FaceFilter,
) -> None:
    """Write the matching faces, all by default: to a file (-o), to XMP sidecars, or as crops.

    A file is .csv, .json, .jsonl, .parquet or .sqlite. It appears only when it is complete; a failed
    export leaves the old one as it was. Parquet needs pyarrow: pip install pyarrow. An
    SQLite file has one table, faces. A pipe or device, /dev/stdout too, is written to as it is.

    --sidecar xmp writes IMG.JPG.xmp beside each photo, for programs such as digiKam and exiftool: the
    matching faces as regions (mwg-rs, of the image as it is stored), with their ages in the regions'
    Extensions (namespace https://photoage.invalid/ns/1.0/). A new
    sidecar begins as a copy of the XMP that the photo holds and of another program's IMG.xmp. One that is
    there already keeps all that others wrote, and a region of theirs that is of the same face gets the
    age; only what photoage wrote earlier is replaced. One that is damaged is left as it is. Photos
    without a matching face keep the sidecar that they have.

    --crops writes the aligned face crops as 034.2_IMG_1234_5f3a90c1_0.jpg, which sorts them by age.

    Photos are never changed. One that was changed since its scan is left out of sidecars and crops
    with a warning, as is one whose sidecar cannot be written; the exit code is then 1.

    \b
    Example:
      photoage export -o faces.csv
      photoage export --min-age 60 -o - --format jsonl | wc -l
      photoage export --year 2012-2015 -o faces.parquet
      photoage export --sidecar xmp --min-score 0.6 --dry-run
      photoage export --sidecar xmp --sidecar-dir ~/sidecars
      photoage export --crops ~/elders --min-age 80 --crop-size 160
    """
    if destination is not None:
        if output is not None or format is not None:
            raise UsageError("-o and --format are for one file: not with --sidecar or --crops")
        if excel:
            raise UsageError("--excel is for CSV: not with --sidecar or --crops")
        destination.export(context, faces)
        return
    if output is None:
        raise UsageError("say where to: -o FILE, --sidecar xmp or --crops FOLDER")
    chosen = format or _format_of(output)
    if excel and chosen != "csv":
        raise UsageError(f"--excel is for CSV, not for {chosen}")
    streamed = output == "-" or is_stream(output)
    if chosen == "sqlite" and streamed:
        raise UsageError("an SQLite file cannot be written to stdout, pipes or devices; name a file with -o")
    if not streamed:
        _refuse_database(output)
    from photoage.database.query import iter_faces

    with context.reading() as engine:
        _write(iter_faces(engine, faces), output, chosen, excel=excel)
    if not streamed:
        context.say(f"wrote {output}")


def _format_of(output: str) -> str:
    if output == "-" or is_stream(output):
        return "csv"
    suffix = Path(output).suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        known = ", ".join(f".{known}" for known in SUFFIXES)
        raise UsageError(f"{output}: the extension is none of {known}; give one or use --format")
    return SUFFIXES[suffix]


def _refuse_database(output: str) -> None:
    """A slip of the hand must not cost a photoage database: the one in use, or a backup."""
    import sqlite3

    path = os.path.realpath(output)
    if not os.path.isfile(path):
        return
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{Path(path).as_uri()}?immutable=1", uri=True)) as db,
    ):
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'faces_view'").fetchone():
            raise UsageError(f"{output}: is a photoage database; name another file")
    if leftover := next((path + end for end in ("-wal", "-journal") if os.path.exists(path + end)), None):
        raise UsageError(f"{output}: is an SQLite file in use, as {leftover} shows")


def _write(faces: Iterable[FaceRow], output: str, chosen: str, *, excel: bool) -> None:
    from photoage.export.tabular import write_parquet, write_sqlite

    if chosen == "sqlite":
        with replacing_path(Path(output)) as path:
            write_sqlite(faces, path)
    elif chosen == "parquet":
        if output == "-":
            sys.stdout.flush()
            write_parquet(faces, sys.stdout.buffer)
            return
        with replacing_binary(Path(output)) as file:
            write_parquet(faces, file)
    else:
        write, errors = face_writer(chosen, excel=excel)
        with stdout_text(errors) if output == "-" else replacing_text(Path(output), errors) as out:
            write(faces, out)
