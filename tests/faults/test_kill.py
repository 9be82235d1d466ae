"""SIGKILL at any moment: an intact database, no process left behind, and a complete resume.

PHOTOAGE_TEST_KILLS sets the number of kills (2).
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from faults.scanning import (
    Unbroken,
    assert_same_rows,
    assert_sound,
    is_worker,
    photoage,
    photos_stored,
    processes_of,
    query,
    rows,
    started,
    wait_until,
)

KILLS = int(os.environ.get("PHOTOAGE_TEST_KILLS", "2"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("alone"),
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals"),
]


def kill_scan(library: Path, database: Path, *, delay: float, stored: int = 0) -> None:
    """Kill a scan `delay` seconds after it has committed so many photos."""
    with started("scan", "--batch-size", "4", library, database=database) as process:
        wait_until(lambda: process.poll() is not None or photos_stored(database) >= stored)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not processes_of(process.pid), 10), "workers outlive the scan"


def test_killed_scans_leave_intact_databases_and_resume_to_the_same_rows(
    library: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    chance = random.Random(4)
    photos = len(unbroken.rows)
    stored = []
    for number in range(KILLS):
        database = tmp_path / f"{number}.db"
        if number % 2:
            kill_scan(library, database, delay=chance.random() * unbroken.seconds)
        else:
            kill_scan(library, database, delay=chance.random() * 0.05, stored=chance.randrange(1, photos))
        stored.append(photos_stored(database))
        if database.exists():
            assert query(database, "PRAGMA integrity_check") == [("ok",)]
            assert query(database, "PRAGMA foreign_key_check") == []
        resumed = photoage("scan", library, database=database)
        assert resumed.returncode == 0, resumed.stderr
        assert_sound(database)
        assert_same_rows(rows(database), unbroken.rows)
        runs = [status for (status,) in query(database, "SELECT status FROM scan_run ORDER BY id")]
        assert runs[-1] == "finished"
        assert set(runs[:-1]) <= {"interrupted", "finished"}
        print(f"\nkill {number + 1} of {KILLS}: {stored[-1]} of {photos} photos were stored", end="")
    partial = sum(0 < count < photos for count in stored)
    print(f"\n{KILLS} kills, {partial} of them between the first and the last commit")


def test_a_worker_that_is_still_starting_when_the_scan_is_killed_ends_by_itself(
    library: Path, tmp_path: Path
) -> None:
    with started("scan", "-j", "2", library, database=tmp_path / "photoage.db") as process:
        workers: list[Any] = []
        while len(workers) < 2:
            assert process.poll() is None
            workers = [p for p in processes_of(process.pid) if is_worker(p)]
        for worker in workers:
            worker.suspend()  # before it can have looked who its parent is
        process.kill()
        process.wait()
        for worker in workers:
            worker.resume()
        assert wait_until(lambda: not processes_of(process.pid), 20)
