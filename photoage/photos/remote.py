"""Photos on storage that fsspec reaches, such as `s3://bucket/folder`. Loads fsspec only for such paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from photoage.errors import DecodeError, LibraryError
from photoage.paths import password_of, without_password
from photoage.records import PhotoFile, WalkProblem, storable_ns

# What storages call the time of the last change.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
# It would be stored with every photo, and shown with it.
PASSWORD = (
    "a password does not belong into a URL; give it to fsspec by its own configuration or variable, such as"
    " FSSPEC_SFTP_PASSWORD, or use a key"
)


def check_root(root: str) -> None:
    """Raises `LibraryError` if a root is not there, cannot be examined, or would give a password away."""
    if password_of(root):
        raise LibraryError(f"{without_password(root)}: {PASSWORD}")
    try:
        _info(root)
    except FileNotFoundError as error:
        raise LibraryError(
            f"{root}: no such file or folder; nothing was scanned or marked missing"
        ) from error
    except ImportError as error:
        raise LibraryError(f"{root}: {error}; s3:// needs `pip install fsspec s3fs`") from error
    except Exception as error:  # every storage's library has errors of its own
        raise LibraryError(f"{root}: {_cause(error)}") from error


def walk(
    root: str, choose: Callable[[str, list[tuple[str, bool]]], set[str]]
) -> Iterator[PhotoFile | WalkProblem]:
    """Files under `root`, or itself, sorted within each folder.

    Of a folder and all that is in it, each a path and whether it is a folder, `choose` gives the paths to
    enter and the candidates.
    """
    try:
        info = _info(root)
    except Exception as error:  # noqa: BLE001 - every storage's library has errors of its own
        yield _problem(root, error, gone="missing")
        return
    if info["type"] != "directory":
        yield _photo(root, info)
        return
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = _entries(folder)
            chosen = choose(folder, [(path, info["type"] == "directory") for path, info in entries])
        except Exception as error:  # noqa: BLE001
            yield _problem(folder, error, gone="vanished")
            continue
        wanted = [(path, info) for path, info in entries if path in chosen]
        yield from (_photo(path, info) for path, info in wanted if info["type"] != "directory")
        folders += [path for path, info in reversed(wanted) if info["type"] == "directory"]


def examine(path: str) -> PhotoFile | WalkProblem:
    """The file as it is now."""
    if password_of(path):
        return WalkProblem(without_password(path), "unreadable", PASSWORD)
    try:
        info = _info(path)
    except Exception as error:  # noqa: BLE001
        return _problem(path, error, gone="vanished")
    if info["type"] == "directory":
        return WalkProblem(path, "not-a-file", "is a folder, not a photo")
    return _photo(path, info)


def is_empty(root: str) -> bool:
    """Whether a folder has nothing in it. Raises OSError when it cannot be listed."""
    try:
        return _info(root)["type"] == "directory" and not _entries(root)
    except OSError:
        raise
    except Exception as error:
        raise OSError(_cause(error)) from error


def is_gone(path: str) -> bool:
    """Whether nothing is at `path` any more; what cannot be examined is not gone."""
    try:
        _info(path)
    except FileNotFoundError:
        return True
    except Exception:  # noqa: BLE001
        return False
    return False


def read_file(path: str, max_bytes: int | None) -> tuple[PhotoFile, bytes]:
    """A file's bytes with the size and time they belong to.

    Raises `DecodeError` with kind `vanished`, `unreadable`, `too-large` or `changed`.
    """
    try:
        info = _info(path)
        file = _photo(path, info)
        if max_bytes is not None and file.size > max_bytes:
            raise DecodeError("too-large", f"{path}: {file.size:,} bytes, too many for a photo")
        filesystem, inner = _filesystem(path)
        data: bytes = filesystem.cat_file(inner)
    except DecodeError:
        raise
    except FileNotFoundError as error:
        raise DecodeError("vanished", f"{path}: the file is gone") from error
    except Exception as error:
        raise DecodeError("unreadable", f"{path}: {_cause(error)}") from error
    if len(data) != file.size:
        raise DecodeError("changed", f"{path}: was written to while it was read")
    return file, data


def _filesystem(path: str) -> tuple[Any, str]:
    """What reaches a path, and the path's name there."""
    import fsspec

    filesystem, inner = fsspec.url_to_fs(path)
    # Listings kept in memory would grow with the library, and hide what has changed. Not an option of
    # url_to_fs: some file systems, such as SFTP, take all that they are given for options of their own.
    filesystem.dircache.use_listings_cache = False
    return filesystem, inner


def _info(path: str) -> dict[str, Any]:
    filesystem, inner = _filesystem(path)
    info: dict[str, Any] = filesystem.info(inner)
    return info


def _entries(folder: str) -> list[tuple[str, dict[str, Any]]]:
    """Paths and details of what is in a folder, sorted."""
    filesystem, inner = _filesystem(folder)
    found = filesystem.ls(inner, detail=True)
    # Object stores list a folder's own marker, if there is one, in it.
    inside = [info for info in found if info["name"].rstrip("/") != inner.rstrip("/")]
    named = [(f"{folder}/{info['name'].rstrip('/').rpartition('/')[2]}", info) for info in inside]
    return sorted(named, key=lambda entry: entry[0])


def _photo(path: str, info: dict[str, Any]) -> PhotoFile:
    return PhotoFile(path, int(info.get("size") or 0), _time_ns(info))


def _time_ns(info: dict[str, Any]) -> int:
    value = next((info[key] for key in _TIMES if info.get(key) is not None), 0)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return storable_ns(int(value * 1_000_000_000))


def _problem(path: str, error: Exception, gone: str) -> WalkProblem:
    if isinstance(error, FileNotFoundError):
        return WalkProblem(path, gone, "no such file or folder")
    return WalkProblem(path, "unreadable", _cause(error))


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
