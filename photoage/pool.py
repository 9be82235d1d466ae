"""Worker processes that a photo can crash, hang or exhaust without costing another photo."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import filelock
from pebble import CONSTS, ProcessExpired, ProcessPool

from photoage.errors import DecodeError, PhotoageError
from photoage.machine import available_memory

T = TypeVar("T")
R = TypeVar("R")
Answer = tuple[R | DecodeError, float]  # what a worker gives, and the seconds that it took

AHEAD = 24  # tasks in flight per worker; with half as many they had to wait for the import of torch
GRACE = 60.0  # seconds beyond the time limit after which a silent pool counts as broken
ATTEMPTS = 2
# What takes a worker longest to import. The only threads that it starts are those of OpenBLAS, which ends and
# restarts its own around a fork.
PRELOADED = ["insightface.model_zoo", "photoage.faces.read"]

# Photos of more pixels than LARGE are decoded only a few at a time, by all workers together: as many as would
# fit into memory if each took LARGE_BYTES, which is what the largest ones take.
LARGE = 64_000_000
LARGE_BYTES = 2_400_000_000
PHOTO_TIMEOUT = 120.0  # seconds; the largest real photos take a few

# Seconds that a worker has to end by itself. It has nothing to tidy up, and never sees SIGTERM; one that
# is still starting would only find its channel gone and complain on stderr.
CONSTS.term_timeout = 0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T, R]):
    """A task with what became of it: a value or a failure, never both; neither if there was nothing to do."""

    task: T
    value: R | None = None
    failure: DecodeError | None = None
    seconds: float = 0.0  # that a worker had it in hand


class PhotoPool:
    """A pool of processes with a time limit per task. Use as a context manager."""

    def __init__(self, workers: int, *, timeout: float) -> None:
        """`timeout` in seconds for one task, its worker's first-time loading included.

        A task that exceeds it is tried once more before it counts as hung.
        """
        self.workers, self.timeout = workers, timeout
        self._folder = tempfile.TemporaryDirectory(prefix="photoage-", ignore_cleanup_errors=True)
        self._pool = self._start()

    def _start(self) -> ProcessPool:
        large = max(1, min(self.workers, available_memory() // LARGE_BYTES))
        places = [os.path.join(self._folder.name, str(number)) for number in range(large)]
        # With the environment of now: a server that forks workers keeps that of the first scan.
        arguments = (dict(os.environ), places)
        return ProcessPool(self.workers, initializer=_begin, initargs=arguments, context=_context())

    def __enter__(self) -> PhotoPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()
        self._pool.join()
        self._folder.cleanup()

    def run(
        self, function: Callable[..., R], tasks: Iterable[T], arguments: Callable[[T], tuple[Any, ...] | None]
    ) -> Iterator[Outcome[T, R]]:
        """Apply `function(*arguments(task))` to every task, in the order in which they finish.

        A task without arguments comes back at once, before any that came after it. At most AHEAD tasks
        per worker are in flight, however many there are. A `DecodeError`, a crash, a hang or any other
        exception of one task becomes that task's failure; every other `PhotoageError` (a detector that
        cannot be loaded, say) ends the run and is raised.
        """
        with closing(self.run_with_pauses(function, tasks, arguments, math.inf)) as outcomes:
            yield from (outcome for outcome in outcomes if outcome is not None)

    def run_with_pauses(
        self,
        function: Callable[..., R],
        tasks: Iterable[T],
        arguments: Callable[[T], tuple[Any, ...] | None],
        pause: float,
    ) -> Generator[Outcome[T, R] | None, None, None]:
        """As `run`, with a None whenever nothing has finished for `pause` seconds."""
        source = iter(tasks)
        flying: dict[Future[Answer[R]], tuple[T, int]] = {}
        finished: SimpleQueue[Future[Answer[R]]] = SimpleQueue()
        heard = time.monotonic()

        def submit(task: T, attempt: int) -> bool:
            if (told := arguments(task)) is None:
                return False
            with _workers_spared():  # the first call starts the workers
                future = self._pool.schedule(_work, args=(function, *told), timeout=self.timeout)
            flying[future] = (task, attempt)
            future.add_done_callback(finished.put)
            return True

        try:
            while True:
                while len(flying) < self.workers * AHEAD:
                    try:
                        task = next(source)
                    except StopIteration:
                        break
                    if not submit(task, 1):
                        yield Outcome(task)
                if not flying:
                    return
                future = _next(finished, min(pause, heard + self.timeout + GRACE - time.monotonic()))
                if future is None and time.monotonic() < heard + self.timeout + GRACE:
                    yield None
                    continue
                heard = time.monotonic()
                if future is None or _is_broken(future):
                    lost = [entry for other, entry in flying.items() if not _has_answer(other)]
                    for answered in [other for other in flying if _has_answer(other)]:
                        yield _outcome(flying.pop(answered)[0], answered)
                    flying.clear()
                    self._pool.stop()
                    self._pool.join()
                    self._pool, finished = self._start(), SimpleQueue()
                    for task, attempt in lost:
                        if attempt < ATTEMPTS:
                            submit(task, attempt + 1)
                        else:
                            yield Outcome(task, failure=DecodeError("crash", "the worker processes died"))
                    continue
                task, attempt = flying.pop(future)
                if attempt < ATTEMPTS and _timed_out(future):
                    submit(task, attempt + 1)  # the clock also runs while a laptop sleeps
                else:
                    yield _outcome(task, future)
        finally:
            for future in flying:
                future.cancel()


def claim_memory(pixels: int) -> None:
    """In a worker: wait until a photo of so many pixels can be decoded beside what others decode.

    The claim ends with the task. Elsewhere than in a worker it does nothing.
    """
    if pixels <= LARGE or not _places or any(place.is_locked for place in _places):
        return
    while True:
        for place in _places:
            with suppress(filelock.Timeout):
                place.acquire(blocking=False)
                return
        time.sleep(0.05)


def _context() -> Any:
    """How workers start. Never forked from this process: where torch has run threads, a fork can hang.

    On Linux they are forked from a clean one that has loaded their libraries once for all of them.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextmanager
