"""The XMP packets that a photo's file holds, as bytes: nothing here parses XML."""

from __future__ import annotations

from photoage.errors import DecodeError
from photoage.photos.containers import read_blocks
from photoage.photos.tiff import read_tags

_TIFF_TAG = 0x02BC


def embedded_xmp(path: str) -> list[bytes]:
    """The packets in the file at `path`, the most important one first; none where it has none.

    Raises `DecodeError` when the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            blocks = read_blocks(file)
            found = list(blocks.xmp)
            if blocks.is_tiff:
                found += [value for _, _, value in read_tags(file, frozenset({_TIFF_TAG}))]
    except OSError as error:
        raise DecodeError("unreadable", f"{path}: {error.strerror or error}") from error
    # Some programs pad a packet, to have room for more.
    return [packet for each in found if (packet := each.strip(b"\0 \t\r\n"))]
