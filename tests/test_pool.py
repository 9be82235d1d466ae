"""The worker pool: a task that fails, hangs or kills its process costs that task alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from photoage.errors import DecodeError, DetectorError
from photoage.pool import AHEAD, PhotoPool


def work(item: str) -> str:
    match item:
        case "bad":
            raise DecodeError("corrupt", "bad: broken")
        case "bug":
            raise ZeroDivisionError("a bug\nwith a second line")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(600)
        case "fatal":
            raise DetectorError("no detector")
    return item.upper()


def run(items: list[str], timeout: float = 30.0) -> dict[str, str]:
    """Each item's value, or the kind of its failure."""
    with PhotoPool(2, timeout=timeout) as pool:
        results: dict[str, str] = {}
        for outcome in pool.run(work, items, lambda item: (item.split("-")[0],)):
            assert (outcome.value is None) != (outcome.failure is None)
            results[outcome.task] = outcome.value or (outcome.failure.kind if outcome.failure else "")
        return results


def test_no_tasks_give_no_outcomes() -> None:
    assert run([]) == {}


def test_every_task_is_answered_once_among_failures_crashes_and_hangs() -> None:
    items = [f"x-{i}" for i in range(30)] + ["bad", "bug", "die", "hang", "die-2"]
    results = run(items, timeout=6.0)
    assert {k: v for k, v in results.items() if not k.startswith("x-")} == {
        "bad": "corrupt",
        "bug": "internal",
        "die": "crash",
        "die-2": "crash",
        "hang": "timeout",
    }
    assert sum(value == "X" for value in results.values()) == 30


def test_only_crashing_tasks_still_end() -> None:
    assert run(["die-1", "die-2", "die-3"]) == {"die-1": "crash", "die-2": "crash", "die-3": "crash"}


def test_an_error_that_concerns_every_photo_ends_the_run() -> None:
    with pytest.raises(DetectorError, match="no detector"):
        run(["x-1", "fatal"])


def test_tasks_are_taken_only_as_fast_as_they_are_done() -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for i in range(500):
            taken += 1
            yield f"x-{i}"

    with PhotoPool(1, timeout=30) as pool:
        outcomes = pool.run(work, source(), lambda item: (item,))
        next(outcomes)
        assert taken <= 2 * AHEAD
        outcomes.close()  # type: ignore[attr-defined]