def _workers_spared() -> Iterator[None]:
    """Processes and threads started meanwhile never see SIGINT or SIGTERM.

    Ctrl-C and a shutdown send them to all processes; but it is for the scan to end its workers,
    after the photos in their hands. Blocking is the only way from a worker's first moment on.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would undo the block when it is started with the first worker
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_places: list[filelock.FileLock] = []  # in a worker: one is held while a large photo is in hand


def _begin(environment: dict[str, str], places: list[str]) -> None:
    """In a worker: the scan's environment; and a scan that was killed must not leave it waiting for ever."""
    os.environ.clear()
    os.environ.update(environment)
    # Locks on files, since the system lets go of them when a worker dies.
    _places[:] = [filelock.FileLock(place) for place in places]
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(function: Callable[..., R], *arguments: Any) -> Answer[R]:
    """In a worker: one task."""
    started = time.monotonic()
    answer: R | DecodeError
    try:
        answer = function(*arguments)
    except DecodeError as error:
        answer = error
    finally:
        for place in _places:
            place.release()
    return answer, time.monotonic() - started


def _next(finished: SimpleQueue[Future[R]], seconds: float) -> Future[R] | None:
    with suppress(Empty):
        return finished.get(timeout=max(0.0, seconds))
    return None


def _is_broken(future: Future[R]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)


def _timed_out(future: Future[R]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), FutureTimeoutError)


def _has_answer(future: Future[R]) -> bool:
    return future.done() and not future.cancelled() and not _is_broken(future)


def _outcome(task: T, future: Future[Answer[R]]) -> Outcome[T, R]:
    try:
        answer, seconds = future.result()
    except PhotoageError:
        raise
    except FutureTimeoutError:
        return Outcome(task, failure=DecodeError("timeout", "took too long and was given up"))
    except ProcessExpired as error:
        code = error.exitcode
        cause = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return Outcome(task, failure=DecodeError("crash", f"the worker process died ({cause})"))
    except Exception as error:  # noqa: BLE001 - any failure of one photo is that photo's result
        lines = str(error).splitlines()
        cause = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        return Outcome(task, failure=DecodeError("internal", cause))
    if isinstance(answer, DecodeError):
        return Outcome(task, failure=answer, seconds=seconds)
    return Outcome(task, value=answer, seconds=seconds)
