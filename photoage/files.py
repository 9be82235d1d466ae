"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress


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
