"""What becomes of the photos of a scan: stored, counted, and warned about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from photoage.database.known import IdSet, KnownPhoto, chunks
from photoage.database.store import Store
from photoage.errors import DecodeError
from photoage.faces.read import ReadPhoto
from photoage.photos.skips import PassedOver
from photoage.pool import Outcome
from photoage.records import Estimate, PhotoFaces, PhotoFile, RunCounts, WalkProblem
from photoage.scan.engine import Finished, Looked, PhotoTask, Task
from photoage.scan.missing import Missing
from photoage.scan.plan import Action, Planned, PlanOptions
from photoage.scan.reuse import reuse
from photoage.scan.tasks import InFlight

_log = logging.getLogger(__name__)  # a line for each photo, at debug level
NAMED = 20  # photos left for the next scan that are named; an unplugged drive has thousands


@dataclass(slots=True)
class ScanSummary:
    """What a scan did. `warnings` are one-line texts for the user.

    `excluded`: stored photos that it leaves out; `forgotten`: those of them that are stored no more.
    `passed`: what the scan passed over.
    """

    run_id: int
    counts: RunCounts
    interrupted: bool = False
    warnings: list[str] = field(default_factory=list)
    excluded: int = 0
    forgotten: int = 0
    passed: PassedOver = field(default_factory=PassedOver)


class Record:
    """Stores what comes out of the stages of one scan, and keeps count."""

    def __init__(
        self,
        store: Store,
        options: PlanOptions,
        in_flight: InFlight,
        progress: Callable[[RunCounts], None] = lambda counts: None,
    ) -> None:
        self.counts = RunCounts()
        self.seen = IdSet()  # photos that are there, for the search for missing ones
        self.suspects: list[Planned] = []  # to be compared when all else is stored
        self._copies: list[tuple[Planned, str]] = []  # of photos that this very scan reads
        self._store, self._options, self._in_flight, self._progress = store, options, in_flight, progress
        self._warnings: dict[str, None] = {}  # in their order, each once
        self._excluded = self._forgotten = 0  # stored photos that this scan leaves out
        self._took: dict[str, float] = {}  # seconds to read photos whose content may be stored, by path
        self._left = 0  # photos that vanished or changed under the scan
        self._pictures = 0  # that photoage made

    def save(self, finished: Iterable[Sequence[Finished[Task]]]) -> None:
        """Store photos as they come, as many together as come together."""
        for together in finished:
            self._save(together)
            self._store.commit()
            self._in_flight.remove(together)
            self._progress(self.counts)

    def _save(self, finished: Iterable[Finished[Task]]) -> None:
        fresh: list[tuple[PhotoFile, PhotoFaces, list[Estimate]]] = []
        copies: list[tuple[Planned, str]] = []
        for outcome, estimates in finished:
            task, photo = outcome.task, outcome.value
            if isinstance(task, Looked):
                for planned in task.photos:
                    self._look(planned)
            elif photo is None:
                assert outcome.failure is not None
                self._fail(task.file, task.known, outcome.failure, outcome.seconds)
            elif task.only_date:
                self._date(task, photo, outcome.seconds)
            elif photo.known:
                copy = Planned(photo.file, task.known, Action.COMPARE)
                copies.append((copy, photo.faces.content_hash))
                self._took[photo.file.path] = outcome.seconds
            elif task.faces is None:
                fresh.append((photo.file, photo.faces, estimates))
                self._pictures += photo.own
                _tell(photo.file, "read", outcome.seconds, len(estimates))
            else:
                self._estimate_again(task, photo, estimates, outcome.seconds)
        self._copies += self._reuse(copies)
        self.seen.update(self._store.save_many(fresh))
        self.counts.done += len(fresh)
        self.counts.faces += sum(len(estimates) for _, _, estimates in fresh)

    def reuse_known(self, hashed: Iterable[Outcome[Planned, tuple[PhotoFile, str]]]) -> list[Planned]:
        """Settle suspects whose content is known; those that are left must be read."""
        suspects: list[tuple[Planned, str]] = []
        for outcome in hashed:
            suspect = outcome.task
            if outcome.value is None:
                assert outcome.failure is not None
                self._fail(suspect.file, suspect.known, outcome.failure, outcome.seconds)
                continue
            file, digest = outcome.value
            suspects.append((Planned(file, suspect.known, suspect.action), digest))
            self._took[file.path] = outcome.seconds
        unknown: dict[str, Planned] = {}
        for photo, digest in self._reuse(suspects):
            if digest in unknown:
                self._copies.append((photo, digest))
            else:
                unknown[digest] = photo
        self._store.commit()
        return [Planned(photo.file, photo.known, Action.READ) for photo in unknown.values()]

    def reuse_copies(self) -> list[Planned]:
        """Settle copies of photos that this scan has read; those that are left must be read.

        What cannot be reused is a copy of a photo that failed; it fails in its own name.
        """
        unsettled = [left for some in chunks(self._copies) for left in self._reuse(some)]
        self._store.commit()
        return [Planned(photo.file, photo.known, Action.READ) for photo, _ in unsettled]

    def set_missing(self, missing: Missing, *, prune: bool) -> None:
        """Mark photos that are gone, or forget them; but none that may be on a drive that is not there.

        Those that the scan leaves out are forgotten as well, or stay as they are.
        """
        for root in missing.untrusted:
            self.warn(f"{root}: is absent or empty; photos known from there were not marked missing")
        self._excluded = len(missing.excluded)
        if prune:
            self._forgotten = self._excluded
            self._store.prune([*missing.ids, *missing.excluded])
            self._store.mark_missing(missing.hidden)
            for folder in missing.folders:
                self.warn(f"{folder}: is empty; photos known from there were marked missing, not forgotten")
        else:
            self._store.mark_missing([*missing.ids, *missing.hidden])
        self.counts.missing += len(missing.ids) + len(missing.hidden)
        self._store.commit()

    @property
    def changed(self) -> bool:
        """Whether the scan stored or forgot anything."""
        changed = self.counts.missing + self._forgotten > 0
        return changed or self.counts.unchanged < self.counts.seen

    def finish(
        self, problems: Iterable[WalkProblem], passed: PassedOver, *, interrupted: bool
    ) -> ScanSummary:
        for problem in problems:
            self.warn(f"{problem.path}: {problem.message}")
        if self._left > NAMED:
            self.warn(f"{self._left - NAMED} more photos vanished or changed; they were left as well")
        passed.pictures += self._pictures
        self._store.finish_run("interrupted" if interrupted else "finished", self.counts)
        self._progress(self.counts)
        return ScanSummary(
            self._store.run_id,
            self.counts,
            interrupted,
            list(self._warnings),
            excluded=self._excluded,
            forgotten=self._forgotten,
            passed=passed,
        )

    def warn(self, text: str) -> None:
        """Keep a one-line text for the user, once."""
        self._warnings[text] = None

    # --- one photo ------------------------------------------------------------------------------

    def _look(self, photo: Planned) -> None:
        self.counts.seen += 1
        if photo.known is not None:
            self.seen.add(photo.known.id)
        if photo.action is Action.UNCHANGED:
            self.counts.unchanged += 1
            if photo.known is not None and photo.known.status == "missing":
                self._store.mark_present(photo.known.id)
            _tell(photo.file, "unchanged")
        elif not photo.is_to_read:
            self.suspects.append(photo)

    def _reuse(self, photos: Sequence[tuple[Planned, str]]) -> list[tuple[Planned, str]]:
        """Settle photos, each with the hash of its content, whose content is stored; the others."""
        left = []
        for photo, reused in zip(photos, reuse(self._store, photos, self._options), strict=True):
            seconds = self._took.pop(photo[0].file.path, 0.0)
            if reused is None:
                left.append(photo)
                continue
            self.seen.add(reused.photo_id)
            _tell(photo[0].file, _REUSED[reused.kind], seconds)
            match reused.kind:
                case "same":
                    self.counts.unchanged += 1
                case "moved":
                    self.counts.relinked += 1
                case "copy":
                    self.counts.duplicates += 1
        return left

    def _estimate_again(
        self, task: PhotoTask, photo: ReadPhoto, estimates: list[Estimate], seconds: float
    ) -> None:
        if task.known is not None and photo.faces.content_hash == task.known.content_hash:
            self._store.redate(task.known.id, photo.file)
            self._store.add_estimates(task.known.id, estimates, photo.faces.quality)
            self.counts.re_estimated += 1
            _tell(photo.file, "estimated again", seconds, len(estimates))
        else:
            # The file changed between the walk and now: its landmarks are another picture's.
            changed = DecodeError("changed", f"{task.file.path}: changed during the scan")
            self._fail(task.file, task.known, changed, seconds)

    def _date(self, task: PhotoTask, photo: ReadPhoto, seconds: float) -> None:
        if task.known is not None:
            self._store.redate(task.known.id, photo.file)
            if task.known.status == "missing":
                self._store.mark_present(task.known.id)
            self.counts.redated += 1
            _tell(photo.file, "dated again", seconds)

    def _fail(self, file: PhotoFile, known: KnownPhoto | None, failure: DecodeError, seconds: float) -> None:
        _tell(file, f"not read ({failure.kind})", seconds)
        if failure.kind in ("vanished", "changed"):
            # Not a fault of the file: the next scan sees it as it is then.
            if failure.kind == "vanished" and known is not None:
                self.seen.discard(known.id)
            self._left += 1
            if self._left <= NAMED:
                self.warn(f"{failure}; it was left for the next scan")
            return
        self.seen.add(self._store.save_unreadable(file, failure.kind, str(failure)))
        self.counts.unreadable += 1


_REUSED = {"same": "content unchanged", "moved": "moved", "copy": "duplicate"}


def _tell(file: PhotoFile, what: str, seconds: float = 0.0, faces: int = 0) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        found = "1 face" if faces == 1 else f"{faces} faces"
        _log.debug("%s: %s, %.0f ms, %s", file.path, what, seconds * 1000, found)
