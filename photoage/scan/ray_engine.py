"""A scan's stages in Ray Data: the same functions as on one machine, in the actors of a cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Self

from photoage.errors import EngineError, PhotoageError
from photoage.pool import Outcome
from photoage.records import PhotoFile
from photoage.scan.device import cluster_device
from photoage.scan.engine import Finished, Looked, PhotoTask, Task
from photoage.scan.model_files import ScanModels
from photoage.scan.options import ScanOptions
from photoage.scan.plan import Planned
from photoage.scan.ray_actors import ITEM, EstimateActor, HashActor, Job, ReadActor, ScanActor, row

ROUND = 50_000  # photos of one Ray dataset: a list in memory, whose actors take seconds to start
BLOCK = 16  # photos of one task; a lost node costs the work on two or three per actor
GPU_BATCH = 64  # photos of one task of a GPU
CONNECT_SECONDS = 10.0
END_SECONDS = 10.0  # for the threads of a dataset that is no longer wanted
OBJECT_STORE = 512 << 20  # bytes, of a Ray that is started here; crops on their way take little
BLOCK_BYTES = 8 << 20  # what Ray expects of a block before it has seen one


class RayEngine:
    """Actors read (CPU) and estimate (CPU or GPU); this process plans and stores.

    Ray is started, or connected to, when there is work. Photos come back with their number, and only
    the first answer for a number counts: what Ray runs again after losing a node is never doubled.
    """

    def __init__(self, options: ScanOptions, models: ScanModels, must_stop: Callable[[], bool]) -> None:
        self.models = models
        self._options, self._must_stop = options, must_stop
        self._ray: Any = None
        self._results: Generator[Any, None, None] | None = None
        self._ours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._results is not None:
            self._results.close()  # an exception on its way would keep them open
        if self._ours:
            self._ray.shutdown()

    def take_warnings(self) -> list[str]:
        return []

    def hash(self, files: Iterable[Planned]) -> Iterator[list[Outcome[Planned, tuple[PhotoFile, str]]]]:
        source = iter(files)
        while group := list(islice(source, ROUND)):
            rows = [row(number, planned.file) for number, planned in enumerate(group)]
            # All of them before the first is used: the actors of a dataset that waits keep their CPUs.
            hashed = [outcome for found in self._run(rows, HashActor) for outcome in found]
            yield [replace(outcome, task=group[outcome.task]) for outcome in hashed]

    def read(self, tasks: Iterable[Task]) -> Iterator[list[Finished[Task]]]:
        group: list[PhotoTask] = []
        for task in tasks:
            if isinstance(task, Looked):
                yield [(Outcome(task), [])]
                continue
            group.append(task)
            if len(group) == ROUND:
                yield from self._read(group)
                group = []
        if group:
            yield from self._read(group)

    def _read(self, group: list[PhotoTask]) -> Iterator[list[Finished[Task]]]:
        rows = [
            row(number, task.file, task.faces, task.hashes, task.only_date)
            for number, task in enumerate(group)
        ]
        stages = (ReadActor, EstimateActor) if self._device() == "cuda" else (ScanActor,)
        for found in self._run(rows, *stages):
            yield [(replace(outcome, task=group[outcome.task]), ages) for outcome, ages in found]

    def _run(self, rows: list[dict[str, Any]], *stages: type) -> Iterator[list[Any]]:
        """What the last stage gives for the rows, each once, some at a time, in any order."""
        ray = self._connect()
        blocks = -(-len(rows) // BLOCK)
        try:
            data = ray.data.from_items(rows, override_num_blocks=blocks)
            for stage in stages:
                data = data.map_batches(stage, **self._settings(stage, blocks))
            waiting = set(range(len(rows)))
            self._results = _results(ray, data)
            for items in self._results:
                found = []
                for item in items:
                    if isinstance(item, PhotoageError):
                        raise item
                    number = (item[0] if isinstance(item, tuple) else item).task
                    if number in waiting:
                        waiting.remove(number)
                        found.append(item)
                yield found
                if self._must_stop():
                    return
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray: {_first_line(error)}; scan again to go on") from error
        if waiting:
            raise EngineError(f"Ray: {len(waiting)} photos did not come back; scan again to go on")

    def _settings(self, stage: type, blocks: int) -> dict[str, Any]:
        """How the actors of a stage are laid out over what the cluster has now."""
        if stage is EstimateActor:
            share = self._options.gpus_per_actor
            nodes = [node["Resources"] for node in self._connect().nodes() if node["Alive"]]
            actors = gpu_actors([float(node.get("GPU", 0)) for node in nodes], share)
            if not actors:  # Ray would wait for a machine that has as many
                raise EngineError(f"`gpus_per_actor` {share:g}: no machine of the cluster has that many GPUs")
            own = {"num_gpus": share, "num_cpus": 0, "batch_size": GPU_BATCH, "batch_format": "numpy"}
        else:
            if self._resources("CPU") < 1:
                raise EngineError("Ray: the cluster has no CPU")
            actors = self._options.workers or int(self._resources("CPU"))
            own = {"num_cpus": 1, "batch_size": BLOCK, "batch_format": "pyarrow"}
        actors = max(1, min(actors, blocks))
        # What others use of the cluster now is not waited for; Ray adds actors when it is free.
        free = int(self._connect().available_resources().get("CPU", 0)) if own["num_cpus"] else actors
        first = max(1, min(actors, free))
        pool = self._ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=first)
        return {"fn_constructor_args": (self._job(),), "compute": pool, **own}

    def _job(self) -> Job:
        models = self.models
        options = replace(
            self._options,
            checkpoint=_absolute(self._options.checkpoint),
            detector=_absolute(self._options.detector),
        )
        return Job(options, models.detector.sha256, models.checkpoint_sha256, self._device())

    def _device(self) -> str:
        return cluster_device(self._options, self._resources("GPU"))

    def _resources(self, kind: str) -> float:
        return float(self._connect().cluster_resources().get(kind, 0))

    def _connect(self) -> Any:
        if self._ray is not None:
            return self._ray
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing leaves the machine
        # Its core writes to stderr, also of what Ray Data does on purpose.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise EngineError("the Ray engine is not installed: pip install 'ray[data]'") from error
        address = self._options.ray_address
        if not ray.is_initialized():
            local = {"num_cpus": self._options.workers, "object_store_memory": OBJECT_STORE}
            try:
                _check_address(address)
                with _signals_kept(), _core_silenced():
                    ray.init(
                        address=address or "local",
                        include_dashboard=None if address else False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                        **({} if address else local),
                    )
            except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
                raise EngineError(f"Ray at {address or 'this machine'}: {_first_line(error)}") from error
            self._ours = True
        _make_quiet(ray)
        self._ray = ray
        return ray


def _results(ray: Any, data: Any) -> Generator[Any, None, None]:
    """The items of each block that the last stage of a dataset has made.

    When this ends, none of Ray Data's threads is left. One that asked Ray for anything after
    `ray.shutdown()` would end the whole process, with status 1 and without a word; and `iter_batches`
    leaves such threads behind where its caller stops early.
    """
    before = set(threading.enumerate())
    bundles = data.iter_internal_ref_bundles()
    try:
        for bundle in bundles:
            for block in ray.get(list(bundle.block_refs)):
                accessor = ray.data.block.BlockAccessor.for_block(block)
                if accessor.num_rows():
                    yield accessor.to_numpy(ITEM)
    finally:
        del bundles  # which shuts its executor down
        deadline = time.monotonic() + END_SECONDS
        for thread in set(threading.enumerate()) - before:
            thread.join(max(0.0, deadline - time.monotonic()))


def gpu_actors(gpus: list[float], share: float) -> int:
    """How many actors fit on machines with so many GPUs, each with its share on one machine."""
    return sum(int(number / share + 1e-6) for number in gpus)  # 1 // 0.1 is 9


def _absolute(spec: str | None) -> str | None:
    """What names a file here names it in an actor, which runs in another folder. Other names stay."""
    path = os.path.expanduser(spec or "")
    return os.path.abspath(path) if os.path.exists(path) else spec


def _check_address(address: str | None) -> None:
    """Raises OSError where nothing listens: Ray itself would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _make_quiet(ray: Any) -> None:
    """Ray Data reports to its log file only; progress is the scan's own."""
    logger = logging.getLogger("ray.data")
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES


@contextmanager
def _core_silenced() -> Iterator[None]:
    """Ray's core announces on stderr which log level it was given. Failures are raised."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; here it means that the scan shall end in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
