"""`photoage show`: a photo with its faces and their ages drawn on it."""

from __future__ import annotations

import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import click

from photoage.cli.context import Context, global_options
from photoage.errors import PhotoageError, UsageError
from photoage.files import is_stream, replacing_binary


@click.command()
@click.argument("photo", type=click.Path())
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="PNG file to write; - for stdout.")
@click.option("--open", "launch", is_flag=True, help="Open the picture, also when it is written with -o.")
@click.option(
    "--max-size",
    type=click.IntRange(100, 20000),
    default=2000,
    show_default=True,
    metavar="PIXELS",
    help="Long side of the picture at most; text keeps its share of it.",
)
@click.option(
    "--page",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="Page of a file that has several.",
)
@global_options
def show(context: Context, photo: str, output: str | None, launch: bool, max_size: int, page: int) -> None:
    """Show a scanned PHOTO upright, with a box, the age and the 90 % interval of every face.

    The faces are those in the database: scan the photo first. Without -o the picture becomes a
    temporary file, which the system's viewer opens. The photo itself is never changed.

    \b
    Example:
      photoage show ~/Pictures/wedding.jpg
      photoage show ~/Pictures/wedding.jpg -o faces.png
      photoage show ~/Pictures/wedding.jpg --max-size 800 -o - > small.png
    """
    if output is not None:
        _check_output(photo, output, launch)
    from photoage.export.picture import find_photo, picture
    from photoage.photos.own import png_mark
    from photoage.photos.walk import examine

    with context.reading() as engine:
        found = find_photo(engine, photo)
    if (difference := found.file.difference(examine(found.file.path))) is not None:
        context.warn(f"{photo}: {difference}")
    content = BytesIO()
    picture(found, max_size, page).save(content, "PNG", pnginfo=png_mark())
    if found.file.taken_at is not None:
        context.say(f"{photo}: taken {found.file.taken_at} (date from: {found.file.date_source})")
    people = [f"{face.person} ({face.age:.0f})" for face in found.faces if face.person]
    if people:
        context.say(f"{photo}: {', '.join(people)}")
    if not found.faces:
        context.say(f"{photo}: no face was found in it")
    elif others := sorted({face.page for face in found.faces} - {page}):
        numbers = ", ".join(map(str, others))
        context.say(f"{photo}: has faces on other pages, too (--page {numbers})")
    _deliver(context, content.getvalue(), output, launch)


def _check_output(photo: str, output: str, launch: bool) -> None:
    if output == "-":
        if launch:
            raise UsageError("--open and -o - cannot be combined")
        if sys.stdout.isatty():
            raise UsageError("a picture on a terminal is unreadable; name a file with -o, or use a pipe")
    elif is_stream(output):
        if launch:
            raise UsageError(f"--open needs a file; {output} is none")
    elif Path(output).suffix.lower() != ".png":
        raise UsageError(f"{output}: the picture is a PNG; give it the extension .png")
    elif os.path.exists(output) and os.path.exists(photo) and os.path.samefile(output, photo):
        raise UsageError(f"{output}: is the photo itself; name another file")


def _deliver(context: Context, content: bytes, output: str | None, launch: bool) -> None:
    if output == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    if output is None:
        launch = True
        with tempfile.NamedTemporaryFile(prefix="photoage-", suffix=".png", delete=False) as file:
            file.write(content)
        output = file.name
    else:
        with replacing_binary(Path(output)) as target:
            target.write(content)
        if is_stream(output):
            return
    context.say(f"wrote {output}")
    if launch and click.launch(output) != 0:
        raise PhotoageError(f"{output}: no program could be started to show it")
