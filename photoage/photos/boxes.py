"""Metadata in files made of boxes, each with its size and kind: HEIC, AVIF, JPEG XL, JPEG 2000, CR3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from photoage.photos.tiff import read_at

_MOST = 16 * 1024 * 1024  # bytes of one block
_BOXES = 10_000  # of one level
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUIDS = (b"JpgTiffExif->JP2",)
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_JPEG_2000, _JPEG_XL = b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL "


def is_boxes(head: bytes) -> bool:
    """Whether a file that begins so is one of these."""
    return head[4:8] == b"ftyp" or head.startswith((_JPEG_2000, _JPEG_XL))


def box_blocks(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """(`exif`, a TIFF structure) and (`xmp`, a packet), as they come. Raises `OSError`."""
    end = file.seek(0, 2)
    for kind, start, stop in _boxes(file, 0, end):
        if kind == b"meta":
            yield from _items(file, start, stop)
        elif kind == b"moov":  # of CR3
            for inner, at, until in _boxes(file, start, stop):
                if inner == b"uuid" and read_at(file, at, 16) == _CANON_UUID:
                    for name, first, last in _boxes(file, at + 16, until):
                        if name in (b"CMT1", b"CMT2"):
                            yield "exif", read_at(file, first, last - first)
        elif kind == b"Exif":
            yield from _exif(read_at(file, start, stop - start))
        elif kind == b"xml ":
            yield "xmp", read_at(file, start, stop - start)
        elif kind == b"uuid":
            name, content = read_at(file, start, 16), read_at(file, start + 16, stop - start - 16)
            if name == _XMP_UUID:
                yield "xmp", content
            elif name in _EXIF_UUIDS:
                yield "exif", content


def _boxes(file: BinaryIO, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box between two places."""
    for _ in range(_BOXES):
        head = read_at(file, place, 16)
        if len(head) < 8 or place + 8 > end:
            return
        size, start = int.from_bytes(head[:4], "big"), place + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), place + 16
        stop = end if size == 0 else place + size
        if stop < start:
            return
        yield head[4:8], start, min(stop, end)
        place = stop


def _items(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[str, bytes]]:
    """Those of a `meta` box, as HEIC and AVIF have it."""
    inside = {kind: (first, last) for kind, first, last in _boxes(file, start + 4, stop)}
    if b"iinf" not in inside or b"iloc" not in inside:
        return
    first, last = inside[b"iinf"]
    wide = read_at(file, first, 1) != b"\0"
    kinds: dict[int, str] = {}
    for kind, at, until in _boxes(file, first + (8 if wide else 6), last):
        data = read_at(file, at, min(until - at, 512))
        if kind == b"infe" and data[:1] in (b"\2", b"\3"):
            width = 2 if data[0] == 2 else 4
            number, data = int.from_bytes(data[4 : 4 + width], "big"), data[6 + width :]
            if data.startswith(b"Exif"):
                kinds[number] = "exif"
            elif data.startswith(b"mime") and b"application/rdf+xml" in data:
                kinds[number] = "xmp"
    if not kinds:
        return
    first, last = inside[b"iloc"]
    base = inside.get(b"idat", (0, 0))[0]
    for number, parts in _places(read_at(file, first, last - first)):
        if number in kinds and sum(size for _, _, size in parts) <= _MOST:
            block = b"".join(
                read_at(file, at + (base if in_idat else 0), size) for in_idat, at, size in parts
            )
            yield from _exif(block) if kinds[number] == "exif" else [("xmp", block)]


def _exif(block: bytes) -> Iterator[tuple[str, bytes]]:
    """It begins with how far away the TIFF structure is."""
    yield "exif", block[4 + int.from_bytes(block[:4], "big") :]


def _places(data: bytes) -> Iterator[tuple[int, list[tuple[bool, int, int]]]]:
    """Of each item in an `iloc` box: its number; for each part, whether it is in `idat`, where, how long."""
    place = 4

    def number(width: int) -> int:
        nonlocal place
        place += width
        return int.from_bytes(data[place - width : place], "big")

    version = data[0] if data else 0
    sizes, more = number(1), number(1)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size = more & 15 if version else 0
    for _ in range(number(2 if version < 2 else 4)):
        if place >= len(data):
            return
        item = number(2 if version < 2 else 4)
        in_idat = bool(version and number(2) & 15 == 1)
        number(2)
        base = number(base_size)
        parts = []
        for _ in range(number(2)):
            if place >= len(data):
                return
            number(index_size)
            parts.append((in_idat, base + number(offset_size), number(length_size)))
        yield item, parts
