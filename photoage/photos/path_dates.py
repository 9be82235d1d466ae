"""Dates in the names of files and folders.

Digits in names are counters, resolutions, telephone numbers and hashes more often than dates, so only what
stands alone and is a day of a calendar counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TypeVar

from photoage.records import PhotoDate

T = TypeVar("T")

_YEAR = r"(1[89]\d\d|20\d\d)"
# What cameras, telephones and messengers put before a date without any mark in between.
_PREFIXES = "IMG|VID|MVIMG|PXL|BURST|PANO|PIC|PHOTO|CIMG|DSC|WP|SCREENSHOT|SCREEN|SNAPCHAT|TRIM|MOV|C360|B612"
_TIME = r"""(?: [\ _.T\-]* (?:\ (?:at|um|à|às|a\ las|alle|om|kl\.)\ )?
                (?P<hour>[012]?\d) [-._:h] (?P<minute>[0-5]\d) (?: [-._:m] (?P<second>[0-5]\d) )? (?!\d)
                (?: [\s\u202f]? (?P<half>[AP])M\b )?
              | [\ _.T\-]? (?P<time>[012]\d[0-5]\d[0-5]\d) (?:\d{1,3})? (?!\d) )?"""
_COMPACT = re.compile(
    rf"""(?<![0-9A-Za-z]) (?:{_PREFIXES})? {_YEAR} (?:_(?=\d{{4}}_\d{{6}}(?!\d)))? ([01]\d)([0-3]\d)
         (?: (?=[^0-9A-Za-z]|$|T\d{{6}}) | (?=\d{{6}}(?:\d{{3}})?(?!\d)) ) {_TIME}""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_MARKED = re.compile(
    rf"(?<![0-9A-Za-z]) (?:{_PREFIXES})? {_YEAR}([-_.:\ ])([01]?\d)\2([0-3]?\d) (?![0-9]) {_TIME}",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_DAY_FIRST = re.compile(
    rf"(?<![0-9A-Za-z.]) ([0-3]?\d)\.([01]?\d)\.{_YEAR} (?![0-9.]*\d)", re.VERBOSE | re.ASCII
)
_NO_DATES = re.compile(
    r"""[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}  # a UUID
      | (?<![0-9a-z]) [0-9a-f]{20,} (?![0-9a-z])  # a hash, or an identifier
      | ^\d+_\d+_\d+_[a-z]\b  # Facebook
      | (?<![0-9]) \d{10,13} (?![0-9])  # a telephone number, or milliseconds since 1970
      | \d{3,5}\s?[x×]\s?\d{3,5}  # a resolution
      | \d\s?(?:px|dpi|ppi)\b
      | (?<![^\W_]) (?:cam|adobe[ _-]?)?
        (?:scan(?:s|ned|ner|nen|sione)?|escane\w+|digitali\w+|num[eé]risation)
        [ _.\-]*\d[\d\-_.]*  # the day of scanning
      | lrm_export[ _]\d[\d_]*  # the day on which Lightroom wrote the copy""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# The time is when it was sent; a picture of WhatsApp's screen is another thing.
_SENT = re.compile(r"(?!.*screen).*(?:whatsapp|\bWA\d{4})", re.IGNORECASE)

_MONTHS = (
    "jan|january|januar|janvier|janv|enero|gennaio|januari|janeiro|ene|gen|jänner",
    "feb|february|februar|février|fevrier|févr|febrero|febbraio|februari|fevereiro|fev",
    "mar|march|märz|maerz|mars|marzo|maart|março|mrz",
    "apr|april|avril|avr|abril|aprile|abr",
    "may|mai|mayo|maggio|mei|maio|maj",
    "jun|june|juni|juin|junio|giugno|junho|giu",
    "jul|july|juli|juillet|juil|julio|luglio|julho|lug",
    "aug|august|août|aout|agosto|augustus|ago|augusti",
    "sep|sept|september|septembre|septiembre|settembre|setembro",
    "oct|october|oktober|octobre|octubre|ottobre|outubro|okt|ott|out",
    "nov|november|novembre|noviembre|novembro",
    "dec|december|dezember|décembre|decembre|diciembre|dicembre|dezembro|dez|dic|déc",
)
_MONTH_OF = {word: number for number, words in enumerate(_MONTHS, 1) for word in words.split("|")}
_WORD = rf"({'|'.join(sorted(_MONTH_OF, key=len, reverse=True))})(?![^\W_])\.?"
_OTHER_WORDS = frozenset({"ago", "gen", "jan", "mar", "out"})  # months only by themselves: `Night out 2012`
# `4 May 2012`, `4. Mai 2012`, `May 4th, 2012`, `May 2012`
_WORDED = re.compile(
    rf"""(?<![^\W_]) (?: ([0-3]?\d)(?:\.|st|nd|rd|th)?[\s_\-]+(?:de[\s_]+)? )? {_WORD}
         (?: [\s_]+([0-3]?\d)(?:st|nd|rd|th)? (?=,|[\s_]) )? ,?[\s_\-]+(?:de[\s_]+)?{_YEAR} (?![^\W_])""",
    re.VERBOSE | re.IGNORECASE,
)

# At the beginning of a name: a year, or a year and a month.
_YEAR_MONTH = re.compile(
    rf"{_YEAR} (?: ([-_.]?)(0[1-9]|1[0-2])(?![0-9A-Za-z]|[-_.]\d) | (?![0-9A-Za-z]) )", re.VERBOSE | re.ASCII
)
_LAST_MONTH = re.compile(rf".*(?<!\d){_YEAR}([-_.])(0[1-9]|1[0-2])(?![0-9A-Za-z]|[-_.]\d)")
_LAST_YEAR = re.compile(rf"(?:.*[^\W\d_].*)?[\s_\-,(]{_YEAR}\)?")  # `Summer 1984`, `Photos from 2012`
# The same of files, `Grandma, summer 1984 (2).jpg`, where a number may as well be a counter.
_LAST_YEAR_OF_FILE = re.compile(rf"(.*[^\W\d_].*)[\s,(]{_YEAR}\)?(?:\s*\(\d+\)|\s?[-_]?\s?\d\d?)?")
_COUNTED = re.compile(
    r"""(?<![^\W_]) (?:ima?ge?s?|imagen|immagine|pictures?|pics?|photos?|fotos?|bild(?:er)?
        |dsc[nf]?|sc[ae]n\w*|files?|screen\w*|page|seite|untitled|unnamed|no|nr|room|copy|kopie|wallpaper|canon|nikon|sony|film|roll)
        (?![^\W_])""",
    re.VERBOSE | re.IGNORECASE,
)
_YEAR_WORD = re.compile(rf"{_YEAR}[\s_\-.,]+([^\W\d_]+)")  # `2012 May`
_YEARS = re.compile(
    r"(?<!\d)\d{4}\s?([-–&+]|to|bis|until|and|und)\s?(\d{2}|(?:1[89]|20)\d\d)(?!\d)", re.IGNORECASE
)
_MONTH = re.compile(r"(\d\d?)(?:[\s_\-.]+([^\W\d_]+))?|([^\W\d_]+)")  # in the folder of a year
_MONTH_DAY = re.compile(r"(\d\d)[-_.]?(\d\d)")
_NOT_TAKEN_THEN = re.compile(
    r"back-?ups?|sicherung|sauvegarde|exports?|imports?|takeout|scan|upload|download|sync", re.IGNORECASE
)


def date_of_name(name: str) -> PhotoDate | None:
    """The date that a file's name tells, such as `IMG_20120304_101112.jpg`, as precisely as it does.

    Names that messengers give a photo on sending it tell its day.
    """
    stem = _NO_DATES.sub("#", name.rpartition(".")[0] or name)
    for date in _dates(stem):
        return PhotoDate(date.year, date.month, date.day) if _SENT.match(stem) else date
    if _is_range(stem):
        return None
    if worded := _worded(stem):
        return worded
    match = _YEAR_MONTH.match(stem)
    if match is None:
        last = _LAST_YEAR_OF_FILE.fullmatch(stem)
        return _partial(last[2]) if last and not _COUNTED.search(last[1]) else None
    # `2012.jpg` and `2012_01.jpg` may be of a series: a year needs words after it, a month words or a hyphen.
    has_words = re.match(r"[\s_\-]+[^\W\d_]", stem[match.end() :])
    return _partial(match[1], match[3]) if has_words or match[2] == "-" else None


def _dates(text: str) -> Iterator[PhotoDate]:
    matches = [match for form in (_COMPACT, _MARKED, _DAY_FIRST) for match in form.finditer(text)]
    for match in sorted(matches, key=lambda each: each.start()):
        if match.re is _DAY_FIRST:
            year, month, day = match[3], match[2], match[1]
        elif match.re is _COMPACT:
            year, month, day = match[1], match[2], match[3]
        else:
            year, month, day = match[1], match[3], match[4]
        try:
            date = PhotoDate(int(year), int(month), int(day))
        except ValueError:
            continue
        yield date if match.re is _DAY_FIRST else _with_time(date, match)


def _with_time(date: PhotoDate, match: re.Match[str]) -> PhotoDate:
    if match["time"]:
        parts = [int(match["time"][at : at + 2]) for at in (0, 2, 4)]
    elif match["hour"]:
        hour = int(match["hour"])
        if match["half"] and hour <= 12:
            hour = hour % 12 + (12 if match["half"] in "Pp" else 0)
        parts = [hour, int(match["minute"]), *([int(match["second"])] if match["second"] else [])]
    else:
        return date
    try:
        return PhotoDate(date.year, date.month, date.day, *parts)
    except ValueError:
        return date


def dates_of_folders(folder: str) -> Iterator[PhotoDate]:
    """The dates that a photo's folder and those above it tell, the nearest first.

    `1984 Washington`, `2012-05 Holidays`, `2012/05/04`, `Summer 1984`, `May 2012`.
    """
    names = [name.strip() for name in re.split(r"[/\\]", folder) if name]
    for level in range(len(names), 0, -1):
        if date := _date_of_folder(names[:level]):
            yield date


def _date_of_folder(names: list[str]) -> PhotoDate | None:
    """What the last of these folders tells, with what those above it add."""
    name = names[-1]
    if date := _own_date(name):
        return date
    month, day = _MONTH.fullmatch(name), _MONTH_DAY.fullmatch(name)
    if len(names) == 1 or not (month or day) or (above := _date_of_folder(names[:-1])) is None:
        return None
    if above.month is None:
        if day:
            return _partial(above.year, day[1], day[2])
        assert month is not None
        word = _MONTH_OF.get((month[2] or month[3] or "").lower())
        number = int(month[1]) if month[1] else word
        is_month = number is not None and (word == number or not (month[2] or month[3]))
        return _partial(above.year, number) if is_month else None
    if above.day is None and month and month[1] and not month[2]:
        return _partial(above.year, above.month, month[1])
    return None


def _own_date(name: str) -> PhotoDate | None:
    if _NOT_TAKEN_THEN.search(name) or _is_range(name):
        return None
    if days := [(date.year, date.month, date.day) for date in _dates(name)]:
        return _partial(*_in_common(days[0], days[-1]))  # `2012-05-04 - 2012-05-10` is in May
    if worded := _worded(name):
        return worded
    if match := _YEAR_MONTH.match(name):
        if not match[3] and (found := _YEAR_WORD.match(name)) and found[2].lower() in _MONTH_OF:
            return _partial(match[1], _MONTH_OF[found[2].lower()])
        last = _LAST_MONTH.search(name) or match
        return _partial(*_in_common((match[1], match[3]), (last[1], last[3])))
    found = _LAST_YEAR.fullmatch(name)
    return _partial(found[1]) if found else None


def _worded(name: str) -> PhotoDate | None:
    found = list(_WORDED.finditer(name))
    if len(found) != 1:
        return None
    before, month, after, year = found[0].groups()
    if month.lower() in _OTHER_WORDS and not (before or after or found[0].span() == (0, len(name))):
        return None
    return _partial(year, _MONTH_OF[month.lower()], before or after)


def _in_common(first: Sequence[T], last: Sequence[T]) -> list[T]:
    """The parts that two dates begin with both."""
    return [one for one, _ in takewhile(lambda both: both[0] == both[1], zip(first, last, strict=True))]


def _is_range(name: str) -> bool:
    """Whether a name is about several years, such as `1984-1990`, so that none of them is the photo's."""
    return any(
        len(match[2]) == 4 or int(match[2]) > 12 or match[1] not in ("-", "–")
        for match in _YEARS.finditer(name)
    )


def _partial(*parts: str | int | None) -> PhotoDate | None:
    try:
        return PhotoDate(*(int(part) for part in parts if part is not None))
    except (TypeError, ValueError):  # of no parts, or of impossible ones
        return None
