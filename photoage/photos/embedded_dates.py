"""The dates that an image file tells itself: in EXIF, XMP, IPTC, and in PNG's own texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import BinaryIO, NamedTuple

from photoage.photos.containers import read_blocks
from photoage.photos.date_text import parse_date
from photoage.photos.tiff import EXIF_IFD, GPS_IFD, read_tags
from photoage.photos.xmp_dates import xmp_dates
from photoage.records import PhotoDate


class Meaning(IntEnum):
    """What a date says of a photo. Earlier ones are asked first."""

    TAKEN = 0
    DIGITISED = 1  # of a camera's photo the same moment, of a scan's a later one
    MODIFIED = 2  # some later moment


class FoundDate(NamedTuple):
    """A date as it was found. `source`: a word of DATE_SOURCES."""

    source: str
    meaning: Meaning
    date: PhotoDate


# Tags are looked for in both directories: some programs put the capture date into the first one.
_EXIF_TAGS = {0x9003: Meaning.TAKEN, 0x9004: Meaning.DIGITISED, 0x0132: Meaning.MODIFIED}
_GPS_DAY = 0x001D  # in UTC
_XMP_TAG, _IPTC_TAG, _RESOURCES_TAG = 700, 33723, 34377
_TAGS = frozenset({*_EXIF_TAGS, _GPS_DAY, _XMP_TAG, _IPTC_TAG, _RESOURCES_TAG})
_IPTC_DATES = {55: (60, Meaning.TAKEN), 62: (63, Meaning.DIGITISED)}  # data set of the day: that of the time
_PNG_TEXTS = {
    "creation time": Meaning.TAKEN,
    "exif:datetimeoriginal": Meaning.TAKEN,  # from here on as ImageMagick copies EXIF
    "exif:datetimedigitized": Meaning.DIGITISED,
    "exif:datetime": Meaning.MODIFIED,
}


def embedded_dates(file: BinaryIO) -> list[FoundDate]:
    """All dates in an image file's metadata, of each meaning those of XMP before those of EXIF, IPTC and PNG.

    IPTC's and PNG's count as source `exif`. Raises `OSError`.
    """
    blocks = read_blocks(file)
    exif, xmp, iptc = [], list(blocks.xmp), list(blocks.iptc)
    for tiff in [file] if blocks.is_tiff else blocks.exif:
        for directory, tag, value in read_tags(tiff, _TAGS):
            if tag == _XMP_TAG:
                xmp.append(value)
            elif tag == _IPTC_TAG:
                iptc.append(value)
            elif tag == _RESOURCES_TAG:
                blocks.add_resources(value)
            else:
                exif.append((directory, tag, value))
    iptc += blocks.iptc[len(iptc) :]
    found = [FoundDate("xmp", *dated) for packet in xmp for dated in packet_dates(packet)]
    found += [FoundDate("exif", *dated) for dated in _exif_dates(exif)]
    found += [FoundDate("exif", *dated) for block in iptc for dated in _iptc_dates(block)]
    for keyword, text in blocks.texts:
        meaning = _PNG_TEXTS.get(keyword.lower())
        if meaning is not None and (date := parse_date(text)) is not None:
            found.append(FoundDate("exif", meaning, date))
    return sorted(found, key=lambda each: each.meaning)


def packet_dates(packet: bytes) -> Iterator[tuple[Meaning, PhotoDate]]:
    """The dates of an XMP packet, also of one that is a file."""
    for level, texts in enumerate(xmp_dates(packet)):
        for text in texts:
            if (date := parse_date(text)) is not None:
                yield Meaning(level), date


def _exif_dates(tags: Iterable[tuple[int, int, bytes]]) -> Iterator[tuple[Meaning, PhotoDate]]:
    # The directory that is made for dates comes before the first one.
    for directory, tag, value in sorted(tags, key=lambda each: each[0] != EXIF_IFD):
        date = parse_date(value)
        if date is None:
            continue
        if directory == GPS_IFD and tag == _GPS_DAY:
            yield Meaning.DIGITISED, PhotoDate(date.year, date.month, date.day)
        elif directory != GPS_IFD and tag in _EXIF_TAGS:
            yield _EXIF_TAGS[tag], date


def _iptc_dates(block: bytes) -> Iterator[tuple[Meaning, PhotoDate]]:
    values: dict[int, str] = {}
    place = 0
    while place + 5 <= len(block) and block[place] == 0x1C:
        record, number = block[place + 1], block[place + 2]
        size = int.from_bytes(block[place + 3 : place + 5], "big")
        place += 5
        if size & 0x8000:  # the size of the size
            width = size & 0x7FFF
            size = int.from_bytes(block[place : place + width], "big")
            place += width
        if record == 2:
            values.setdefault(number, block[place : place + size].decode("latin-1"))
        place += size
    for day, (time, meaning) in _IPTC_DATES.items():
        if (
            day in values
            and (date := parse_date(f"{values[day].strip()} {values.get(time, '')}")) is not None
        ):
            yield meaning, date
