"""Content that is known already: its faces are kept, or taken over, instead of being detected again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from photoage.database.store import Store
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
    moved = next((known for known in same if is_gone(known.path)), None)
    if moved is not None and photo.known is None:
        store.relink(moved.id, file)
        return Reused("moved", moved.id)
    return Reused("copy", store.copy_faces(same[0].id, file))
