"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from functools import lru_cache
from pathlib import Path


def write_whole(path: str, content: bytes) -> None:
    """Write a file, or put it in the place of the one that is there, of which it keeps the permissions.

    Raises `OSError`; what was at `path` is then as it was. A link stays a link.
    """
    final = os.path.realpath(path)
    partial = os.path.join(os.path.dirname(final), f".photoage-{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            if replaces := os.path.exists(final):
                file.flush()
                os.fsync(file.fileno())  # there is something to lose
        if replaces:
            with suppress(PermissionError):  # network file systems that have no permissions to set
                shutil.copymode(final, partial)
        os.replace(partial, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


@lru_cache(maxsize=16)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, remembered while its size and modification time stay the same."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)
