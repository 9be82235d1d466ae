"""Running real scans, watching their processes, and comparing what they stored."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
import pytest
from PIL import Image, ImageEnhance

from photoage.database.connect import check_integrity, open_database
from photoage.records import RunCounts
from photoage.scan.options import ScanOptions
from photoage.scan.record import ScanSummary
from photoage.scan.scan import scan as run_scan

PHOTOAGE = Path(sys.executable).with_name("photoage")
LIBRARY = Path(__file__).parents[2] / "sample_library"
FACE, OTHER_FACE, NO_FACE = "orientations/1.jpg", "orientations/6.jpg", "places/flower.jpg"
PORTRAIT = LIBRARY / "people" / "eileen_collins.png"
AGE_TOLERANCE = 0.0021  # years: a face's age differs by some 1e-6 with the batch it is in, then is rounded
TIMEOUT = 600.0  # seconds; only a hang takes as long


class PhotoRow(NamedTuple):
    """All that a database holds of one photo, apart from ids, runs and timestamps."""

    photo: tuple[Any, ...]
    faces: tuple[tuple[Any, ...], ...]
    ages: tuple[float, ...]  # age, age_low, age_high of each face

    @property
    def status(self) -> str:
        return str(self.photo[6])

    @property
    def error_kind(self) -> str | None:
        return None if self.photo[7] is None else str(self.photo[7])


class Unbroken(NamedTuple):
    """What a scan stores that nothing interrupts, by path, and how many seconds it takes."""

    rows: dict[str, PhotoRow]
    seconds: float


@dataclass(frozen=True)
class Scanned:
    """A folder with three photos and a damaged one, and the database of a scan of it."""

    folder: Path
    database: Path


# --- libraries --------------------------------------------------------------------------------


def make_library(folder: Path, count: int) -> Path:
    """`count` small photos in folders of 50.

    Of ten, three show a face, four do not, one is damaged, and two are copies of the one before them.
    """
    with Image.open(PORTRAIT) as source:
        portrait = source.convert("RGB")
    for i in range(count):
        path = folder / f"{i // 50:03}" / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % 10 >= 8:
            shutil.copyfile(path.with_name(f"{i - i % 10 + 7:04}.jpg"), path)
            continue
        left, top = (110, 0) if i % 3 == 0 else (0, 300)
        cut = portrait.crop((left + i % 7, top + i % 5, left + i % 7 + 200, top + i % 5 + 200))
        ImageEnhance.Brightness(cut).enhance(0.8 + i * 0.4 / count).save(path, quality=90)
        if i % 10 == 4:
            os.truncate(path, path.stat().st_size // 2)
    return folder


def copy_photos(folder: Path, *names: str) -> list[Path]:
    """Photos of the sample library, copied to a folder under their own names."""
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(LIBRARY / name, folder / Path(name).name)) for name in names]


def replace_content(path: Path, other: Path, *, keep_time: bool) -> None:
    """Put another photo's content into a file without changing its size, and perhaps not its time."""
    info = path.stat()
    data = other.read_bytes()[: info.st_size]
    path.write_bytes(data + bytes(info.st_size - len(data)))
    if keep_time:
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


# --- scans ------------------------------------------------------------------------------------


def scan(
    *roots: Path,
    database: Path,
    progress: Callable[[RunCounts], None] = lambda counts: None,
    **options: Any,
) -> ScanSummary:
    """A scan in this process, with one worker."""
    chosen = ScanOptions(workers=1, device="cpu", **options)
    return run_scan([str(root) for root in roots], str(database), chosen, progress=progress)


def command(*arguments: str | Path, database: Path) -> list[str]:
    return [str(PHOTOAGE), "--db", str(database), *map(str, arguments)]


