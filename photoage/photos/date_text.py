"""Dates as programs and cameras write them into files, odd and partial ones too."""

from __future__ import annotations

import re
from email.utils import parsedate

from photoage.records import PhotoDate

# `2012:03:04 10:11:12` (EXIF), `2012-03-04T10:11:12.50+01:00` (XMP), `20120304` (IPTC), `1984:06:00`, `1984`,
# `2012: 3: 4 10: 1: 2`. Digits may be those of any script: some phones write the user's own.
_DAY = re.compile(
    r"""(\d{4}) (?: [:/.\-年]\s*(\d{1,2})(?!\d) (?: [:/.\-月]\s*(\d{1,2})(?!\d) )?  # with marks, or blanks
          | (\d\d) (?: (\d\d)(?=\D|\d{6}|$) | (?=\D|$) )  # without
          | (?!\d) )""",
    re.VERBOSE,
)
_TIME = re.compile(
    r"""[日,]? (?: T\s* | :\s* | \s+ | (?=\d{6}) )
        (\D{0,6}?) (\d{1,2}) (?: [:.\-]\s*(\d{1,2})(?:[:.\-]\s*(\d{1,2}))? | (\d\d)(\d\d)? ) (.*)""",
    re.VERBOSE | re.DOTALL,
)
_AFTERNOON = re.compile(r"\s*(?:\.\d+\s*)?(?:p\.?\s?m|下午|午後|오후)", re.IGNORECASE)
_MORNING = re.compile(r"\s*(?:\.\d+\s*)?(?:a\.?\s?m|上午|午前|오전)", re.IGNORECASE)
_NO_TEXT = " \t\r\n\"'\ufeff"


def parse_date(value: object) -> PhotoDate | None:
    """The date that a text (or the bytes of one) tells, as precisely as it tells one; None if it tells none.

    Zones and parts of seconds are left out: a photo's date is that of the clock on the wall. Parts that are
    zero, blank or impossible are unknown, with all that is finer. An hour of 24 is the first of its day, as
    phones write it whose clocks count hours from 1; a second of 60 is the last of its minute.
    """
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return None
    text = text.partition("\0")[0].strip(_NO_TEXT)
    if (match := _DAY.match(text)) is None:
        return _internet_date(text)
    year = int(match[1])
    month = int(match[2] or match[4] or 0)
    day = int(match[3] or match[5] or 0)
    return _date(year, month, day, *_time(text[match.end() :]))


def _internet_date(text: str) -> PhotoDate | None:
    """`Sun, 4 Mar 2012 10:11:12 +0100`, which PNG recommends, or C's `Sun Mar  4 10:11:12 2012`."""
    try:
        parts = parsedate(text) if re.search(r"[A-Za-z]{3}.*\d{4}", text) else None
    except (ValueError, IndexError, TypeError):
        return None
    return _date(*parts[:6]) if parts else None


def _time(text: str) -> tuple[int, int, int | None] | tuple[()]:
    match = _TIME.match(text)
    if match is None:
        return ()
    hour, minute, second = int(match[2]), match[3] or match[5], match[4] or match[6]
    if minute is None:
        return ()
    if hour <= 12 and (_AFTERNOON.match(match[1]) or _AFTERNOON.match(match[7])):
        hour = hour % 12 + 12
    elif hour == 12 and (_MORNING.match(match[1]) or _MORNING.match(match[7])):
        hour = 0
    return hour, int(minute), int(second) if second else None


def _date(
    year: int, month: int, day: int, hour: int = -1, minute: int = -1, second: int | None = None
) -> PhotoDate | None:
    """The date of these parts as far as each of them, and all before it, can be right."""
    parts = [year, month, day]
    if 0 <= hour <= 24 and 0 <= minute < 60:
        parts += [hour % 24, minute]
        if second is not None and second <= 60:
            parts.append(min(second, 59))
    for known in range(len(parts), 0, -1):
        if known != 4:
            try:
                return PhotoDate(*parts[:known])
            except ValueError:
                continue
    return None
