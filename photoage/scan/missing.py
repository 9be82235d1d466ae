"""Known photos that are gone; never those under a root that looks unmounted."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from photoage.database.known import KnownPhotos
from photoage.photos.content import is_gone
from photoage.photos.walk import check_roots


@dataclass(frozen=True, slots=True)
class Missing:
    """Ids of photos that are gone, and roots that cannot be trusted to show what is there."""

    ids: list[int]
    untrusted: tuple[str, ...]


def find_missing(known: KnownPhotos, roots: Sequence[str], seen: Container[int]) -> Missing:
    """Photos under the roots whose ids were not seen, and whose files are really gone."""
    check = check_roots(roots)
    untrusted = (*check.absent, *check.empty)
    trusted = [root for root in roots if root not in untrusted]
    gone = [photo.id for photo in known.unseen(trusted, seen) if is_gone(photo.path)]
    return Missing(gone, untrusted)
