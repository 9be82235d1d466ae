"""What scans left behind: photos that could not be read, and the runs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Engine,
    select,
)

from photoage.database.connect import database_errors, database_name, reading
from photoage.database.tables import (
    RUN_COUNTS,
    Photo,
    ScanRun,
    StoredCheckpoint,
    StoredDetector,
    decode_path,
)


class UnreadableRow(NamedTuple):
    path: str
    kind: str
    message: str


class RunRow(NamedTuple):
    """One scan run. `counts` by the names of RunCounts' fields, except photos_seen."""

    id: int
    started_at: datetime
    finished_at: datetime | None
    status: str
    roots: list[str]
    options: dict[str, Any]
    detector: str
    checkpoint: str
    version: str
    counts: dict[str, int]


def iter_errors(engine: Engine) -> Iterator[UnreadableRow]:
    """Photos that could not be read, or only in part (kind `incomplete`), by path."""
    faulty = Photo.error_kind.is_not(None)  # as the index has it
    photos = select(Photo.path, Photo.error_kind, Photo.error_message).order_by(Photo.path)
    photos = photos.where(faulty, Photo.status != "missing")
    name = database_name(engine.url)
    with database_errors(name), engine.connect() as connection, reading(connection).execute(photos) as found:
        for path, kind, message in found:
            yield UnreadableRow(path, kind or "", message or "")


def iter_runs(engine: Engine) -> Iterator[RunRow]:
    """Scan runs, oldest first."""
    counts = [column for column in ScanRun.__table__.columns if column.key in RUN_COUNTS]
    runs = (
        select(
            ScanRun.id,
            ScanRun.started_at,
            ScanRun.finished_at,
            ScanRun.status,
            ScanRun.roots,
            ScanRun.options,
            StoredDetector.name,
            StoredCheckpoint.name,
            ScanRun.version,
            *counts,
        )
        .join(StoredDetector, StoredDetector.id == ScanRun.detector_id)
        .join(StoredCheckpoint, StoredCheckpoint.id == ScanRun.checkpoint_id)
        .order_by(ScanRun.id)
    )
    name = database_name(engine.url)
    with database_errors(name), engine.connect() as connection, reading(connection).execute(runs) as found:
        for row in found:
            numbers = dict(zip(RUN_COUNTS, row[-len(RUN_COUNTS) :], strict=True))
            run = RunRow._make((*row[: -len(RUN_COUNTS)], numbers))
            yield run._replace(roots=[decode_path(root) for root in run.roots])
