"""Scan runs, the lock between them, and scans that are killed, on real database files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from databases import (
    CHECKPOINT,
    DETECTOR,
    HOLD_LOCK,
    LATIN,
    another_process,
    assert_sound,
    begin,
    opened,
    save,
    stored_ages,
)

from photoage import sqlite
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.query import FaceFilter, count_faces, iter_runs
from photoage.store import RunCounts, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photoage.db"


# --- scan runs ----------------------------------------------------------------------------------


def test_a_run_is_recorded_from_beginning_to_end(path: Path) -> None:
    counts = RunCounts(9, 1, 2, 3, 4, 5, 6, 7, 8)
    with Store.open(path) as store:
        first = begin(store, roots=[LATIN, "/q"])  # and killed, as far as the database can tell
        second = begin(store)
        store.finish_run("finished", counts)
    with opened(path, read_only=True) as engine:
        killed, finished = iter_runs(engine)
    assert (killed.id, killed.status, killed.finished_at) == (first, "interrupted", None)
    assert killed.roots == [LATIN, "/q"]
    assert (finished.id, finished.status, finished.options) == (second, "finished", {"force": False})
    assert (finished.detector, finished.checkpoint) == ("scrfd", "first")
    assert finished.finished_at is not None
    assert finished.finished_at >= finished.started_at
    assert list(finished.counts.values()) == [9, 1, 2, 3, 4, 5, 6, 7, 8]
    assert counts.finished == 1 + 2 + 3 + 5 + 6 + 7


def test_the_same_model_under_another_name_is_the_same_model(path: Path) -> None:
    with Store.open(path) as store:
        begin(store)
        before = (store.detector_id, store.checkpoint_id)
        store.begin_run([], {}, ("renamed", DETECTOR[1]), ("moved", CHECKPOINT[1]))
        assert (store.detector_id, store.checkpoint_id) == before


# --- locks and kills ----------------------------------------------------------------------------

SCAN_ON = """
import sys
from photoage.records import PhotoFaces, PhotoFile
from photoage.store import Store
with Store.open(sys.argv[1]) as store:
    store.begin_run(["/k"], {}, ("d", "d"), ("c", "c"))
    print("scanning", flush=True)
    for number in range(10**9):
        store.save_faces(PhotoFile(f"/k/{number}", 1, 1), PhotoFaces("h", 1, 1, None, ()), [])
        if number % 7 == 0:
            store.commit()
"""


def test_a_second_scan_is_told_at_once(path: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias.db"
    alias.symlink_to(path)
    with another_process(SCAN_ON, path):
        for name in (path, alias):
            start = time.monotonic()
            with pytest.raises(DatabaseLockedError, match="another scan is writing to"):
                Store.open(name)
            assert time.monotonic() - start < 2
        with opened(path, read_only=True) as engine:  # reading goes on
            assert count_faces(engine, FaceFilter()) == 0
    with Store.open(path) as store:
        begin(store)


def test_another_writer_costs_the_batch_but_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.2)
    with Store.open(path) as store:
        begin(store)
        save(store, "/p/a.jpg", 1)
        store.commit()
        with another_process(HOLD_LOCK, path):
            with pytest.raises(DatabaseLockedError) as caught:
                save(store, "/p/b.jpg", 2)
            assert str(caught.value) == f"{path}: another process is writing to it"
            assert stored_ages(path) == [1.0]
        save(store, "/p/b.jpg", 2)
        store.commit()
    assert stored_ages(path) == [1.0, 2.0]


def test_a_killed_scan_leaves_whole_photos_and_no_lock(path: Path) -> None:
    for attempt in range(5):
        with another_process(SCAN_ON, path) as process:
            time.sleep(0.02 + 0.05 * attempt)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert_sound(path)
    with Store.open(path) as store:
        begin(store)
    with opened(path, read_only=True) as engine:
        assert [run.status for run in iter_runs(engine)] == ["interrupted"] * 5 + ["running"]


def test_a_store_that_cannot_be_opened_holds_no_lock(path: Path) -> None:
    path.write_text("not a database")
    with pytest.raises(DatabaseError, match="is not a database"):
        Store.open(path)
    path.unlink()
    with Store.open(path) as store:
        begin(store)


def test_the_lock_of_a_database_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder"):
        Store.open(tmp_path)
    with pytest.raises(DatabaseError, match="no such folder"):
        Store.open(tmp_path / "absent" / "photoage.db")
    (tmp_path / "photoage.db.scan.lock").mkdir()
    with pytest.raises(DatabaseError, match="cannot be locked"):
        Store.open(tmp_path / "photoage.db")


def test_the_program_that_ends_without_closing_lets_the_next_scan_in(path: Path) -> None:
    code = "import sys; from photoage.store import Store; store = Store.open(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    Store.open(path).close()