def photoage(
    *arguments: str | Path, database: Path, prefix: tuple[str, ...] = (), **extra: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; `prefix` is a program to run it in, such as `strace`."""
    return subprocess.run(
        [*prefix, *command(*arguments, database=database)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=TIMEOUT,
        **extra,
    )


def without_privileges() -> tuple[str, ...]:
    """A prefix under which permissions count, even for root. Skips the test where there is none."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and setpriv is not there to change that")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@contextmanager
def started(*arguments: str | Path, database: Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, so that its processes can be found; none outlives the test."""
    process = subprocess.Popen(
        command(*arguments, database=database),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        for left in processes_of(process.pid):
            left.kill()
        process.communicate()


def is_worker(process: psutil.Process) -> bool:
    """Whether a process reads photos: spawned for it, or forked from the server that was."""
    try:
        command, parent = " ".join(process.cmdline()), process.parent()
        forked = "forkserver" in command and parent is not None and "forkserver" in " ".join(parent.cmdline())
    except psutil.NoSuchProcess:
        return False
    return forked or "spawn_main" in command


def processes_of(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def wait_until(condition: Any, seconds: float = TIMEOUT) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to the whole process group, as a terminal does; exit status and stderr."""
    os.killpg(process.pid, number)
    return process.wait(TIMEOUT), process.communicate(timeout=TIMEOUT)[1]


# --- databases --------------------------------------------------------------------------------


def query(database: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql, parameters).fetchall()


def photos_stored(database: Path) -> int:
    """How many photos are committed; 0 when there is no database or no table yet."""
    try:
        return int(query(database, "SELECT count(*) FROM photo")[0][0])
    except sqlite3.OperationalError:
        return 0


def assert_sound(database: Path) -> None:
    """Intact for SQLite, and by photoage's own rules."""
    assert query(database, "PRAGMA integrity_check") == [("ok",)]
    assert query(database, "PRAGMA foreign_key_check") == []
    engine = open_database(str(database), read_only=True, any_schema=True)
    try:
        assert check_integrity(engine) == []
    finally:
        engine.dispose()


def statuses(database: Path) -> dict[str, str]:
    """The status of every photo, by its file's name."""
    found = query(database, "SELECT path, status FROM photo")
    return {os.path.basename(path): status for path, status in found}


def rows(database: Path) -> dict[str, PhotoRow]:
    """Everything stored, by path; each face must have exactly one current estimate."""
    photos = query(
        database,
        "SELECT p.id, path, size, mtime_ns, content_hash, width, height, taken_at, status, error_kind,"
        " error_message, detect_key, d.sha256 FROM photo p LEFT JOIN detector d ON d.id = detector_id",
    )
    faces = query(
        database,
        "SELECT f.photo_id, face_index, x1, y1, x2, y2, det_score, landmarks, c.sha256,"
        " age, age_low, age_high"
        " FROM face f LEFT JOIN estimate e ON e.face_id = f.id AND e.current"
        " LEFT JOIN checkpoint c ON c.id = checkpoint_id ORDER BY f.photo_id, face_index",
    )
    by_photo: dict[int, list[tuple[Any, ...]]] = {}
    for face in faces:
        by_photo.setdefault(face[0], []).append(face[1:])
    result = {}
    for photo_id, path, *rest in photos:
        own = by_photo.pop(photo_id, [])
        assert [face[0] for face in own] == list(range(len(own))), path
        ages = tuple(value for face in own for value in face[-3:])
        result[path] = PhotoRow(tuple(rest), tuple(face[:-3] for face in own), ages)
    assert by_photo == {}
    return result


def assert_same_rows(found: Mapping[str, PhotoRow], expected: Mapping[str, PhotoRow]) -> None:
    """No photo lost, none added, and of each the same faces with the same ages."""
    assert found.keys() == expected.keys()
    for path, row in found.items():
        assert row[:2] == expected[path][:2], path
        assert len(row.ages) == len(expected[path].ages), path
        differences = [abs(a - b) for a, b in zip(row.ages, expected[path].ages, strict=True)]
        assert max(differences, default=0.0) <= AGE_TOLERANCE, path
