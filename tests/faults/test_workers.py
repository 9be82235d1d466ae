"""A decoder that crashes, hangs or runs out of memory costs one photo, and that can be tried again.

PHOTOAGE_TEST_TIME_LIMIT sets the seconds after which a photo counts as hung (10): more for a busy machine.
Given at all, it also runs the test that takes longest.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from faults.scanning import (
    assert_same_rows,
    assert_sound,
    copy_photos,
    is_worker,
    query,
    rows,
    scan,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]

SIDE = 8_900  # pixels: as many as a photo may have that is not searched in tiles
TIME_LIMIT = float(os.environ.get("PHOTOAGE_TEST_TIME_LIMIT", "10"))  # seconds for one photo
LONG = "PHOTOAGE_TEST_TIME_LIMIT" in os.environ
LARGE = 330 << 20  # bytes of memory by which a worker that decodes the poisoned photo is known


def poisoned(path: Path) -> Path:
    """A small file that takes long and much memory to decode."""
    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * SIDE)
    pixels = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    body = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    return path


@contextmanager
def workers_watched(act: Callable[[Any], None], *, memory: int, times: int = 1) -> Iterator[list[int]]:
    """Do something to the first `times` workers that use so many bytes; gives the workers it was done to."""
    done: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005) and len(done) < times:
            for child in psutil.Process().children(recursive=True):
                try:
                    if child.pid not in done and is_worker(child) and child.memory_info().rss > memory:
                        act(child)
                        done.append(child.pid)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield done
    finally:
        ended.set()
        watcher.join()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("poisoned")
    copy_photos(folder, "orientations/1.jpg", "orientations/6.jpg", "places/flower.jpg")
    poisoned(folder / "5.png")
    return folder


def kinds(database: Path) -> dict[str, str | None]:
    """The error kind of every photo, by its file's name; None for those that are done."""
    found = query(database, "SELECT path, error_kind FROM photo")
    return {os.path.basename(path): kind for path, kind in found}


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_worker_killed_while_it_decodes_costs_one_photo(library: Path, tmp_path: Path) -> None:
    database = tmp_path / "photoage.db"
    with workers_watched(lambda worker: worker.send_signal(signal.SIGSEGV), memory=LARGE) as killed:
        summary = scan(library, database=database)
    assert len(killed) == 1
    assert (summary.counts.done, summary.counts.unreadable) == (3, 1)
    assert kinds(database) == {"1.jpg": None, "6.jpg": None, "flower.jpg": None, "5.png": "crash"}
    assert_sound(database)

    before = rows(database)
    assert scan(library, database=database).counts.unchanged == 4
    summary = scan(library, database=database, retry_errors=True)
    assert (summary.counts.done, summary.counts.unchanged) == (1, 3)
    after = rows(database)
    assert after.pop(str(library / "5.png")).status == "done"
    del before[str(library / "5.png")]
    assert_same_rows(after, before)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_photo_that_hung_once_gets_a_second_chance(library: Path, tmp_path: Path) -> None:
    database, stored = tmp_path / "photoage.db", []
    with workers_watched(lambda worker: worker.suspend(), memory=LARGE) as hung:
        summary = scan(
            library,
            database=database,
            photo_timeout=TIME_LIMIT,
            progress=lambda counts: stored.append(counts.done),
        )
    assert wait_until(lambda: not psutil.pid_exists(hung[0]), 10)
    assert (summary.counts.done, summary.counts.unreadable) == (4, 0)  # the machine may just have slept
    assert 1 in stored  # the photo before it did not wait for it
    assert_sound(database)


@pytest.mark.skipif(os.name == "nt" or not LONG, reason="takes twice the time limit")
def test_a_photo_that_always_hangs_costs_itself(library: Path, tmp_path: Path) -> None:
    database = tmp_path / "photoage.db"
    with workers_watched(lambda worker: worker.suspend(), memory=LARGE, times=2) as hung:
        summary = scan(library, database=database, photo_timeout=TIME_LIMIT)
    assert wait_until(lambda: not any(psutil.pid_exists(pid) for pid in hung), 10)
    assert (summary.counts.done, summary.counts.unreadable) == (3, 1)
    assert kinds(database)["5.png"] == "timeout"
    assert_sound(database)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_photo_that_needs_more_memory_than_there_is_costs_itself(library: Path, tmp_path: Path) -> None:
    def starve(worker: Any) -> None:
        most = worker.memory_info().vms + (SIDE * SIDE * 3) // 4
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, most))

    database, photos = tmp_path / "photoage.db", tmp_path / "photos"
    shutil.copytree(library, photos)
    (photos / "5.png").rename(photos / "last.png")  # the limit stays, and would starve what follows
    with workers_watched(starve, memory=LARGE) as starved:
        summary = scan(photos, database=database)
    assert len(starved) == 1
    assert kinds(database)["last.png"] == "memory"
    assert (summary.counts.done, summary.counts.unreadable) == (3, 1)
    assert_sound(database)
