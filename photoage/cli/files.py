"""Output files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from photoage.errors import PhotoageError


@contextmanager
def replacing_path(target: Path) -> Iterator[Path]:
    """The path of a file to make, which takes the place of `target` once it is complete and on disk.

    Raises `PhotoageError` when it cannot be written; `target` is then as it was before. For a pipe or
    device, which can only be written to, it is `target` itself.
    """
    final = Path(os.path.realpath(target))  # a link stays a link
    partial = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        if final.is_dir():
            raise IsADirectoryError(None, "is a folder")
        if final.exists() and not final.is_file():
            partial = final
        if partial != final:
            partial.touch()
        yield partial
        if partial != final:
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            if final.exists():
                shutil.copymode(final, partial)
            partial.replace(final)
    except BaseException as error:
        if partial != final:
            with suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            raise PhotoageError(f"{target}: cannot be written ({error.strerror})") from error
        raise


@contextmanager
def replacing(target: Path, errors: str) -> Iterator[TextIO]:
    """The same, opened for UTF-8 text without newline translation."""
    with replacing_path(target) as path, open(path, "w", encoding="utf-8", errors=errors, newline="") as file:
        yield file


@contextmanager
def replacing_binary(target: Path) -> Iterator[BinaryIO]:
    """The same, opened for bytes."""
    with replacing_path(target) as path, open(path, "wb") as file:
        yield file
