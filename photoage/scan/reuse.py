"""Content that is known already: its faces are kept, or taken over, instead of being detected again."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal
from unicodedata import normalize

from photoage.database.known import KnownPhoto
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


def reuse(store: Store, photos: Sequence[tuple[Planned, str]], options: PlanOptions) -> list[Reused | None]:
    """Give files the faces already stored for the same content, of which each comes with the hash.

    None for those of which no usable ones are stored. Many copies of one content cost little more than
    one: it is looked for once, and what is stored is copied together.
    """
    # Their rows get other faces, so that they are no sources for the others.
    changing = {p.known.id for p, digest in photos if p.known is not None and p.known.content_hash != digest}
    contents: dict[tuple[str, int], _Content] = {}
    found: list[Reused | None] = [None] * len(photos)
    copies: dict[int, int] = {}  # number of the photo to the id of its source
    later: list[int] = []
    for number, (photo, digest) in enumerate(photos):
        file, known = photo.file, photo.known
        if known is not None and known.content_hash == digest and _is_usable(known, options):
            store.touch(known.id, file)
            found[number] = Reused("same", known.id)
            continue
        key = (digest, file.size)
        if key not in contents:
            same = store.known.by_content(*key)
            contents[key] = _Content([each for each in same if _is_usable(each, options)])
        content = contents[key]
        if known is None and (moved := content.take_moved(file.path)) is not None:
            store.relink(moved.id, file)
            found[number] = Reused("moved", moved.id)
        elif (source := content.source_but(changing)) is not None:
            copies[number] = source.id
        elif content.usable:
            later.append(number)
    if copies:
        ids = store.copy_faces((source, photos[number][0].file) for number, source in copies.items())
        for number in copies:
            found[number] = Reused("copy", ids[photos[number][0].file.path])
    for number in later:
        (found[number],) = reuse(store, [photos[number]], options)
    return found


def _is_usable(known: KnownPhoto, options: PlanOptions) -> bool:
    return known.status != "unreadable" and options.without_change(known) is Action.UNCHANGED


class _Content:
    """The stored photos of one content whose faces can be used."""

    def __init__(self, usable: list[KnownPhoto]) -> None:
        self.usable = usable
        self._unexamined = list(reversed(usable))
        self._by_letters = {_letters(known.path): known for known in usable}

    def source_but(self, changing: Container[int]) -> KnownPhoto | None:
        return next((known for known in self.usable if known.id not in changing), None)

    def take_moved(self, path: str) -> KnownPhoto | None:
        """One whose file is not where it was any more, but at `path`. Each is given once."""
        alike = self._by_letters.pop(_letters(path), None)
        if alike is not None and _is_renamed(alike.path, path):
            return alike
        while self._unexamined:
            known = self._unexamined.pop()
            if is_gone(known.path):
                return known
        return None


def _is_renamed(old: str, new: str) -> bool:
    """Whether one file is found at both paths, which differ in capitals or in how accents are written."""
    if is_remote(old) or is_remote(new):
        return False
    try:
        before, after = os.stat(old), os.stat(new)
    except OSError:
        return False
    # Two names of a hard link are two photos.
    return os.path.samestat(before, after) and after.st_nlink == 1


def _letters(path: str) -> str:
    return normalize("NFC", path).casefold()
