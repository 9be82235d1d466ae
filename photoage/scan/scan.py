"""A scan, composed of the stages: walk -> plan -> read -> estimate -> store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from photoage.ages.intervals import residual_table
from photoage.database.connect import (
    database_errors,
    database_file,
    database_url,
    on_network_filesystem,
    open_database,
)
from photoage.database.known import KnownPhotos
from photoage.database.store import Store
from photoage.errors import DatabaseError
from photoage.people.refresh import refresh_persons
from photoage.photos.skips import PassedOver
from photoage.photos.walk import walk
from photoage.records import PhotoFile, RunCounts, WalkProblem
from photoage.scan.engine import Engine
from photoage.scan.local import LocalEngine
from photoage.scan.missing import find_missing
from photoage.scan.model_files import resolve_models
from photoage.scan.options import ScanOptions
from photoage.scan.plan import Action, Plan, Planned, PlanOptions
from photoage.scan.record import Record, ScanSummary
from photoage.scan.tasks import InFlight, Tasks

T = TypeVar("T")


def scan(
    roots: Sequence[str],
    database: str | os.PathLike[str] | None,
    options: ScanOptions,
    *,
    files: Iterable[PhotoFile | WalkProblem] | None = None,
    progress: Callable[[RunCounts], None] = lambda counts: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ScanSummary:
    """Scan the roots (or exactly `files`) into the database and return what was done.

    One bad photo is stored as `unreadable` and costs no other photo. When `should_stop` turns true,
    finished photos are committed and the run ends as `interrupted`. Raises `PhotoageError` when the
    scan as a whole cannot go on; photos stored until then stay.
    """
    must_stop = _StopRequest(should_stop)  # one for both: what stops the engine interrupts the scan
    with make_engine(options, must_stop) as engine:
        return scan_with(
            engine, roots, database, options, files=files, progress=progress, should_stop=must_stop
        )


def scan_with(
    engine: Engine,
    roots: Sequence[str],
    database: str | os.PathLike[str] | None,
    options: ScanOptions,
    *,
    files: Iterable[PhotoFile | WalkProblem] | None = None,
    progress: Callable[[RunCounts], None] = lambda counts: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ScanSummary:
    """As `scan`, with an engine of the same options that is open already and stays open."""
    must_stop = should_stop if isinstance(should_stop, _StopRequest) else _StopRequest(should_stop)
    models = engine.models
    with Store.open(database) as store:
        store.begin_run(
            roots,
            options.recorded(),
            (models.detector.name, models.detector.sha256),
            (models.info.name, models.checkpoint_sha256),
            residual_table(models.info.interval),
            (models.recogniser.name, models.recogniser.sha256) if models.recogniser else None,
        )
        how = PlanOptions.of(options, store.known)
        in_flight = InFlight()
        record = Record(store, how, in_flight, progress)
        if (warning := _unsafe_place(database)) is not None:
            record.warn(warning)
        passed = PassedOver()
        found = walk(roots, options.walk, passed) if files is None else files
        plan = Plan(found, store.known, how, in_flight)
        tasks = Tasks(store.known, in_flight, options.limit, must_stop)
        try:
            record.save(engine.read(tasks.of_plan(plan)))
            for hashed in engine.hash(must_stop.until(record.suspects)):
                record.save(engine.read(tasks.of(record.reuse_known(hashed))))
            record.save(engine.read(tasks.of(record.reuse_copies())))
            if files is None and not must_stop.stopped:
                gone = find_missing(store.known, roots, record.seen, options.walk, again=options.prune)
                record.set_missing(gone, prune=options.prune)
            if store.has_persons and (record.changed or store.resumes):
                with database_errors(store.name):
                    refresh_persons(store.known.connection)
                store.commit()
        except BaseException as error:
            # The first error is the one to report, even if the run's row cannot be written either.
            with contextlib.suppress(DatabaseError):
                store.rollback()
                asked = isinstance(error, KeyboardInterrupt)
                store.finish_run("interrupted" if asked else "failed", record.counts)
            raise
        for warning in engine.take_warnings():
            record.warn(warning)
        return record.finish(plan.problems, passed, interrupted=must_stop.stopped)


def make_engine(options: ScanOptions, should_stop: Callable[[], bool] = lambda: False) -> Engine:
    """What reads and estimates, for one scan or for many; a context manager.

    Raises `PhotoageError` when a model is missing, or a GPU that is required.
    """
    models = resolve_models(options)
    if options.engine == "ray":
        from photoage.scan.ray_engine import RayEngine

        return RayEngine(options, models, should_stop)
    return LocalEngine(options, models)


def plan_scan(
    roots: Sequence[str],
    database: str | os.PathLike[str] | None,
    options: ScanOptions,
    *,
    files: Iterable[PhotoFile | WalkProblem] | None = None,
    passed: PassedOver | None = None,
) -> Iterator[Planned]:
    """What a scan with these arguments would begin with, without changing anything.

    Without a database yet, every photo is to be read. One that is to be compared may turn out to be known.
    What the walk of folders passes over is counted in `passed`.
    """
    models = resolve_models(options)
    found = walk(roots, options.walk, passed) if files is None else files
    file = database_file(database_url(database))
    if file is not None and not file.exists():
        yield from (Planned(entry, None, Action.READ) for entry in found if isinstance(entry, PhotoFile))
        return
    with KnownPhotos(open_database(database, read_only=True)) as known:
        known.find_models(models.detector.sha256, models.checkpoint_sha256)
        yield from chain.from_iterable(Plan(found, known, PlanOptions.of(options, known)))


class _StopRequest:
    """Whether the scan was asked to stop; having been asked once is enough."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self.stopped = False

    def __call__(self) -> bool:
        self.stopped = self.stopped or self._should_stop()
        return self.stopped

    def until(self, items: Iterable[T]) -> Iterator[T]:
        """The items that come before the request."""
        for item in items:
            if self():
                return
            yield item


def _unsafe_place(database: str | os.PathLike[str] | None) -> str | None:
    """Why the place of a database may harm it, or None."""
    file = database_file(database_url(database))
    if file is None or (kind := on_network_filesystem(file)) is None:
        return None
    return f"{file}: is on a network file system ({kind}), where SQLite can be damaged"
