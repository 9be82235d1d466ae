"""Ctrl-C and SIGTERM; a second scan, a check and a backup while a scan runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

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
    stop,
    wait_until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("alone"),
    pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals"),
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_scan_keeps_what_is_done_and_resumes(
    number: signal.Signals, library: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    database = tmp_path / "photoage.db"
    with started("scan", "-j", "1", "--batch-size", "2", library, database=database) as process:
        assert wait_until(lambda: photos_stored(database) > 0 or process.poll() is not None)
        status, messages = stop(process, number)
        assert status == 130, messages
        assert "Traceback" not in messages
        assert "interrupted: finished photos are stored" in messages
        assert wait_until(lambda: not processes_of(process.pid), 5)
    assert_sound(database)
    done = rows(database)
    assert 0 < len(done) < len(unbroken.rows)
    assert_same_rows(done, {path: unbroken.rows[path] for path in done})
    assert query(database, "SELECT status, finished_at IS NULL FROM scan_run") == [("interrupted", 0)]

    resumed = photoage("scan", library, database=database)
    assert resumed.returncode == 0
    assert f"{len(done)} unchanged" in resumed.stderr
    assert_same_rows(rows(database), unbroken.rows)


def test_ctrl_c_while_the_workers_start_ends_without_a_traceback(library: Path, tmp_path: Path) -> None:
    database = tmp_path / "photoage.db"
    with started("scan", "-j", "2", library, database=database) as process:
        assert wait_until(lambda: any(map(is_worker, processes_of(process.pid))))
        time.sleep(0.05)
        status, messages = stop(process, signal.SIGINT)
    assert status == 130, messages
    assert "Traceback" not in messages
    assert_sound(database)
    kinds = query(database, "SELECT error_kind FROM photo WHERE status = 'unreadable'")
    assert not {kind for (kind,) in kinds} & {"crash", "internal", "timeout"}


def test_a_second_scan_is_refused_at_once_while_check_and_backup_work(
    library: Path, unbroken: Unbroken, tmp_path: Path
) -> None:
    database, copy = tmp_path / "photoage.db", tmp_path / "backup.db"
    with started("scan", "--batch-size", "2", library, database=database) as process:
        assert wait_until(lambda: photos_stored(database) > 0 or process.poll() is not None)
        # The first scan must be in the middle, however slow the machine is, and with it its locks.
        os.killpg(process.pid, signal.SIGSTOP)
        second = photoage("scan", library, database=database)
        assert second.returncode == 1
        assert second.stderr == f"photoage: error: another scan is writing to {database}\n"
        check = photoage("db", "check", database=database)
        assert (check.returncode, check.stdout) == (0, "ok\n"), check.stderr
        os.killpg(process.pid, signal.SIGCONT)

        backup = photoage("db", "backup", copy, database=database)
        assert backup.returncode == 0, backup.stderr
        check = photoage("db", "check", database=database)
        assert (check.returncode, check.stdout) == (0, "ok\n"), check.stderr
        assert process.wait(600) == 0
    assert_same_rows(rows(database), unbroken.rows)
    assert_sound(copy)
    saved = rows(copy)
    assert len(saved) > 0
    assert_same_rows(saved, {path: unbroken.rows[path] for path in saved})
