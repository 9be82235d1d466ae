"""What a scan has to do with each file: nothing, compare it, read it, or only estimate anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from photoage.database.known import KnownPhoto, KnownPhotos
from photoage.records import PhotoFile, WalkProblem

CHUNK = 500  # files looked up in the database with one query


class Action(Enum):
    UNCHANGED = "unchanged"
    COMPARE = "compare"  # its content may be known already: an edit of the date only, a move, a duplicate
    READ = "read"
    ESTIMATE = "estimate"  # its faces are known, but not their ages by this checkpoint


@dataclass(frozen=True, slots=True)
class Planned:
    """`hashes`, with COMPARE: contents that it may have. Empty: not known yet, or too many to hand out."""

    file: PhotoFile
    known: KnownPhoto | None
    action: Action
    hashes: frozenset[str] = frozenset()


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
        self._in_flight: dict[int, set[str]] = {}  # size to the paths of photos that are being read

    def __iter__(self) -> Iterator[Planned]:
        source = self._files()
        while files := list(islice(source, CHUNK)):
            known = self._store.known([file.path for file in files])
            unknown = {f.size for f in files if (k := known.get(f.path)) is None or _changed(f, k)}
            # A file may be a copy of one that is not stored yet, or was not when the database was asked.
            unsettled = unknown & self._in_flight.keys()
            hashes = self._store.hashes_by_size(unknown)
            for file in files:
                planned = self._planned(file, known.get(file.path), hashes, unsettled)
                if planned.action is Action.READ or planned.hashes:
                    unsettled.add(file.size)
                    self._in_flight.setdefault(file.size, set()).add(file.path)
                yield planned

    def stored(self, file: PhotoFile) -> None:
        """Tell the plan that nothing more will come of a file that it gave to be read or compared."""
        paths = self._in_flight.get(file.size, set())
        paths.discard(file.path)
        if not paths:
            self._in_flight.pop(file.size, None)

    def _files(self) -> Iterator[PhotoFile]:
        for entry in self._found:
            if isinstance(entry, WalkProblem):
                self.problems.append(entry)
            else:
                yield entry

    def _planned(
        self,
        file: PhotoFile,
        known: KnownPhoto | None,
        hashes: dict[int, frozenset[str]],
        unsettled: set[int],
    ) -> Planned:
        options = self._options
        if options.force:
            return Planned(file, known, Action.READ)
        if known is not None and not _changed(file, known):
            if known.status == "unreadable":
                # A fault of the program or its installation, not of the photo, does not stay.
                retry = options.retry_errors or known.error_kind == "internal"
                return Planned(file, known, Action.READ if retry else Action.UNCHANGED)
            if options.checksum and known.content_hash is not None:
                return Planned(file, known, Action.COMPARE, frozenset([known.content_hash]))
            return Planned(file, known, self.without_change(known))
        if file.size in unsettled:
            return Planned(file, known, Action.COMPARE)
        if file.size in hashes:
            return Planned(file, known, Action.COMPARE, hashes[file.size])
        return Planned(file, known, Action.READ)

    def without_change(self, known: KnownPhoto) -> Action:
        """What a photo needs whose content is the same as when it was stored."""
        if (known.detector_id, known.detect_key) != (self._options.detector_id, self._options.detect_key):
            return Action.READ
        return Action.UNCHANGED if known.estimated else Action.ESTIMATE


def _changed(file: PhotoFile, known: KnownPhoto) -> bool:
    return (file.size, file.mtime_ns) != (known.size, known.mtime_ns)
