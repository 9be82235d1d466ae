"""The worker pool: a task that fails, hangs or kills its process costs that task alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from faults.scanning import is_worker, processes_of, wait_until

from photoage.errors import DecodeError, DetectorError
from photoage.pool import AHEAD, LARGE, LARGE_BYTES, PhotoPool, claim_memory


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
        case "slow":
            time.sleep(1.5)
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
    results = run(items, timeout=3.0)
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


def test_a_pause_is_told_while_the_last_task_takes_long() -> None:
    with PhotoPool(2, timeout=30) as pool:
        assert [each.value for each in pool.run(work, ["x", "x"], lambda item: (item,))] == ["X", "X"]
        answers = pool.run_with_pauses(work, ["slow", "x"], lambda item: (item,), 0.2)
        told = [None if each is None else each.value for each in answers]
    assert [value for value in told if value] == ["X", "SLOW"]
    assert 2 <= told.count(None) <= 50  # on a busy machine more than a second's five, but no busy waiting


def claim(item: str) -> tuple[float, float]:
    """Hold what a very large photo takes, for a moment; when it was held."""
    claim_memory(LARGE + 1)
    claim_memory(LARGE + 1)  # as another page of it does
    began = time.monotonic()
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.15)
    return began, time.monotonic()


def test_large_photos_take_turns_and_one_that_kills_its_worker_holds_up_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("photoage.pool.available_memory", lambda: LARGE_BYTES)
    with PhotoPool(3, timeout=30) as pool:
        outcomes = list(pool.run(claim, ["a", "b", "die", "c", "d"], lambda item: (item,)))
    times = sorted(outcome.value for outcome in outcomes if outcome.value is not None)
    assert len(times) == 4
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert [outcome.failure.kind for outcome in outcomes if outcome.failure] == ["crash"]
    claim_memory(LARGE + 1)  # not in a worker


def test_an_outcome_tells_how_long_it_took() -> None:
    with PhotoPool(1, timeout=30) as pool:
        (slow, bad) = sorted(pool.run(work, ["slow", "bad"], lambda item: (item,)), key=lambda o: -o.seconds)
    assert 1.5 <= slow.seconds < 30
    assert bad.failure is not None
    assert 0 < bad.seconds < 1.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a FIFO")
def test_a_worker_that_hangs_ends_with_a_scan_that_was_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from photoage.pool import PhotoPool\n"
        "with PhotoPool(1, timeout=600) as pool:\n"
        "    list(pool.run(Path.read_bytes, [Path(sys.argv[1])], lambda path: (path,)))\n"
    )
    with (
        subprocess.Popen([sys.executable, "-c", program, str(fifo)], start_new_session=True) as scan,
        open(fifo, "wb"),  # which waits until the worker reads; that, too, waits from now on
    ):
        assert any(map(is_worker, processes_of(scan.pid)))
        scan.kill()
        scan.wait()
        assert wait_until(lambda: not processes_of(scan.pid), 20)
