"""What Ray runs on the machines of a cluster: batches of paths in, photos with their estimates out."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from photoage.errors import CheckpointError, DetectorError, PhotoageError
from photoage.faces.read import hash_photo
from photoage.pool import Outcome, PhotoPool
from photoage.records import KnownFaces, PhotoFile
from photoage.scan.local import estimate, read_options, run_task
from photoage.scan.model_files import ScanModels, resolve_models
from photoage.scan.options import ScanOptions

if TYPE_CHECKING:
    from photoage.ages.predictor import Predictor

Column = dict[str, Any]
ITEM = "item"  # the one column of what comes back


@dataclass(frozen=True, slots=True)
class Job:
    """What every actor is told. Sent once, with the actor."""

    options: ScanOptions
    detector_sha256: str
    checkpoint_sha256: str
    device: str  # of the age model: `cpu` or `cuda`

    def models(self) -> ScanModels:
        """This machine's files, which must be those of the machine that stores."""
        models = resolve_models(self.options)
        if models.detector.sha256 != self.detector_sha256:
            raise DetectorError(f"{models.detector.path}: differs from the scan's on {platform.node()}")
        if models.checkpoint_sha256 != self.checkpoint_sha256:
            raise CheckpointError(f"{models.checkpoint}: differs from the scan's on {platform.node()}")
        return models


def row(
    number: int,
    file: PhotoFile,
    faces: KnownFaces | None = None,
    hashes: Iterable[str] = (),
    only_date: bool = False,
) -> Column:
    """What an actor needs to know of the photo with this number in its round. Paths may be any bytes."""
    return {
        "number": number,
        "path": os.fsencode(file.path),
        "sidecars": os.fsencode(file.sidecars),
        "only_date": only_date,
        "landmarks": None if faces is None else faces.landmarks.tobytes(),
        "pages": None if faces is None else np.array([faces.pages, faces.turns], np.int32).tobytes(),
        "hashes": " ".join(hashes),
    }


class _FileActor:
    """Works on files in a process of its own, which a photo may crash or hang without harm to others."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pool: PhotoPool | None = None

    def _run(self, function: Callable[..., Any], table: Any) -> Column:
        """`table` is an Arrow table of `row`s."""
        try:
            if self._pool is None:
                self._options = read_options(self._job.options, self._job.models())
                self._pool = PhotoPool(1, timeout=self._job.options.photo_timeout)
            outcomes = self._pool.run(function, table.to_pylist(), self._arguments)
            # In the order of the batch: what Ray runs again must give the same again.
            numbered = [replace(outcome, task=outcome.task["number"]) for outcome in outcomes]
            return column(sorted(numbered, key=lambda outcome: outcome.task))
        except PhotoageError as error:
            return column([error])

    def _arguments(self, row: Column) -> tuple[Any, ...]:
        return os.fsdecode(row["path"]), self._options, os.fsdecode(row["sidecars"])


class HashActor(_FileActor):
    """Items are `Outcome(number, (PhotoFile, digest))`."""

    def __call__(self, table: Any) -> Column:
        return self._run(hash_photo, table)


class ReadActor(_FileActor):
    """Items are `Outcome(number, ReadPhoto)`."""

    def __call__(self, table: Any) -> Column:
        return self._run(run_task, table)

    def _arguments(self, row: Column) -> tuple[Any, ...]:
        faces = None
        if row["landmarks"] is not None:
            landmarks = np.frombuffer(row["landmarks"], np.float32).reshape(-1, 5, 2)
            pages, turns = np.frombuffer(row["pages"], np.int32).reshape(2, -1).tolist()
            faces = KnownFaces(landmarks, tuple(pages), tuple(turns))
        file = PhotoFile(os.fsdecode(row["path"]), 0, 0, os.fsdecode(row["sidecars"]))
        return file, self._options, faces, frozenset(row["hashes"].split()), row["only_date"]


class EstimateActor:
    """Items of a ReadActor to `(Outcome(number, ReadPhoto without crops), estimates)`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._predictor: Predictor | None = None

    def __call__(self, batch: Column) -> Column:
        items = list(batch[ITEM])
        failures = [item for item in items if isinstance(item, PhotoageError)]
        if failures:
            return column(failures[:1])
        try:
            predictor = self._load()
        except PhotoageError as error:
            return column([error])
        chunks = estimate(
            items,
            lambda: predictor,
            crop_size=predictor.info.crop_size,
            batch_size=self._job.options.batch_size,
            device=self._job.device,
        )
        return column([(_without_crops(outcome), ages) for chunk in chunks for outcome, ages in chunk])

    def _load(self) -> Predictor:
        if self._predictor is None:
            from photoage.ages.predictor import Predictor, choose_device

            checkpoint = self._job.models().checkpoint
            device = choose_device(self._job.device)
            self._predictor = Predictor(checkpoint, device, self._job.options.precision, threads=1)
        return self._predictor


class ScanActor:
    """Both in one, for a core without a GPU: its worker process reads, then it estimates by itself."""

    def __init__(self, job: Job) -> None:
        self._read, self._estimate = ReadActor(job), EstimateActor(job)

    def __call__(self, table: Any) -> Column:
        return self._estimate(self._read(table))


def column(items: list[Any]) -> Column:
    """Python objects as a batch for Ray, which would take a list of tuples for a matrix."""
    values = np.empty(len(items), dtype=object)
    values[:] = items
    return {ITEM: values}


def _without_crops(outcome: Outcome[Any, Any]) -> Outcome[Any, Any]:
    if outcome.value is None:
        return outcome
    return replace(outcome, value=replace(outcome.value, crops=outcome.value.crops[:0]))
