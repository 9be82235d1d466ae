"""This machine's processes run the stages: workers read, this process estimates in batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from photoage.faces.gpu_server import DetectionServer
from photoage.faces.read import ReadOptions, ReadPhoto, date_only, hash_photo, read_photo
from photoage.faces.strata import strata
from photoage.machine import available_cores
from photoage.pool import Outcome, PhotoPool
from photoage.records import Estimate, KnownFaces, PhotoFile
from photoage.scan.device import check_driver, local_device
from photoage.scan.engine import Finished, Looked, T, Task
from photoage.scan.model_files import ScanModels
from photoage.scan.options import ScanOptions
from photoage.scan.plan import Planned

if TYPE_CHECKING:
    from photoage.ages.predictor import Predictor

PAUSE = 2.0  # seconds without a finished photo after which those that are finished are stored
FEW = 50  # photos that are stored together before one has been decoded
COMPARED = 250  # files whose content is compared together, and then read while they are in the system's cache


class LocalEngine:
    """Worker processes read; this process estimates in batches.

    It can be used for several scans, one after the other: workers and the age model stay.
    """

    def __init__(self, options: ScanOptions, models: ScanModels) -> None:
        """Raises `DeviceError` when a GPU is required and there is none."""
        check_driver(options)
        self.models = models
        self._options = options
        self._warnings: list[str] = []
        self._workers = options.workers or available_cores()
        self._pool = PhotoPool(self._workers, timeout=options.photo_timeout)
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)
        if self._running is not None:
            self._running.predictor.settle()
            if self._running.server is not None:
                self._running.server.__exit__(*error)

    def take_warnings(self) -> list[str]:
        taken, self._warnings = self._warnings, []
        return taken

    def hash(self, files: Iterable[Planned]) -> Iterator[list[Outcome[Planned, tuple[PhotoFile, str]]]]:
        options = read_options(self._options, self.models)
        source = iter(files)
        while group := list(islice(source, COMPARED)):
            yield list(
                self._pool.run(
                    hash_photo, group, lambda photo: (photo.file.path, options, photo.file.sidecars)
                )
            )

    def read(self, tasks: Iterable[Task]) -> Iterator[list[Finished[Task]]]:
        outcomes = self._pool.run_with_pauses(run_task, tasks, self._begin, PAUSE)
        waiting: list[Outcome[Task, ReadPhoto]] = []
        for outcome in outcomes:
            if outcome is not None:
                waiting.append(outcome)
                if outcome.value is not None and not outcome.value.known:
                    break  # a scan that never comes here never imports torch
            if outcome is None or len(waiting) == FEW or isinstance(outcome.task, Looked):
                yield [(each, []) for each in waiting]
                waiting = []
        else:
            yield [(each, []) for each in waiting]
            return
        running = self._run()
        yield from estimate(
            chain(waiting, outcomes),
            running.predictor.get,
            crop_size=self.models.info.crop_size,
            batch_size=self._options.batch_size,
            device=running.device,
        )

    def _begin(self, task: Task) -> tuple[Any, ...] | None:
        """What a worker is told of a task; nothing where there is nothing to do."""
        if isinstance(task, Looked):
            return None
        if task.only_date:
            return task.file, read_options(self._options, self.models), None, task.hashes, True
        running = self._run()
        if not task.hashes:
            running.predictor.start()  # which is sure to be needed, and takes as long to load as many photos
        return task.file, running.options, task.faces, task.hashes, False

    def _run(self) -> _Running:
        """The models. They are there from the first photo on that is to be read, and not before."""
        if self._running is None:
            device = local_device(self._options, self.models.detector)
            if device.warning is not None:
                self._warnings.append(device.warning)
            threads = (self._workers + 2) // 3
            predictor = _LoadingPredictor(self.models, device.name, self._options.precision, threads)
            options, server = read_options(self._options, self.models), None
            if device.detector is not None:
                # A GPU has one owner: this process. On a CPU every worker detects by itself.
                server = DetectionServer(device.detector).__enter__()
                options = replace(options, server=server.address)
            self._running = _Running(device.name, options, predictor, server)
        return self._running


def run_task(
    file: PhotoFile,
    options: ReadOptions,
    faces: KnownFaces | None,
    hashes: frozenset[str],
    only_date: bool,
) -> ReadPhoto:
    """What a worker process does for a `PhotoTask`. Raises `DecodeError`."""
    if only_date:
        return date_only(file, options)
    return read_photo(file.path, options, faces, hashes, file.sidecars)


@dataclass(frozen=True, slots=True)
class _Running:
    """What photos are read with."""

    device: str
    options: ReadOptions
    predictor: _LoadingPredictor
    server: DetectionServer | None


def read_options(options: ScanOptions, models: ScanModels) -> ReadOptions:
    return ReadOptions(
        models.detector,
        models.info.crop_size,
        detect=options.detect,
        max_pixels=options.max_pixels,
        dates=options.dates,
        recogniser=models.recogniser,
        skip_own=options.walk.skip,
    )


def estimate(
    outcomes: Iterable[Outcome[T, ReadPhoto] | None],
    predictor: Callable[[], Predictor],
    *,
    crop_size: int,
    batch_size: int,
    device: str,
) -> Iterator[list[Finished[T]]]:
    """Estimate the faces of photos as they come, in batches. Imports torch.

    `outcomes` has a None where no photo came for a while.
    """
    from photoage.scan.batches import chunk_loader

    loader = chunk_loader(outcomes, batch_size=batch_size, crop_size=crop_size, pin_memory=device == "cuda")
    started: deque[tuple[Sequence[Outcome[T, ReadPhoto]], Callable[[], list[Estimate]]]] = deque()
    # A GPU estimates one chunk while the next one is waited for and copied to it.
    behind = 1 if device == "cuda" else 0
    for chunk in loader:
        spans = [span for outcome in chunk.outcomes if outcome.value for span in outcome.value.spans]
        numbers = strata(np.array(spans, dtype=np.float32))
        started.append((chunk.outcomes, predictor().start(chunk.crops, numbers, batch_size)))
        if len(started) > behind:
            yield _finished(*started.popleft())
    while started:
        yield _finished(*started.popleft())


def _finished(
    outcomes: Sequence[Outcome[T, ReadPhoto]], wait: Callable[[], list[Estimate]]
) -> list[Finished[T]]:
    estimates = iter(wait())
    return [
        (outcome, list(islice(estimates, len(outcome.value.crops) if outcome.value else 0)))
        for outcome in outcomes
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

    def settle(self) -> None:
        """Wait for a load that has begun: a process that ends in the middle of one is aborted."""
        if self._thread is not None:
            self._thread.join()

    def get(self) -> Predictor:
        self.start()
        self.settle()
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
