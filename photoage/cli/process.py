"""What the process itself needs before a command can run: open streams, and paths that are bytes."""

from __future__ import annotations

import io
import os
import sys

UTF8_MODE = "PYTHONUTF8"


def open_streams() -> None:
    """Give stdin, stdout and stderr something to be where the caller closed them (`>&-`).

    Else the next file that is opened, the database say, would take stdout's place and get what is printed.
    As with other programs, only a command that really reads or writes such a stream fails.
    """
    for number, wrong_way in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, wrong_way)
            os.dup2(opened, number, inheritable=True)
            if opened != number:
                os.close(opened)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def use_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale would make Python read paths in another way.

    A path is bytes, and UTF-8 or not, those bytes are the same in every locale: so is what is stored of
    them. Processes that this one starts inherit the mode. Does not return where it starts again.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get(UTF8_MODE) == "1":
        return
    os.environ[UTF8_MODE] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def keep_printing() -> None:
    """A name that the terminal's encoding lacks is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
