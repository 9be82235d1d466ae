"""Content that is stored already, under another name or time: nothing is detected twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faults.scanning import (
    NO_FACE,
    PORTRAIT,
    Scanned,
    assert_sound,
    photoage,
    query,
    replace_content,
    rows,
    scan,
)

pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_photo_whose_content_may_be_known_is_opened_once(scanned: Scanned, tmp_path: Path) -> None:
    os.utime(scanned.folder / "flower.jpg", (1, 1))
    # Another photo of the same size as a known one.
    replace_content(scanned.folder / "1.jpg", scanned.folder / "6.jpg", keep_time=False)
    (scanned.folder / "6.jpg").rename(scanned.folder / "moved.jpg")
    log = tmp_path / "strace.log"
    prefix = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,openat2", "-o", str(log))
    result = photoage("scan", "-j", "1", scanned.folder, database=scanned.database, prefix=prefix)
    if "ptrace" in result.stderr and result.returncode != 0:
        pytest.skip("strace is not permitted here")
    calls = [line for line in log.read_text(errors="replace").splitlines() if ".jpg" in line]
    opened = sorted(Path(line.split('"')[1]).name for line in calls)
    assert opened == ["1.jpg", "flower.jpg", "moved.jpg"]
    (counts,) = query(
        scanned.database, "SELECT unchanged, relinked, done, missing FROM scan_run ORDER BY id DESC LIMIT 1"
    )
    assert counts == (2, 1, 1, 0)
    assert_sound(scanned.database)


def test_photos_that_prove_to_be_known_cost_no_torch(scanned: Scanned) -> None:
    for name in ("1.jpg", "6.jpg", "flower.jpg"):
        os.utime(scanned.folder / name, (1, 1))
    program = (
        "import sys\n"
        "from photoage.scan.scan import scan\n"
        "from photoage.scan.options import ScanOptions\n"
        "if __name__ == '__main__':\n"
        "    counts = scan([sys.argv[1]], sys.argv[2], ScanOptions(workers=1)).counts\n"
        "    print(counts.unchanged, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, str(scanned.folder), str(scanned.database)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["4", "False"]


def test_known_photos_are_stored_a_few_at_a_time(scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photoage.scan.local.FEW", 2)
    for name in ("1.jpg", "6.jpg", "flower.jpg"):
        os.utime(scanned.folder / name, (1, 1))
    assert scan(scanned.folder, database=scanned.database).counts.unchanged == 4
    touched = query(scanned.database, "SELECT count(*) FROM photo WHERE mtime_ns = ?", 10**9)
    assert touched == [(3,)]


def test_a_limit_counts_photos_that_are_read_not_those_that_are_known(scanned: Scanned) -> None:
    os.utime(scanned.folder / "1.jpg", (1, 1))
    os.utime(scanned.folder / "6.jpg", (1, 1))
    shutil.copyfile(PORTRAIT, scanned.folder / "z-new.jpg")
    counts = scan(scanned.folder, database=scanned.database, limit=1).counts
    assert (counts.unchanged, counts.done) == (4, 1)


def test_copies_within_one_scan_are_detected_once(scanned: Scanned) -> None:
    for name in ("a", "b", "c"):
        shutil.copyfile(PORTRAIT, scanned.folder / f"{name}.jpg")
    counts = scan(scanned.folder, database=scanned.database).counts
    assert (counts.unchanged, counts.done, counts.duplicates) == (4, 1, 2)


def test_many_copies_get_the_faces_of_one(scanned: Scanned) -> None:
    """Of content that is stored, and of content that this very scan reads."""
    for i in range(12):
        shutil.copyfile(scanned.folder / "1.jpg", scanned.folder / f"{i}-known.jpg")
        (scanned.folder / f"{i}-new.jpg").write_bytes((PORTRAIT.parents[1] / NO_FACE).read_bytes() + b"new")
    counts = scan(scanned.folder, database=scanned.database).counts
    assert (counts.done, counts.duplicates, counts.missing) == (1, 23, 0)
    assert query(scanned.database, "SELECT count(*), count(DISTINCT photo_id) FROM face") == [(14, 14)]
    assert_sound(scanned.database)


def test_two_photos_that_changed_places_keep_their_own_faces(scanned: Scanned) -> None:
    """Either is a copy of what the other one's row still says."""
    before = rows(scanned.database)
    first, second = scanned.folder / "1.jpg", scanned.folder / "6.jpg"
    first.rename(scanned.folder / "x")
    second.rename(first)
    (scanned.folder / "x").rename(second)
    counts = scan(scanned.folder, database=scanned.database).counts
    assert counts.unreadable == counts.missing == 0
    after = rows(scanned.database)
    for path, other in ((first, second), (second, first)):
        assert after[str(path)].faces == before[str(other)].faces
    assert_sound(scanned.database)
