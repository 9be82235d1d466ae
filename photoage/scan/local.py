"""This machine's processes run the stages: workers read, this process estimates in batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

from photoage.faces.gpu_server import DetectionServer
from photoage.faces.read import ReadOptions, ReadPhoto, hash_photo, read_photo
from photoage.pool import Outcome, PhotoPool, default_workers
from photoage.records import PhotoFile
from photoage.scan.device import local_device
from photoage.scan.engine import Finished, Looked, T, Task
from photoage.scan.model_files import ScanModels
from photoage.scan.options import ScanOptions
from photoage.scan.plan import Planned

if TYPE_CHECKING:
    from photoage.ages.predictor import Predictor

FEW = 50  # photos that are stored together before one has been decoded
COMPARED = 250  # files whose content is compared together, and then read while they are in the system's cache


class LocalEngine:
    """Worker processes read; this process estimates in batches."""

    def __init__(self, options: ScanOptions, models: ScanModels) -> None:
        """Raises `DeviceError` when a GPU is required and cannot be used."""
        self._options = options
        self._device = device = local_device(options, models.detector)
        self._read_options = read_options(options, models, device)
        # A GPU has one owner: this process. On a CPU every worker detects by itself.
        self._server = DetectionServer(models.detector, device) if device == "cuda" else None
        workers = options.workers or default_workers()
        self._pool = PhotoPool(workers, timeout=options.photo_timeout)
        self._predictor = _LoadingPredictor(models, device, options.precision, (workers + 2) // 3)

    def __enter__(self) -> Self:
        if self._server is not None:
            self._server.__enter__()
            self._read_options = replace(self._read_options, server=self._server.address)
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)
        if self._server is not None:
            self._server.__exit__(*error)

    def hash(self, files: Iterable[Planned]) -> Iterator[list[Outcome[Planned, tuple[PhotoFile, str]]]]:
        source = iter(files)
        while group := list(islice(source, COMPARED)):
            yield list(self._pool.run(hash_photo, group, lambda file: (file.file.path, self._read_options)))

    def read(self, tasks: Iterable[Task]) -> Iterator[list[Finished[Task]]]:
        outcomes = self._pool.run(read_photo, tasks, self._begin)
        waiting: list[Outcome[Task, ReadPhoto]] = []
        for outcome in outcomes:
            waiting.append(outcome)
            if outcome.value is not None and not outcome.value.known:
                # A scan that never comes here never imports torch.
                yield from estimate(
                    chain(waiting, outcomes),
                    self._predictor.get,
                    crop_size=self._read_options.crop_size,
                    batch_size=self._options.batch_size,
                    device=self._device,
                )
                return
            if len(waiting) == FEW or isinstance(outcome.task, Looked):
                yield [(each, []) for each in waiting]
                waiting = []
        if waiting:
            yield [(each, []) for each in waiting]

    def _begin(self, task: Task) -> tuple[Any, ...] | None:
        """What a worker is told of a task; nothing where there is nothing to do."""
        if isinstance(task, Looked):
            return None
        if not task.hashes:
            self._predictor.start()  # which is sure to be needed, and takes as long to load as many photos
        return task.file.path, self._read_options, task.landmarks, task.hashes


def read_options(options: ScanOptions, models: ScanModels, device: str) -> ReadOptions:
    return ReadOptions(
        models.detector, models.info.crop_size, device, detect=options.detect, max_pixels=options.max_pixels
    )


def estimate(
    outcomes: Iterable[Outcome[T, ReadPhoto]],
    predictor: Callable[[], Predictor],
    *,
    crop_size: int,
    batch_size: int,
    device: str,
) -> Iterator[list[Finished[T]]]:
    """Estimate the faces of photos as they come, in batches. Imports torch."""
    from photoage.scan.batches import chunk_loader

    loader = chunk_loader(outcomes, batch_size=batch_size, crop_size=crop_size, pin_memory=device == "cuda")
    for chunk in loader:
        estimates = iter(predictor().estimate(chunk.crops, batch_size))
        yield [
            (outcome, list(islice(estimates, len(outcome.value.crops) if outcome.value else 0)))
            for outcome in chunk.outcomes
        ]


class _LoadingPredictor:
    """The age model, loaded in the background while the first photos are read."""

    def __init__(self, models: ScanModels, device: str, precision: str, threads: int) -> None:
        self._checkpoint, self._device = models.checkpoint, device
        self._precision, self._threads = precision, threads
        self._thread: threading.Thread | None = None
        self._predictor: Predictor | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._load, daemon=True)
            self._thread.start()

    def get(self) -> Predictor:
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._predictor is not None
        return self._predictor

    def _load(self) -> None:
        try:
            from photoage.ages.predictor import Predictor, choose_device

            self._predictor = Predictor(
                self._checkpoint, choose_device(self._device), self._precision, self._threads
            )
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for it
            self._error = error
