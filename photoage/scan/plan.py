"""What a scan has to do with each file: nothing, compare it, read it, or only estimate anew."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from photoage.database.known import KnownPhoto, KnownPhotos
from photoage.errors import PASSING_KINDS
from photoage.records import PhotoFile, WalkProblem
from photoage.scan.options import ScanOptions

CHUNK = 500  # files looked up in the database with one query


class Action(Enum):
    UNCHANGED = "unchanged"
    COMPARE = "compare"  # its content may be known already: an edit of the date only, a move, a duplicate
    READ = "read"
    DATE = "date"  # its faces are known; files beside it have changed, or its date is asked for anew
    ESTIMATE = "estimate"  # its faces are known, but not their ages by this checkpoint


@dataclass(frozen=True, slots=True)
class Planned:
    """`hashes`, with COMPARE: contents that it may have.

    Without them (not known yet, or too many to hand out) it is a suspect: compared when all else is stored.
    """

    file: PhotoFile
    known: KnownPhoto | None
    action: Action
    hashes: frozenset[str] = frozenset()

    @property
    def is_to_read(self) -> bool:
        return self.action in (Action.READ, Action.ESTIMATE, Action.DATE) or bool(self.hashes)

    @property
    def is_retry(self) -> bool:
        """Whether the same file could not be read by an earlier scan."""
        known = self.known
        return known is not None and known.status == "unreadable" and not _changed(self.file, known)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """`detector_id` and `detect_key` identify how faces are found in this scan.

    `defer`: photos whose content may be known are all suspects.
    """

    detector_id: int
    detect_key: str
    force: bool = False
    retry_errors: bool = False
    checksum: bool = False
    redate: bool = False
    defer: bool = False

    @classmethod
    def of(cls, options: ScanOptions, known: KnownPhotos) -> PlanOptions:
        """How to plan with these options, for a database in which the scan's models were looked up."""
        return cls(
            known.detector_id,
            options.detect.key,
            force=options.force,
            retry_errors=options.retry_errors,
            checksum=options.checksum,
            redate=options.redate,
            # A limit counts photos that were read, not those that turned out to be known.
            defer=options.limit is not None,
        )

    def without_change(self, known: KnownPhoto) -> Action:
        """What a photo needs whose content is the same as when it was stored."""
        if (known.detector_id, known.detect_key) != (self.detector_id, self.detect_key):
            return Action.READ
        return Action.UNCHANGED if known.estimated else Action.ESTIMATE


class Plan:
    """Iterates over files as `Planned`, some at a time; collects what the walk could not enter.

    `in_flight`: sizes, at any moment, of photos that were planned to be read and are not stored yet.
    """

    def __init__(
        self,
        found: Iterable[PhotoFile | WalkProblem],
        known: KnownPhotos,
        options: PlanOptions,
        in_flight: Container[int] = (),
    ) -> None:
        self.problems: list[WalkProblem] = []
        self._found, self._known, self._options, self._in_flight = found, known, options, in_flight

    def __iter__(self) -> Iterator[list[Planned]]:
        source = self._files()
        while files := list(islice(source, CHUNK)):
            known = self._known.by_path([file.path for file in files])
            unknown = {f.size for f in files if (k := known.get(f.path)) is None or _changed(f, k)}
            # A file may be a copy of one that is not stored yet, or was not when the database was asked.
            unsettled = {size for size in unknown if size in self._in_flight}
            hashes = self._known.hashes_by_size(unknown)
            planned = []
            for file in files:
                planned.append(self._planned(file, known.get(file.path), hashes, unsettled))
                if planned[-1].action is Action.READ or planned[-1].hashes:
                    unsettled.add(file.size)
            yield planned

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
                retry = options.retry_errors or known.error_kind in PASSING_KINDS
                return Planned(file, known, Action.READ if retry else Action.UNCHANGED)
            if options.checksum and known.content_hash is not None:
                return self._compare(file, known, frozenset([known.content_hash]))
            action = options.without_change(known)
            if action is Action.UNCHANGED and (options.redate or file.sidecars != known.sidecars):
                action = Action.DATE
            return Planned(file, known, action)
        if file.size in unsettled:
            return Planned(file, known, Action.COMPARE)
        if file.size in hashes:
            return self._compare(file, known, hashes[file.size])
        return Planned(file, known, Action.READ)

    def _compare(self, file: PhotoFile, known: KnownPhoto | None, hashes: frozenset[str]) -> Planned:
        return Planned(file, known, Action.COMPARE, frozenset() if self._options.defer else hashes)


def _changed(file: PhotoFile, known: KnownPhoto) -> bool:
    return file.mtime_ns != known.mtime_ns or file.size != known.size
