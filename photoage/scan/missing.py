"""Known photos that are gone; never those under a root, or in a folder, that looks unmounted."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass

from photoage.database.known import KnownPhotos
from photoage.paths import is_remote
from photoage.photos.content import is_gone
from photoage.photos.walk import WalkOptions, check_roots, exclusion


@dataclass(frozen=True, slots=True)
class Missing:
    """Ids of photos that are gone.

    `hidden` are those whose folder is there but empty, as the mount point of a drive that is not plugged in,
    and `folders` those folders; `untrusted` are roots of which nothing can be said. `excluded` are ids of
    photos that are there, but were left out by the scan's patterns, or are where it does not look.
    """

    ids: list[int]
    hidden: list[int]
    folders: list[str]
    untrusted: list[str]
    excluded: list[int]


def find_missing(
    known: KnownPhotos,
    roots: Sequence[str],
    seen: Container[int],
    options: WalkOptions = WalkOptions(),
    *,
    again: bool = False,
) -> Missing:
    """Photos under the roots whose ids were not seen: because they are gone, or left out by `options`.

    With `again`, those that an earlier scan marked missing, too, but for those that are hidden still.
    """
    check = check_roots(roots)
    untrusted = [*check.absent, *check.empty]
    trusted = [root for root in roots if root not in untrusted]
    missing = Missing([], [], [], untrusted, [])
    excludes = exclusion(trusted, options) if options.exclude or options.skip else None
    empty: dict[str, str | None] = {}
    folders: set[str] = set()
    for photo in known.unseen(trusted, seen, missing=again):
        if is_gone(photo.path):
            parent = os.path.dirname(photo.path)
            if parent not in empty:
                empty[parent] = _empty_folder(parent)
            if (folder := empty[parent]) is None:
                missing.ids.append(photo.id)
            elif photo.status != "missing":
                missing.hidden.append(photo.id)
                folders.add(folder)
        elif excludes is not None and excludes(photo.path):
            missing.excluded.append(photo.id)
    missing.folders.extend(sorted(folders))
    return missing


def _empty_folder(folder: str) -> str | None:
    """The innermost folder around a path, or itself, that is there, if nothing is in it."""
    if is_remote(folder):
        return None
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        with os.scandir(folder) as entries:
            return folder if next(entries, None) is None else None
    except OSError:
        return None
