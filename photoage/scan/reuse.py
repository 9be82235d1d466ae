"""Content that is known already: its faces are kept, or taken over, instead of being detected again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

from photoage.database.store import Store
from photoage.paths import is_remote
from photoage.photos.content import is_gone
from photoage.scan.plan import Action, Planned, PlanOptions


@dataclass(frozen=True, slots=True)
class Reused:
    """What a file turned out to be, and the stored photo that now stands for it.

    `moved`: the file of a stored photo, at another path; `copy`: a duplicate of a stored photo.
    """

    kind: Literal["same", "moved", "copy"]
    photo_id: int


def reuse(store: Store, photo: Planned, digest: str, options: PlanOptions) -> Reused | None:
    """Give a file the faces already stored for the same content, if there are usable ones."""
    file = photo.file
    same = [
        known
        for known in store.known.by_content(digest, file.size)
        if known.status != "unreadable" and options.without_change(known) is Action.UNCHANGED
    ]
    own = next((known for known in same if known.path == file.path), None)
    if own is not None:
        store.touch(own.id, file)
        return Reused("same", own.id)
    if not same:
        return None
    moved = next((known for known in same if _has_moved(known.path, file.path)), None)
    if moved is not None and photo.known is None:
        store.relink(moved.id, file)
        return Reused("moved", moved.id)
    return Reused("copy", store.copy_faces(same[0].id, file))


def _has_moved(old: str, new: str) -> bool:
    """Whether the file that was at `old` is not there any more, but at `new`.

    Some file systems still find it at `old` where the names differ in capitals alone, or in how accents
    are written.
    """
    if is_gone(old):
        return True
    if is_remote(old) or is_remote(new) or _folded(old) != _folded(new):
        return False
    try:
        before, after = os.stat(old), os.stat(new)
    except OSError:
        return False
    # Two names of a hard link are two photos.
    return os.path.samestat(before, after) and after.st_nlink == 1


def _folded(path: str) -> str:
    return normalize("NFC", path).casefold()
