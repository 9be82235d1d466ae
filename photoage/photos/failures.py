"""What decoders do when a file is damaged: what they print, and what they raise, in words."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from photoage.errors import DecodeError
from photoage.photos.formats import FAILURES, TooLargeError

CUT_OFF = re.compile(
    r"truncated|end of file|insufficient|too small|incomplete|requires a buffer|no more images"
)


@contextmanager
def named_failures(data: bytes, name: str, max_pixels: int) -> Iterator[None]:
    """Whatever a decoder raises about this content becomes a `DecodeError` that names the file."""
    try:
        with _pillow_settings(max_pixels):
            yield
    except DecodeError as error:
        raise DecodeError(error.kind, f"{name}: {error}") from error
    except MemoryError as error:
        raise DecodeError("memory", f"{name}: too large to decode in memory") from error
    except TooLargeError as error:
        raise DecodeError("too-large", f"{name}: {too_large(*error.size, max_pixels)}") from error
    except FAILURES as error:
        kind, cause = _explain(error, data)
        raise DecodeError(kind, f"{name}: {cause}") from error


def too_large(width: int, height: int, max_pixels: int) -> str:
    return f"{width} x {height} pixels, more than the limit of {max_pixels}"


@contextmanager
def _pillow_settings(max_pixels: int) -> Iterator[None]:
    """Our pixel limit in place of Pillow's, and no warnings: they are about metadata, or that limit."""
    before = Image.MAX_IMAGE_PIXELS
    # Some plugins check it before they allocate; they raise at twice its value.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


_stderr_lock = threading.Lock()


@contextmanager
def silenced(is_loud: bool = True) -> Iterator[None]:
    """Keep a library that reports damage straight to the process's stderr (libtiff, LibRaw) from doing so."""
    if not is_loud or sys.__stderr__ is None:
        yield
        return
    with _stderr_lock, open(os.devnull, "wb") as null:
        saved = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _explain(error: Exception, data: bytes) -> tuple[str, str]:
    """Kind and one-line cause of a decoder's failure."""
    cause = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return "too-large", "more pixels than the limit"
    if isinstance(error, EOFError) or CUT_OFF.search(cause.lower()) or _is_cut_off(data):
        return "truncated", "the file is cut off"
    return "corrupt", f"damaged image data ({cause})"


def _is_cut_off(data: bytes) -> bool:
    """Whether the container promises more bytes than there are; not every plugin says so."""
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith((b"II*", b"MM\0*")):
        return int.from_bytes(data[4:8], "little" if data.startswith(b"II") else "big") >= len(data)
    end = 0
    is_boxes = data[4:8] in (b"ftyp", b"JXL ", b"jP  ")  # each led by its size
    while is_boxes and end + 8 <= len(data):
        size = int.from_bytes(data[end : end + 4], "big")
        if size < 8:
            return False  # up to the end, or in 64 bits
        end += size
    return end > len(data)
