"""Lists of files, one name a line or ended by NUL, in whatever encoding programs write them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

HEAD = 65536  # bytes of a list in which a NUL tells how it is separated
SHORT_HEAD = 512  # bytes that tell NULs between names from those within characters


def listed_names(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The names in a list, as bytes; `lines` are pieces of it, such as a binary file gives."""
    pieces = iter(lines)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= (SHORT_HEAD if b"\0" in head else HEAD):
            break
    if (encoding := _wide_encoding(head)) is not None:
        pieces = _recoded(chain([head], pieces), encoding)
        head = b""
    head = head.removeprefix(codecs.BOM_UTF8)
    separator = b"\0" if b"\0" in head else b"\n"
    rest = b""
    for piece in chain([head], pieces):
        *names, rest = (rest + piece).split(separator)
        yield from (cleaned for name in names if (cleaned := _cleaned(name, separator)))
    if last := _cleaned(rest, separator):
        yield last


def _wide_encoding(head: bytes) -> str | None:
    """The encoding of a list of two or four bytes a character, as Windows programs write; None for any other.

    Without a byte order mark, NULs as every other byte and a line's end tell it from names ended by NUL.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = head[::2], head[1::2]
    for encoding, high, low in (("utf-16-le", second, first), ("utf-16-be", first, second)):
        if b"\n" in low and b"\0" not in low and high.count(0) * 2 > len(high):
            return encoding
    return None


def _recoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield from (decoder.decode(piece).encode("utf-8") for piece in pieces)
    yield decoder.decode(b"", True).encode("utf-8")


def _cleaned(name: bytes, separator: bytes) -> bytes:
    return name if separator == b"\0" else name.removesuffix(b"\r")
