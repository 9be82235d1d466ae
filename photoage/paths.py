"""Paths of photos: in the file system, or URLs of object storage."""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit


def absolute(path: str) -> str:
    """The path as it is stored: whatever it is relative to, and without doubled or trailing slashes.

    A file:// URL is the path that it names.
    """
    if path.startswith(_FILE_URL):
        path = path.removeprefix(_FILE_URL) or "/"
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def password_of(path: str) -> str | None:
    """The password in a URL such as `sftp://user:password@host/photos`, None where there is none."""
    return _parts(path).password if is_remote(path) else None


def without_password(path: str) -> str:
    """How messages show a path."""
    if not password_of(path):
        return path
    parts = _parts(path)
    return parts._replace(netloc=f"{parts.username or ''}@{parts.netloc.rpartition('@')[2]}").geturl()


def _parts(path: str) -> SplitResult:
    try:
        return urlsplit(path)
    except ValueError:  # half an IPv6 address, perhaps
        return SplitResult("", "", path, "", "")


_FILE_URL = "file://"  # before an absolute path: what is on this machine has one name
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_remote(path: str) -> bool:
    return _SCHEME.match(path) is not None
