"""`photoage people page` and `apply`: persons as a page to correct, and the corrections that it saves."""

from __future__ import annotations

from pathlib import Path

import click

from photoage.cli.context import Context, global_options
from photoage.cli.page_file import cutting_progress, is_streamed, page_file, page_options, show_page
from photoage.errors import UsageError


@click.command(short_help="Write a page to see, name and correct persons.")
@page_options
@click.option(
    "--min-faces",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Leave out persons without a name that have fewer faces.",
)
@global_options
def page(context: Context, output: str, opened: bool, min_faces: int, workers: int | None) -> None:
    """Write a page to see, name and correct persons.

    The page shows persons by number of faces, each with some of their faces over time. Type names and
    birth dates, tick faces that show somebody else, say which persons are the same; then save, and
    carry the saved file out with `photoage people apply`. The page holds all it needs and loads nothing.
    It holds faces of people: keep it as carefully as the photos.

    \b
    Example:
      photoage people page -o people.html --open
      photoage people apply -n ~/Downloads/people.csv
      photoage people apply ~/Downloads/people.csv
    """
    streamed = is_streamed(output, opened)
    from photoage.export.people.build import write_people_page

    with context.reading() as engine, cutting_progress(context) as progress, page_file(output) as file:
        summary = write_people_page(engine, file, least_faces=min_faces, workers=workers, progress=progress)
    if not streamed:
        context.say(f"wrote {output}: {summary.persons} persons, {summary.faces} faces shown")
    if summary.without_picture:
        context.say(
            f"{summary.without_picture} faces have no picture: their photos are gone, changed or unreadable"
        )
    if opened:
        show_page(context, output)


@click.command(short_help="Carry out what the page saved.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@global_options
def apply(context: Context, file: Path, dry_run: bool) -> None:
    """Carry out the file that the page of persons saves: all of it, or nothing.

    A file of a page that is out of date, because a person has changed since, is refused.

    \b
    Example:
      photoage people apply -n people.csv
    """
    from photoage.database.changes import changing
    from photoage.people.corrections import correct_persons, read_corrections
    from photoage.people.refresh import refresh_persons

    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            corrections = read_corrections(lines, str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    with changing(context.database, dry_run=dry_run) as connection:
        done = correct_persons(connection, corrections, str(file))
        refresh_persons(connection)
    would = "would be " if dry_run else ""
    context.say(
        f"{would}done: {done.named} names, {done.born} birth dates, {done.faces_apart} faces taken out, "
        f"{done.merged} persons merged into others"
    )
