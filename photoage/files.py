"""Files that appear whole or not at all, streams that are added to, and the sha256 of files."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TextIO

from photoage.errors import PhotoageError

_OPEN_FILES = re.compile(r"/dev/fd|/proc/(\d+)(?:/task/\d+)?/fd")
_LINKS = 40  # that are followed, as Linux does


@contextmanager
def replacing_path(target: str | Path) -> Iterator[Path]:
    """The path of an empty file, which takes the place of `target` once it is complete and on disk.

    For what writes by name; the others add to streams, too. Raises `PhotoageError` when it cannot be
    written, or is a stream; `target` is then as it was before. A link stays a link.
    """
    with _one_line(target):
        if is_stream(target):
            raise OSError(None, "is no file that could be replaced")
        with _new_file(target, durable=True) as partial:
            yield Path(partial)


@contextmanager
def replacing_binary(target: str | Path) -> Iterator[BinaryIO]:
    """A file for bytes that replaces `target` like `replacing_path`; to a stream (`is_stream`), it adds."""
    with _one_line(target), _opened(target) as file:
        yield file


@contextmanager
def replacing_text(target: str | Path, errors: str = "strict") -> Iterator[TextIO]:
    """As `replacing_binary`, for UTF-8 text without newline translation."""
    with replacing_binary(target) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors=errors, newline="")
        try:
            yield text
            text.flush()
        finally:
            with suppress(OSError, ValueError):  # what is buffered after an error is given up
                text.detach()


def write_whole(path: str, content: bytes) -> None:
    """Write a small file at once. Unlike the others it raises `OSError`, and waits for the disk only
    where there is something to lose: an old file.
    """
    with _opened(path, durable=os.path.exists(path)) as file:
        file.write(content)


def is_stream(target: str | Path) -> bool:
    """Whether `target` is to be added to, never replaced: a pipe, a device, a socket or an open file
    of a process, such as `/dev/stdout` or `/dev/fd/3`, even where that is a file on disk.
    """
    if _open_file(target) is not None:
        return True
    try:
        mode = os.stat(target).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def _opened(target: str | Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Raises `OSError`."""
    if is_stream(target):
        with _stream(target) as file:
            yield file
    else:
        with _new_file(target, durable=durable) as partial, open(partial, "r+b") as file:
            yield file


def _stream(target: str | Path) -> BinaryIO:
    found = _open_file(target)
    if found is not None and found[0] == os.getpid():
        # Opened by its name, a file on disk would be written from its start; this goes on where the
        # shell, or whoever opened it, has come to.
        return open(os.dup(found[1]), "wb")
    return open(target, "ab")


def _open_file(target: str | Path) -> tuple[int, int] | None:
    """The process and the descriptor of the open file that a path names, in /dev or /proc."""
    path = os.path.abspath(target)
    for _ in range(_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        where = _OPEN_FILES.fullmatch(folder)
        if where and name.isdecimal():
            return int(where[1] or os.getpid()), int(name)
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


@contextmanager
def _new_file(target: str | Path, *, durable: bool) -> Iterator[str]:
    """The one place that writes whole files. Raises `OSError`."""
    final = os.path.realpath(target)  # a link stays a link
    if os.path.isdir(final):
        raise IsADirectoryError(None, "is a folder")
    # Of a name that nobody can foresee, and made anew: a link that was put there is not followed.
    partial = os.path.join(os.path.dirname(final), f".photoage-{secrets.token_hex(8)}.part")
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        if durable:
            with open(partial, "r+b") as file:  # Windows syncs only what is open for writing
                os.fsync(file.fileno())
        if os.path.exists(final):
            with suppress(PermissionError):  # network file systems that have no permissions to set
                shutil.copymode(final, partial)
        os.replace(partial, final)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


@contextmanager
def _one_line(target: str | Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read a stream has seen enough
    except OSError as error:
        raise PhotoageError(f"{target}: cannot be written ({error.strerror or error})") from error


@lru_cache(maxsize=16)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file, remembered while its size and modification time stay the same."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)
