"""Entries of a TIFF structure, which EXIF is one of: read from a file or from a block of its bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, Literal

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
ORIENTATION = 0x0112

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
    129: 1,
}
_ENTRIES = 1000  # of one directory; no real one has as many
_BYTES = 16 * 1024 * 1024  # read at once, so the most of one value


def read_tags(source: bytes | BinaryIO, wanted: frozenset[int]) -> Iterator[tuple[int, int, bytes]]:
    """The wanted tags of the first directory and of its EXIF and GPS directories.

    Each as (the directory: 0, EXIF_IFD or GPS_IFD; the tag; the bytes of its value). Whatever is damaged is
    passed over. Camera makers' variants of TIFF, and files above 4 GiB (BigTIFF), are read as well.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    head = read_at(file, 0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43 and len(head) == 16
    start = struct.unpack(f"{order}Q", head[8:16])[0] if big else struct.unpack(f"{order}I", head[4:8])[0]
    directories = [(0, start)]
    while directories:
        name, offset = directories.pop(0)
        for tag, kind, count, place in _entries(file, offset, order, big):
            if name == 0 and tag in (EXIF_IFD, GPS_IFD):
                if all(tag != known for known, _ in directories):
                    directories.append((tag, _offset(place, order, 3 if kind == 3 else 4)))
            elif tag in wanted:
                size = _SIZES.get(kind, 0) * count
                if size <= len(place):
                    yield name, tag, place[:size]
                elif size <= _BYTES:
                    yield name, tag, read_at(file, _offset(place, order, 16 if big else 4), size)


def stated_orientation(source: bytes | BinaryIO) -> int | None:
    """The orientation (1 to 8) that the first directory states, or None."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    order: Literal["little", "big"] = "little" if read_at(file, 0, 2) == b"II" else "big"
    for directory, _, value in read_tags(file, frozenset({ORIENTATION})):
        if directory == 0:
            number = int.from_bytes(value, order)
            return number if 1 <= number <= 8 else None
    return None


def _entries(file: BinaryIO, offset: int, order: str, big: bool) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count, and the bytes that hold the value or where it is."""
    number = read_at(file, offset, 8 if big else 2)
    if len(number) < (8 if big else 2):
        return
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", number)[0]
    form, size = (f"{order}HHQ8s", 20) if big else (f"{order}HHI4s", 12)
    data = read_at(file, offset + len(number), min(count, _ENTRIES) * size)
    yield from struct.iter_unpack(form, data[: len(data) // size * size])


def _offset(place: bytes, order: str, width: int) -> int:
    form = {3: "H", 4: "I", 16: "Q"}[width]
    value: int = struct.unpack_from(f"{order}{form}", place)[0]
    return value


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Bytes from a place in a file; none from a place that cannot be, as damaged files name it."""
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError):
        return b""
    return file.read(max(0, min(size, _BYTES)))
