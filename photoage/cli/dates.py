"""`photoage dates`: what year undated photos are of, and dates that the faces contradict."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.options import output_form
from photoage.cli.output import print_json, print_line
from photoage.cli.text import visible

if TYPE_CHECKING:
    from photoage.people.undated import SuggestedDate


@click.command()
@click.option(
    "--implausible", is_flag=True, help="Instead: photos whose date the ages of their people contradict."
)
@click.option("--path", "path_glob", metavar="GLOB", help="Only photos whose path matches.")
@output_form(csv="CSV for `exiftool -csv=FILE`.", json="A JSON array.")
@global_options
def dates(context: Context, implausible: bool, path_glob: str | None, form: str | None) -> None:
    """Tell the year of photos without a trusted date, by the ages of the people in them.

    For persons whose birth date is given or fitted (`photoage people`). Shown are the year, its 90 %
    interval, and who told it, the surest first. A date from a file's or folder's name counts as
    untrusted. It suggests; it changes no photo and nothing in the database.

    --implausible lists photos whose people's ages contradict the date by more than chance allows: a
    camera's clock was wrong, a scan's date stands for the capture date, or a person has a wrong name. A
    person with a question mark is not found in the photo, but resembled by a face that the date may have
    kept from them.

    --csv has the columns SourceFile and XMP:DateTimeOriginal, as far as the date is known: a year.
    Look at it before exiftool writes it.

    \b
    Example:
      photoage dates
      photoage dates --csv > dates.csv && exiftool -csv=dates.csv ~/Scans
      photoage dates --implausible --path '~/Pictures/2000/*'
    """
    from photoage.database.face_filter import check_glob
    from photoage.people.undated import implausible_dates, suggest_dates

    check_glob(path_glob)
    with context.reading() as engine:
        found = (implausible_dates if implausible else suggest_dates)(engine, path_glob=path_glob)
        if form == "csv":
            _print_csv(found)
        elif form == "json":
            print_json([_as_json(each) for each in found])
        else:
            _print_lines(context, found)


def _print_csv(found: Iterator[SuggestedDate]) -> None:
    import csv

    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("SourceFile", "XMP:DateTimeOriginal"))
    writer.writerows((each.path, each.date.year) for each in found)


def _print_lines(context: Context, found: Iterator[SuggestedDate]) -> None:
    number = 0
    for each in found:
        number += 1
        instead = f"  instead of {each.taken_at} ({each.date_source})" if each.taken_at else ""
        persons = visible(", ".join(f"{who}{'?' * (who in each.resembling)}" for who in each.persons))
        span = f"{each.low.year}-{each.high.year}"
        print_line(f"{each.date.year}  {span:9}  {visible(each.path)}  by {persons}{instead}")
    context.say(f"{number} photos" if number != 1 else "1 photo")


def _as_json(each: SuggestedDate) -> dict[str, object]:
    values = each._asdict()
    for name in ("date", "low", "high"):
        values[name] = values[name].isoformat()
    return {
        **values,
        "year": each.date.year,
        "persons": list(each.persons),
        "resembling": list(each.resembling),
    }
