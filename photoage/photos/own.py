"""The mark of pictures that photoage made: the faces on them are those of photos that it knows."""

from __future__ import annotations

from PIL.PngImagePlugin import PngInfo

JPEG_COMMENT = b"photoage"
_IN_PNG = b"tEXtSoftware\0photoage"
_IN_JPEG = b"\xff\xfe\0\x0a" + JPEG_COMMENT  # a comment's marker and length
_NEAR = 256  # bytes, within which it is written


def png_mark() -> PngInfo:
    """To give to Pillow when it saves a PNG."""
    mark = PngInfo()
    mark.add_text("Software", "photoage")
    return mark


def is_own(data: bytes) -> bool:
    """Whether a file's content has the mark."""
    head = data[:_NEAR]
    return (head.startswith(b"\x89PNG") and _IN_PNG in head) or (
        head.startswith(b"\xff\xd8") and _IN_JPEG in head
    )
