"""Scan runs, the lock between them, and scans that are killed, in real databases of both kinds."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from databases import (
    CHECKPOINT,
    DETECTOR,
    HOLD_LOCK,
    LATER_CHECKPOINT,
    LATIN,
    Place,
    another_process,
    another_writer,
    assert_sound,
    begin,
    opened,
    run_sql,
    save,
    stored_ages,
)

from photoage.database import sqlite
from photoage.database.face_filter import FaceFilter
from photoage.database.history import iter_runs
from photoage.database.query import count_faces
from photoage.database.store import WORTH_ANALYZING, Store
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.records import Estimate, RunCounts


@pytest.fixture
def path(new_database: Callable[[], Place]) -> Place:
    return new_database()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "photoage.db"


# --- scan runs ----------------------------------------------------------------------------------


def test_a_run_is_recorded_from_beginning_to_end(path: Place) -> None:
    counts = RunCounts(9, 1, 2, 3, 4, 5, 6, 7, 8, 10)
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
    assert list(finished.counts.values()) == [9, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert counts.finished == 1 + 2 + 3 + 5 + 6 + 7 + 8


def test_statistics_are_taken_after_runs_that_stored_much_only(
    path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is watched changes by a few photos at a time, but often."""
    taken: list[int] = []
    monkeypatch.setattr("photoage.database.store.update_statistics", lambda connection: taken.append(done))
    with Store.open(path) as store:
        for done in (0, 1, WORTH_ANALYZING - 1, WORTH_ANALYZING):
            begin(store)
            store.finish_run("finished", RunCounts(seen=10 * WORTH_ANALYZING, done=done))
    assert taken == [WORTH_ANALYZING]


def test_the_same_model_under_another_name_is_the_same_model(path: Place) -> None:
    with Store.open(path) as store:
        begin(store)
        before = (store.known.detector_id, store.known.checkpoint_id)
        store.begin_run([], {}, ("renamed", DETECTOR[1]), ("moved", CHECKPOINT[1]))
        assert (store.known.detector_id, store.known.checkpoint_id) == before


# --- locks and kills ----------------------------------------------------------------------------

SCAN_ON = """
import sys
from photoage.records import PhotoFaces, PhotoFile
from photoage.database.store import WORTH_ANALYZING, Store
with Store.open(sys.argv[1]) as store:
    store.begin_run(["/k"], {}, ("d", "d"), ("c", "c"))
    print("scanning", flush=True)
    for number in range(10**9):
        store.save_many([(PhotoFile(f"/k/{number}", 1, 1), PhotoFaces("h", 1, 1, ()), [])])
        if number % 7 == 0:
            store.commit()
"""


def test_a_second_scan_is_told_at_once(path: Place) -> None:
    with another_process(SCAN_ON, path):
        start = time.monotonic()
        with pytest.raises(DatabaseLockedError, match="another scan is writing to"):
            Store.open(path)
        assert time.monotonic() - start < 2
        with opened(path, read_only=True) as engine:  # reading goes on
            assert count_faces(engine, FaceFilter()) == 0
    with Store.open(path) as store:
        begin(store)


def test_a_scan_of_the_same_file_by_another_name_is_told(file: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias.db"
    alias.symlink_to(file)
    with Store.open(file), pytest.raises(DatabaseLockedError, match="another scan is writing to"):
        Store.open(alias)


def test_another_writer_costs_the_batch_but_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.2)
    with Store.open(file) as store:
        begin(store)
        save(store, "/p/a.jpg", 1)
        store.commit()
        with another_process(HOLD_LOCK, file):
            with pytest.raises(DatabaseLockedError) as caught:
                save(store, "/p/b.jpg", 2)
            assert str(caught.value) == f"{file}: another process is writing to it"
            assert stored_ages(file) == [1.0]
        save(store, "/p/b.jpg", 2)
        store.commit()
    assert stored_ages(file) == [1.0, 2.0]


def test_a_killed_scan_leaves_whole_photos_and_no_lock(path: Place) -> None:
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


def test_a_store_that_cannot_be_opened_holds_no_lock(file: Path) -> None:
    file.write_text("not a database")
    with pytest.raises(DatabaseError, match="is not a database"):
        Store.open(file)
    file.unlink()
    with Store.open(file) as store:
        begin(store)


def test_the_lock_of_a_database_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="is a folder"):
        Store.open(tmp_path)
    with pytest.raises(DatabaseError, match="no such folder"):
        Store.open(tmp_path / "absent" / "photoage.db")
    (tmp_path / "photoage.db.scan.lock").mkdir()
    with pytest.raises(DatabaseError, match="cannot be locked"):
        Store.open(tmp_path / "photoage.db")


def test_the_program_that_ends_without_closing_lets_the_next_scan_in(path: Place) -> None:
    code = "import sys; from photoage.database.store import Store; store = Store.open(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    Store.open(path).close()


# --- several writers ----------------------------------------------------------------------------


def test_estimates_by_two_writers_are_not_doubled(path: Place) -> None:
    with Store.open(path) as store:
        begin(store)
        photo_id = save(store, "/p/a.jpg", 30, 40)
        store.commit()
        begin(store, LATER_CHECKPOINT)
        with another_writer(path, store) as other:
            for writer in (store, other, store):
                writer.add_estimates(photo_id, [Estimate(33, 30, 36), Estimate(44, 40, 48)])
                writer.commit()
    assert stored_ages(path) == [33.0, 44.0]
    assert run_sql(path, "SELECT count(*) FROM estimate") == [(4,)]
    assert_sound(path)
