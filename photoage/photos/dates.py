"""When a photo was taken, from wherever its library keeps that: the first source with a believable date.

docs/dates.md lists the sources, and what is not believed.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import BinaryIO

from photoage.errors import DecodeError
from photoage.paths import is_remote
from photoage.photos import remote
from photoage.photos.embedded_dates import FoundDate, Meaning, embedded_dates, packet_dates
from photoage.photos.path_dates import date_of_name, dates_of_folders
from photoage.photos.sidecar_files import MAX_SIDECAR, sidecar_names
from photoage.photos.takeout import SUFFIX, taken_time
from photoage.records import DATE_SOURCES, PhotoDate, PhotoFile

_EMBEDDED = ("xmp", "exif")

_FAILURES = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError, struct.error)
FIRST_PHOTO = 1826  # nothing was photographed before; archivists do date scans back to early photography

# Days that clocks start from, at any time of them: Unix, DOS and the FAT file system.
_FIRST_DAYS = frozenset({(1970, 1, 1), (1980, 1, 1)})
# Moments that cameras and programs write when they know none.
_RESETS = frozenset(
    {f"{year}-01-01T00:00:00" for year in (1900, 1904, 1978, 1979, *range(2000, 2021))}
    | {"1969-12-31T23:59:59", "2002-12-08T12:00:00", "2002-12-08T00:00:00"}
)
_EPOCH_ZONES = frozenset(f"1969-12-31T{hour:02}:00:00" for hour in range(10, 24))  # Unix's, west of Greenwich


def date_photo(
    file: PhotoFile, sources: Sequence[str] = DATE_SOURCES, data: bytes | None = None
) -> PhotoFile:
    """The photo with its date, from the first of the `sources` that tells a believable one; or with none.

    Reads metadata alone, from `data` if the file's bytes are at hand. Dates of modification count last, when
    no source has any other. Raises `DecodeError` of kind `vanished` or `unreadable`.
    """
    today = date.today()
    modified: FoundDate | None = None
    for found in _candidates(file, sources, data):
        if believable(found.date, today):
            if found.meaning is not Meaning.MODIFIED:
                return replace(file, taken_at=found.date, date_source=found.source)
            modified = modified or found
    if modified is None:
        return replace(file, taken_at=None, date_source=None)
    return replace(file, taken_at=modified.date, date_source=modified.source)


def believable(found: PhotoDate, today: date) -> bool:
    """Whether a photo may have been taken then: not what a clock shows that nobody set, nor the future."""
    text = str(found) + (":00" if found.minute is not None and found.second is None else "")
    return (
        found.year >= FIRST_PHOTO
        and found.first_day <= today + timedelta(days=1)  # it may be tomorrow where the photo was taken
        and (found.year, found.month, found.day) not in _FIRST_DAYS
        and text not in _RESETS
        and text not in _EPOCH_ZONES
    )


def _candidates(file: PhotoFile, sources: Sequence[str], data: bytes | None) -> Iterator[FoundDate]:
    """The dates that sources tell, the best ones first; what comes late is read late."""
    embedded_done = False
    for source in sources:
        if source in _EMBEDDED and not embedded_done:
            embedded_done = True
            yield from _of_the_photo(file, [each for each in sources if each in _EMBEDDED], data)
        elif source == "takeout":
            for name in sidecar_names(file.sidecars):
                if name.lower().endswith(SUFFIX) and (taken := taken_time(_sidecar(file.path, name))):
                    yield FoundDate("takeout", Meaning.TAKEN, taken)
        elif source == "name":
            if named := date_of_name(os.path.basename(file.path)):
                yield FoundDate("name", Meaning.TAKEN, named)
        elif source == "folder":
            dates_above: Iterable[PhotoDate] = dates_of_folders(os.path.dirname(file.path))
            yield from (FoundDate("folder", Meaning.TAKEN, each) for each in dates_above)


def _of_the_photo(file: PhotoFile, wanted: list[str], data: bytes | None) -> Iterator[FoundDate]:
    """The dates in the file and in XMP beside it, by what they mean; the `wanted` sources in their order."""
    beside = [
        FoundDate("xmp", *dated)
        for name in sidecar_names(file.sidecars if "xmp" in wanted else "")
        if not name.lower().endswith(SUFFIX)
        for dated in packet_dates(_sidecar(file.path, name))
    ]
    if wanted[0] == "xmp":  # nothing in the file can come before these
        yield from (each for each in beside if each.meaning is Meaning.TAKEN)
    found = [each for each in _embedded(file.path, data) if each.source in wanted]
    inside = _refined(sorted(found, key=lambda each: (each.meaning, wanted.index(each.source))))
    together = [*beside, *inside] if wanted[0] == "xmp" else [*inside, *beside]
    yield from sorted(together, key=lambda each: each.meaning)


def _refined(found: list[FoundDate]) -> Iterator[FoundDate]:
    """Each date, or one of the same file that says the same more precisely: `1984-06` in XMP, all in EXIF."""
    for each in found:
        known = str(each.date)
        finer = [
            other
            for other in found
            if other.meaning is not Meaning.MODIFIED
            and str(other.date).startswith(known)
            # Midnight stands for a time that a program did not know.
            and not str(other.date).endswith("T00:00:00")
        ]
        best = max([each, *finer], key=lambda other: len(str(other.date)))
        yield FoundDate(best.source, each.meaning, best.date)


def _embedded(path: str, data: bytes | None) -> list[FoundDate]:
    if data is None and is_remote(path):
        data = remote.read_file(path, None)[1]
    try:
        if data is not None:
            return embedded_dates(io.BytesIO(data))
        with _opened(path) as opened:
            return embedded_dates(opened)
    except _FAILURES:
        return []  # damaged beyond what the readers foresee
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DecodeError("vanished", f"{path}: the file is gone") from error
    except OSError as error:
        raise DecodeError("unreadable", f"{path}: {error.strerror or error}") from error


def _opened(path: str) -> BinaryIO:
    # O_NONBLOCK: a FIFO put in the photo's place since the walk must not block the scan.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def _sidecar(photo: str, name: str) -> bytes:
    """The content of a file beside a photo; nothing if it cannot be read any more."""
    folder = photo.rpartition("/")[0] if is_remote(photo) else os.path.dirname(photo)
    path = f"{folder}/{name}"
    try:
        if is_remote(photo):
            return remote.read_file(path, MAX_SIDECAR)[1]
        with _opened(path) as file:
            return file.read(MAX_SIDECAR)
    except (OSError, DecodeError):
        return b""
