"""A checkpoint measured end to end: whole photos go through a scan, and missed faces count."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from photoage.ages.checkpoint import read_checkpoint_info
from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.records import Detection, Estimate, PhotoFile
from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan
from photoage.training.dataset import pick_subject
from photoage.training.evaluate import EvaluateJob, Evaluation, chosen_samples


def evaluate_scanned(
    job: EvaluateJob, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluation:
    """Scan whole photos into a database that is thrown away, and take the main face of each.

    A photo that cannot be read or has no face counts as missed. Raises `PhotoageError`.
    """
    with tempfile.TemporaryDirectory(prefix="photoage-") as folder:
        return _scanned(job, Path(folder) / "evaluation.db", progress)


def _scanned(job: EvaluateJob, database: Path, progress: Callable[[int, int], None]) -> Evaluation:
    chosen, malformed = chosen_samples(job)
    samples = [sample for part in chosen for sample in part]
    options = ScanOptions(
        checkpoint=str(job.checkpoint), device=job.device, precision=job.precision, workers=job.workers
    )
    scan(
        [],
        database,
        options,
        files=[_photo_file(sample.path) for sample in samples],
        progress=lambda counts: progress(counts.seen, len(samples)),
    )
    faces: dict[str, list[FaceRow]] = defaultdict(list)
    engine = open_database(database, read_only=True)
    try:
        for row in iter_faces(engine, FaceFilter()):
            faces[row.path].append(row)
    finally:
        engine.dispose()
    found = {sample: _subject(faces.get(_photo_path(sample.path), [])) for sample in samples}
    subjects = {sample: row for sample, row in found.items() if row is not None}
    estimates = [Estimate(row.age, row.age_low, row.age_high) for row in subjects.values()]
    missed = [sample.name for sample in samples if sample not in subjects]
    name = read_checkpoint_info(job.checkpoint).name
    return Evaluation(name, job.split, "end-to-end", list(subjects), estimates, missed, malformed)


def _photo_path(path: Path) -> str:
    return os.path.abspath(path)


def _photo_file(path: Path) -> PhotoFile:
    stat = path.stat()
    return PhotoFile(_photo_path(path), stat.st_size, stat.st_mtime_ns)


def _subject(rows: list[FaceRow]) -> FaceRow | None:
    """The stored face that a photo is about, chosen as in a data set."""
    if not rows:
        return None
    no_landmarks = np.empty((0, 2), dtype=np.float32)
    faces = [Detection((row.x1, row.y1, row.x2, row.y2), no_landmarks, row.det_score) for row in rows]
    subject = pick_subject(faces, rows[0].photo_width, rows[0].photo_height)
    return None if subject is None else rows[faces.index(subject)]
