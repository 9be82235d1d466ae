"""The steps of one scan and the state they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from photoage.database.known import IdSet, KnownPhotos
from photoage.database.store import Store
from photoage.errors import DecodeError
from photoage.photos.content import is_gone
from photoage.photos.walk import check_roots
from photoage.records import RunCounts
from photoage.scan.engine import Engine, Finished, PhotoTask
from photoage.scan.options import ScanModels, ScanOptions
from photoage.scan.plan import Action, Plan, Planned, PlanOptions

NAMED = 20  # photos left for the next scan that are named; an unplugged drive has thousands


class ScanRun:
    """The state that the stages of one scan share. Public methods are its steps, in order."""

    plan: Plan
    engine: Engine
    run_id: int
    plan_options: PlanOptions

    def __init__(
        self,
        store: Store,
        models: ScanModels,
        options: ScanOptions,
        device: str,
        progress: Callable[[RunCounts], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.store, self.models, self.options, self.device = store, models, options, device
        self.progress, self.should_stop = progress, should_stop
        self.counts = RunCounts()
        self.warnings: list[str] = []
        self._warned: set[str] = set()
        self._left = 0  # photos that vanished or changed under the scan
        self.stopped = False
        self._seen = IdSet()  # photos that are there, for the search for missing ones
        self._to_hash: list[Planned] = []
        self._duplicates: list[tuple[Planned, str]] = []  # to be settled when all else is stored
        self._started = 0

    def begin(self, roots: Sequence[str]) -> None:
        models = self.models
        self.run_id = self.store.begin_run(
            roots,
            self.options.recorded(),
            (models.detector.name, models.detector.sha256),
            (models.info.name, models.checkpoint_sha256),
        )
        self.plan_options = plan_options(self.store, self.options)

    # --- what to do ---------------------------------------------------------------------------

    def fresh(self) -> Iterator[PhotoTask]:
        """Photos that may be new work; others are counted, or put aside until these are stored."""
        for planned in self.plan:
            if self.must_stop():
                return
            self.counts.seen += 1
            if planned.known is not None:
                self._seen.add(planned.known.id)
            match planned.action:
                case Action.UNCHANGED:
                    self._unchanged(planned)
                case Action.COMPARE if not planned.hashes or self.options.limit is not None:
                    # A limit counts photos that were read, not those that turned out to be known.
                    self._to_hash.append(planned)
                case Action.COMPARE | Action.READ | Action.ESTIMATE:
                    yield from self._task(planned)

    def suspects(self) -> Iterator[PhotoTask]:
        """Photos put aside: hash them, reuse what is known, read the others."""
        claimed: set[str] = set()
        for outcome in self.engine.hash(self._until_stop(self._to_hash)):
            planned = outcome.task
            if outcome.failure is not None:
                self._fail(PhotoTask(planned.file, planned.known), outcome.failure)
                continue
            assert outcome.value is not None
            file, digest = outcome.value
            planned = Planned(file, planned.known, planned.action)
            if digest in claimed:
                self._duplicates.append((planned, digest))
            elif not self._reuse(planned, digest):
                claimed.add(digest)
                yield from self._task(Planned(file, planned.known, Action.READ))
        self.store.commit()

    def settle_duplicates(self) -> None:
        """Copies of photos that this very scan has read."""
        unsettled = [p for p, digest in self._until_stop(self._duplicates) if not self._reuse(p, digest)]
        self.store.commit()
        # What could not be reused is a copy of a photo that failed; it fails in its own name.
        self.read(chain.from_iterable(self._task(Planned(p.file, p.known, Action.READ)) for p in unsettled))

    def _reuse(self, planned: Planned, digest: str) -> bool:
        """Give a file the faces already stored for the same content, if there are usable ones."""
        file = planned.file
        same = [
            known
            for known in self.store.by_content(digest, file.size)
            if known.status != "unreadable" and self.plan.without_change(known) is Action.UNCHANGED
        ]
        own = next((known for known in same if known.path == file.path), None)
        if own is not None:
            self.store.touch(own.id, file)
            self.counts.unchanged += 1
            return True
        if not same:
            return False
        moved = next((known for known in same if is_gone(known.path)), None)
        if moved is not None and planned.known is None:
            self.store.relink(moved.id, file)
            self._seen.add(moved.id)
            self.counts.relinked += 1
        else:
            self._seen.add(self.store.copy_faces(same[0].id, file))
            self.counts.duplicates += 1
        return True

    def _task(self, planned: Planned) -> Iterator[PhotoTask]:
        if self.options.limit is not None and self._started >= self.options.limit:
            self.plan.stored(planned.file)  # nobody need wait for it
            return
        self._started += 1
        if not planned.hashes:
            self.engine.prepare()
        landmarks = None
        if planned.action is Action.ESTIMATE and planned.known is not None:
            landmarks = self.store.stored_landmarks(planned.known.id)
        yield PhotoTask(planned.file, planned.known, landmarks, planned.hashes)

    def _unchanged(self, planned: Planned) -> None:
        self.counts.unchanged += 1
        if planned.known is not None and planned.known.status == "missing":
            self.store.mark_present(planned.known.id)
        if self.counts.unchanged % 500 == 0:
            self.progress(self.counts)

    # --- read, estimate, store ----------------------------------------------------------------

    def read(self, tasks: Iterable[PhotoTask]) -> None:
        """Read photos, estimate their faces, and store them a few at a time."""
        for finished in self.engine.read(tasks):
            self._store(finished)
            self.store.commit()
            self.progress(self.counts)

    def _store(self, finished: Iterable[Finished[PhotoTask]]) -> None:
        fresh = []
        for outcome, estimates in finished:
            task, photo = outcome.task, outcome.value
            if photo is None:
                assert outcome.failure is not None
                self._fail(task, outcome.failure)
                continue
            if photo.known:
                planned, digest = Planned(photo.file, task.known, Action.COMPARE), photo.faces.content_hash
                if not self._reuse(planned, digest):
                    self._duplicates.append((planned, digest))
            elif task.landmarks is None:
                fresh.append((photo.file, photo.faces, estimates))
            elif task.known is not None and photo.faces.content_hash == task.known.content_hash:
                self.store.add_estimates(task.known.id, estimates)
                self.counts.re_estimated += 1
            else:
                # The file changed between the walk and now: its landmarks are another picture's.
                self._fail(task, DecodeError("changed", f"{task.file.path}: changed during the scan"))
            self.plan.stored(task.file)
            if self.device == "cuda" and photo.provider not in ("CUDAExecutionProvider", ""):
                self.warn("the detector runs on the CPU although a GPU is in use (see `photoage doctor`)")
        self._seen.update(self.store.save_many(fresh))
        self.counts.done += len(fresh)
        self.counts.faces += sum(len(estimates) for _, _, estimates in fresh)

    def _fail(self, task: PhotoTask, failure: DecodeError) -> None:
        self.plan.stored(task.file)
        if failure.kind in ("vanished", "changed"):
            # Not a fault of the file: the next scan sees it as it is then.
            if failure.kind == "vanished" and task.known is not None:
                self._seen.discard(task.known.id)
            self._left += 1
            if self._left <= NAMED:
                self.warn(f"{failure}; it was left for the next scan")
            return
        photo_id = self.store.save_unreadable(task.file, failure.kind, str(failure))
        self._seen.add(photo_id)
        self.counts.unreadable += 1

    # --- the end ------------------------------------------------------------------------------

    def account_for_missing(self, roots: Sequence[str]) -> None:
        """Mark photos under the roots that are gone; never under a root that looks unmounted."""
        check = check_roots(roots)
        for root in (*check.absent, *check.empty):
            self.warn(f"{root}: is absent or empty; photos known from there were not marked missing")
        mounted = [root for root in roots if root not in check.absent and root not in check.empty]
        gone = [known.id for known in self.store.unseen(mounted, self._seen) if is_gone(known.path)]
        if self.options.prune:
            self.store.prune(gone)
        else:
            self.store.mark_missing(gone)
        self.counts.missing += len(gone)
        self.store.commit()

    def finish(self) -> None:
        for problem in self.plan.problems:
            self.warn(f"{problem.path}: {problem.message}")
        if self._left > NAMED:
            self.warn(f"{self._left - NAMED} more photos vanished or changed; they were left as well")
        self.store.finish_run("interrupted" if self.stopped else "finished", self.counts)
        self.progress(self.counts)

    def must_stop(self) -> bool:
        self.stopped = self.stopped or self.should_stop()
        return self.stopped

    def _until_stop(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if self.must_stop():
                return
            yield item

    def warn(self, text: str) -> None:
        """Keep a one-line text for the user, once."""
        if text not in self._warned:
            self._warned.add(text)
            self.warnings.append(text)


def plan_options(store: KnownPhotos, options: ScanOptions) -> PlanOptions:
    """How to plan with these options, for a store that has looked up the scan's models."""
    return PlanOptions(
        store.detector_id,
        options.detect.key,
        force=options.force,
        retry_errors=options.retry_errors,
        checksum=options.checksum,
    )
