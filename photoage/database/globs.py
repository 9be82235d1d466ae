"""The globs of paths in filters, as docs/database.md describes them, in SQL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from sqlalchemy import ColumnElement, func

from photoage.database.dialect import glob
from photoage.database.tables import PathText
from photoage.paths import is_remote


def path_tests(path: ColumnElement[str], pattern: str) -> Iterator[ColumnElement[bool]]:
    """The conditions under which a path matches the pattern."""
    if os.altsep and not is_remote(pattern):  # Windows takes either slash
        pattern = pattern.replace(os.altsep, os.sep)
    # SQL negates a set of characters with ^, shells with ! as well.
    pattern = re.sub(r"\[(!?)(\]?[^\]]*\])", lambda m: f"[{'^' if m[1] else ''}{m[2]}", pattern)
    if os.sep not in pattern:
        folder = func.rtrim(path, func.replace(path, os.sep, ""))  # all but the characters after the last /
        name = func.substr(path, func.length(folder) + 1, type_=PathText())
        yield glob(path, f"*{os.sep}{pattern}")  # the cheap test first
        yield glob(name, pattern)
    else:
        anywhere = "" if _is_absolute(pattern) or pattern.startswith("*") else f"*{os.sep}"
        inside = "*" if pattern.endswith(os.sep) else ""
        yield glob(path, f"{anywhere}{pattern}{inside}")


def folder_of(pattern: str) -> str:
    """The folder, ending in a slash, that holds everything the pattern matches; empty if unknown."""
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    folder = literal[: literal.rfind(os.sep) + 1]
    return folder if _is_absolute(folder) and folder.count(os.sep) > 1 else ""


def _is_absolute(pattern: str) -> bool:
    return os.path.isabs(pattern) or is_remote(pattern)
