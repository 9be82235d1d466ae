"""Paths of photos: in the file system, or URLs of object storage."""

from __future__ import annotations

import os
import re


def absolute(path: str) -> str:
    """The path as it is stored: whatever it is relative to, and without doubled or trailing slashes."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_remote(path: str) -> bool:
    return _SCHEME.match(path) is not None
