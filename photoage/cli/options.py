"""Options that several commands share: the face filters and the output forms."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from functools import wraps
from typing import Any

import click

from photoage.cli.field_names import OPTION_OF
from photoage.errors import UsageError

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_YEARS = re.compile(r"(\d{4})(?:-(\d{4}))?")

Function = Callable[..., Any]


class Day(click.ParamType[date]):
    """`2019`, `2019-05` or `2019-05-04`; a year or month means its first or its last day."""

    name = "date"

    def __init__(self, last: bool) -> None:
        self.last = last

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        match = _DATE.fullmatch(str(value))
        try:
            if match is None:
                raise ValueError
            year, month, day = (int(part) if part else None for part in match.groups())
            month = month or (12 if self.last else 1)
            day = day or (calendar.monthrange(year or 0, month)[1] if self.last else 1)
            return date(year or 0, month, day)
        except ValueError:
            self.fail(f"{value!r} is not a date such as 2019, 2019-05 or 2019-05-04", param, ctx)


class Years(click.ParamType[tuple[date, date]]):
    """`2019` or `2012-2015`, both years included: the first and the last day."""

    name = "year"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[date, date]:
        match = _YEARS.fullmatch(str(value))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last:
            self.fail(f"{value!r} is not a year such as 2019, or years such as 2012-2015", param, ctx)
        return date(first, 1, 1), date(last, 12, 31)


_FILTERS: tuple[Callable[[Function], Function], ...] = (
    click.option(
        "--min-age", type=click.FloatRange(min=0), metavar="YEARS", help="Estimated age at least this."
    ),
    click.option(
        "--max-age", type=click.FloatRange(min=0), metavar="YEARS", help="Estimated age at most this."
    ),
    click.option(
        "--prob",
        type=float,
        metavar="P",
        help="With an age: chance of at least P that the age lies there, instead of the estimate.",
    ),
    click.option("--from-date", type=Day(last=False), metavar="DATE", help="Taken on this day or later."),
    click.option("--to-date", type=Day(last=True), metavar="DATE", help="Taken on this day or earlier."),
    click.option("--year", type=Years(), metavar="YEAR[-YEAR]", help="Taken in this year, or in these."),
    click.option("--undated", is_flag=True, help="Only photos without a date."),
    click.option(
        "--date-source",
        type=click.Choice(["exif", "xmp", "takeout", "name", "folder", "user", "people"]),
        help="Only photos whose date comes from there (see docs/dates.md).",
    ),
    click.option("--path", metavar="GLOB", help="Only photos whose path matches."),
    click.option(
        "--min-faces",
        type=click.IntRange(min=0),
        metavar="N",
        help="Only photos with at least this many faces.",
    ),
    click.option(
        "--max-faces",
        type=click.IntRange(min=0),
        metavar="N",
        help="Only photos with at most this many faces.",
    ),
    click.option(
        "--min-score", type=click.FloatRange(0, 1), metavar="SCORE", help="Detection score at least this."
    ),
    click.option(
        "--min-sharpness",
        type=click.FloatRange(min=0),
        metavar="N",
        help="Sharpness at least this: 0.1 is blurred, 0.2 usual, 0.3 crisp.",
    ),
    click.option(
        "--max-yaw",
        type=click.FloatRange(0, 90),
        metavar="DEGREES",
        help="Head turned to a side by at most this.",
    ),
    click.option(
        "--max-interval",
        type=click.FloatRange(min=0),
        metavar="YEARS",
        help="Only estimates whose 90 % interval is at most this wide.",
    ),
    click.option(
        "--person", multiple=True, metavar="NAME", help="Only faces of this person, or of one of these."
    ),
    click.option(
        "--age-source",
        type=click.Choice(["face"]),
        help="Ages as each face alone shows them, whatever is known of its person.",
    ),
    click.option(
        "--sort",
        type=click.Choice(["path", "age", "date", "score", "interval", "faces"]),
        default="path",
        show_default=True,
        help="Order of the faces.",
    ),
    click.option("-r", "--reverse", is_flag=True, help="Largest, latest or last first."),
    click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most this many."),
)


def face_filter(function: Function) -> Function:
    """Add the filter options to a command, which gets them as `faces`, a `FaceFilter`."""

    @wraps(function)
    def with_filter(*args: Any, **options: Any) -> Any:
        from photoage.database.face_filter import FaceFilter

        if (years := options.pop("year")) is not None:
            if options["from_date"] or options["to_date"]:
                raise UsageError("--year cannot be combined with --from-date or --to-date")
            options["from_date"], options["to_date"] = years
        given = {field.name: OPTION_OF.get(field.name, field.name) for field in fields(FaceFilter)}
        faces = FaceFilter(**{field: options.pop(option) for field, option in given.items()})
        return function(*args, faces=faces, **options)

    decorated: Function = with_filter
    for option in reversed(_FILTERS):
        decorated = option(decorated)
    return decorated


_FORMS = {
    "json": (("--json",), "A JSON array of faces."),
    "jsonl": (("--jsonl",), "One JSON object per line and face."),
    "csv": (("--csv",), "CSV with a header."),
    "paths": (("--paths",), "Only the paths of the photos, one per line."),
    "print0": (("-0", "--print0"), "Only the paths, each ended by a NUL byte, for `xargs -0`."),
    "count": (("--count",), "Only the number of faces."),
}


EXCEL = click.option(
    "--excel",
    is_flag=True,
    help="CSV for a spreadsheet: with a byte-order mark, and the separators of the locale.",
)


def output_form(**helps: str | None) -> Callable[[Function], Function]:
    """Add mutually exclusive flags for output forms; the command gets the chosen one as `form`.

    Names a form (`json`, `jsonl`, `csv`, `paths`, `print0`, `count`) and its help, None for the
    usual one. Without a flag, `form` is None.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def with_form(*args: Any, **options: Any) -> Any:
            chosen = [name for name in helps if options.pop(f"form_{name}")]
            if chosen == ["paths", "print0"]:
                chosen = ["print0"]  # the same paths, only ended otherwise
            if len(chosen) > 1:
                flags = " and ".join(_FORMS[name][0][-1] for name in chosen)
                raise UsageError(f"{flags} cannot be combined: choose one form of output")
            return function(*args, form=chosen[0] if chosen else None, **options)

        for name in reversed(helps):
            flags, usual = _FORMS[name]
            # Without settings: one form as the default would refuse every other one.
            option = click.option(
                *flags, f"form_{name}", is_flag=True, allow_from_autoenv=False, help=helps[name] or usual
            )
            with_form = option(with_form)
        return with_form

    return decorate
