"""A scan, composed of the stages: walk -> plan -> read -> estimate -> store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from photoage.database.connect import database_file, database_url, on_network_filesystem, open_database
from photoage.database.known import KnownPhotos
from photoage.database.store import Store
from photoage.errors import DatabaseError
from photoage.photos.walk import walk
from photoage.records import PhotoFile, RunCounts, WalkProblem
from photoage.scan.engine import Engine
from photoage.scan.local import LocalEngine
from photoage.scan.options import ScanOptions, ScanSummary, resolve_models, scan_device
from photoage.scan.plan import Action, Plan, Planned
from photoage.scan.record import ScanRun, plan_options


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
    models = resolve_models(options)
    device = "cpu" if options.engine == "ray" else scan_device(options, models.detector)
    with Store.open(database) as store:
        run = ScanRun(store, models, options, device, progress, should_stop)
        run.begin(roots)
        file = database_file(database_url(database))
        if file is not None and (kind := on_network_filesystem(file)) is not None:
            run.warn(f"{file}: is on a network file system ({kind}), where SQLite can be damaged")
        try:
            run.plan = Plan(walk(roots, options.walk) if files is None else files, store, run.plan_options)
            with _engine(run) as run.engine:
                run.read(run.fresh())
                run.read(run.suspects())
                run.settle_duplicates()
            if files is None and not run.stopped:
                run.account_for_missing(roots)
        except BaseException as error:
            # The first error is the one to report, even if the run's row cannot be written either.
            with contextlib.suppress(DatabaseError):
                store.rollback()
                store.finish_run(
                    "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", run.counts
                )
            raise
        run.finish()
    return ScanSummary(run.run_id, run.counts, run.stopped, run.warnings)


def _engine(run: ScanRun) -> Engine:
    if run.options.engine == "ray":
        from photoage.scan.ray_engine import RayEngine

        return RayEngine(run.options, run.models, run.must_stop)
    return LocalEngine(run.options, run.models, run.device)


def plan_scan(
    roots: Sequence[str],
    database: str | os.PathLike[str] | None,
    options: ScanOptions,
    *,
    files: Iterable[PhotoFile | WalkProblem] | None = None,
) -> Iterator[Planned]:
    """What a scan with these arguments would begin with, without changing anything.

    Without a database yet, every photo is to be read. A photo planned as HASH may turn out to be known.
    """
    models = resolve_models(options)
    found = walk(roots, options.walk) if files is None else files
    file = database_file(database_url(database))
    if file is not None and not file.exists():
        yield from (Planned(entry, None, Action.READ) for entry in found if isinstance(entry, PhotoFile))
        return
    with KnownPhotos(open_database(database, read_only=True)) as known:
        known.find_models(models.detector.sha256, models.checkpoint_sha256)
        yield from Plan(found, known, plan_options(known, options))
