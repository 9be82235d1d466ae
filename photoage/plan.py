"""What a scan has to do with each file: nothing, hash it, read it, or only estimate anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from photoage import remote
from photoage.known import KnownPhoto, KnownPhotos
from photoage.records import PhotoFile, WalkProblem

CHUNK = 500  # files looked up in the database with one query


class Action(Enum):
    UNCHANGED = "unchanged"
    HASH = "hash"  # its content may be known already: an edit of the date only, a move, a duplicate
    READ = "read"
    ESTIMATE = "estimate"  # its faces are known, but not their ages by this checkpoint


@dataclass(frozen=True, slots=True)
class Planned:
    file: PhotoFile
    known: KnownPhoto | None
    action: Action


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """`detector_id` and `detect_key` identify how faces are found in this scan."""

    detector_id: int
    detect_key: str
    force: bool = False
    retry_errors: bool = False
    checksum: bool = False


class Plan:
    """Iterates over files as `Planned`; collects what the walk could not enter."""

    def __init__(
        self, found: Iterable[PhotoFile | WalkProblem], store: KnownPhotos, options: PlanOptions
    ) -> None:
        self.problems: list[WalkProblem] = []
        self._found, self._store, self._options = found, store, options
        self._sizes_in_flight: dict[int, int] = {}

    def __iter__(self) -> Iterator[Planned]:
        source = self._files()
        while files := list(islice(source, CHUNK)):
            known = self._store.known([file.path for file in files])
            unknown = {f.size for f in files if (k := known.get(f.path)) is None or _changed(f, k)}
            sizes = self._store.sizes_known(unknown)
            for file in files:
                action = self._action(file, known.get(file.path), sizes)
                if action is Action.READ:
                    # A later file of this size may be a duplicate of this one.
                    sizes.add(file.size)
                    self._sizes_in_flight[file.size] = self._sizes_in_flight.get(file.size, 0) + 1
                yield Planned(file, known.get(file.path), action)

    def stored(self, file: PhotoFile) -> None:
        """Tell the plan that a file planned as READ is in the database now."""
        left = self._sizes_in_flight.get(file.size, 0) - 1
        if left > 0:
            self._sizes_in_flight[file.size] = left
        else:
            self._sizes_in_flight.pop(file.size, None)

    def _files(self) -> Iterator[PhotoFile]:
        for entry in self._found:
            if isinstance(entry, WalkProblem):
                self.problems.append(entry)
            else:
                yield entry

    def _action(self, file: PhotoFile, known: KnownPhoto | None, sizes: set[int]) -> Action:
        options = self._options
        if options.force:
            return Action.READ
        if known is not None and not _changed(file, known):
            if known.status == "unreadable":
                # A fault of the program or its installation, not of the photo, does not stay.
                retry = options.retry_errors or known.error_kind == "internal"
                return Action.READ if retry else Action.UNCHANGED
            if options.checksum and known.content_hash is not None:
                return Action.HASH
            return self.without_change(known)
        if file.size in sizes or file.size in self._sizes_in_flight:
            return Action.HASH
        return Action.READ

    def without_change(self, known: KnownPhoto) -> Action:
        """What a photo needs whose content is the same as when it was stored."""
        if (known.detector_id, known.detect_key) != (self._options.detector_id, self._options.detect_key):
            return Action.READ
        return Action.UNCHANGED if known.estimated else Action.ESTIMATE


def _changed(file: PhotoFile, known: KnownPhoto) -> bool:
    return (file.size, file.mtime_ns) != (known.size, known.mtime_ns)


def is_gone(path: str) -> bool:
    """Whether nothing is at `path` any more; a path that cannot be examined is not gone."""
    if remote.is_remote(path):
        return remote.is_gone(path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
