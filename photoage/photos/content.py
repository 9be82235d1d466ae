"""The bytes of a photo file, and their identity."""

from __future__ import annotations

import os
import stat

import xxhash

from photoage.errors import DecodeError
from photoage.paths import is_remote
from photoage.photos import remote
from photoage.records import PhotoFile

# The most that a pixel takes in any file: 16 bits of red, green, blue and alpha, uncompressed.
BYTES_PER_PIXEL = 8


def read_file(path: str, max_bytes: int | None = None) -> tuple[PhotoFile, bytes]:
    """The bytes of a regular file together with the size and time they belong to.

    Raises `DecodeError` with kind `vanished`, `unreadable`, `too-large`, `memory` or `changed`
    (written to while read).
    """
    if is_remote(path):
        return remote.read_file(path, max_bytes)
    try:
        # O_NONBLOCK: a FIFO put in the photo's place since the walk must not block the scan.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise DecodeError("unreadable", f"{path}: not a regular file")
            if max_bytes is not None and before.st_size > max_bytes:
                raise DecodeError("too-large", f"{path}: {before.st_size:,} bytes, too many for a photo")
            data = file.read()
            after = os.fstat(handle)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DecodeError("vanished", f"{path}: the file is gone") from error
    except OSError as error:
        raise DecodeError("unreadable", f"{path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise DecodeError("memory", f"{path}: too large to read into memory") from error
    file_before, file_after = (PhotoFile.of(path, info) for info in (before, after))
    if file_before != file_after or len(data) != file_after.size:
        raise DecodeError("changed", f"{path}: was written to while it was read")
    return file_after, data


def content_hash(data: bytes) -> str:
    """Hex XXH3-128 of a file's bytes.

    It tells copies from changes; nobody gains by forging it, and a cryptographic hash would cost a
    photo of 3 MB as much as a twentieth of everything else.
    """
    return xxhash.xxh3_128_hexdigest(data)


def can_be_opened(path: str) -> bool:
    """Whether the system lets a file be read; of object storage, nothing is known without reading it."""
    if is_remote(path):
        return False
    try:
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def is_gone(path: str) -> bool:
    """Whether nothing is at `path` any more; a path that cannot be examined is not gone."""
    if is_remote(path):
        return remote.is_gone(path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
