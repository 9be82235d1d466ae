"""Full disks and read-only media, on real small file systems."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.scanning import (
    Unbroken,
    assert_same_rows,
    assert_sound,
    copy_photos,
    photoage,
    query,
    rows,
    scan,
    without_privileges,
)
from photoage.database.store import Store
from photoage.errors import DatabaseError

pytestmark = pytest.mark.slow


def mount(*arguments: str) -> None:
    """Skips the test where nobody may mount."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    result = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - leave))
    return ballast


def test_a_full_disk_is_one_clear_error_and_loses_nothing_committed(
    library: Path, unbroken: Unbroken, small_disk: Path
) -> None:
    database = small_disk / "photoage.db"
    scan(library, database=database, limit=3)
    before = rows(database)
    ballast = fill(small_disk, leave=160_000)

    result = photoage("scan", "--batch-size", "2", library, database=database)

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith(f"photoage: error: {database}: ")
    assert "no space left" in result.stderr or "is full" in result.stderr
    ballast.unlink()
    assert_sound(database)
    stored = rows(database)
    assert stored.keys() >= before.keys()
    assert len(stored) < len(unbroken.rows)
    assert_same_rows(stored, {path: unbroken.rows[path] for path in stored})
    assert photoage("scan", library, database=database).returncode == 0
    assert_same_rows(rows(database), unbroken.rows)


def test_a_database_cannot_begin_on_a_full_disk(small_disk: Path) -> None:
    ballast = fill(small_disk, leave=8192)
    with pytest.raises(DatabaseError, match=r"no space left|is full"):
        Store.open(small_disk / "photoage.db")
    ballast.unlink()
    Store.open(small_disk / "photoage.db").close()


def test_a_library_on_read_only_media_can_be_scanned_but_holds_no_database(
    small_disk: Path, tmp_path: Path
) -> None:
    copy_photos(small_disk, "orientations/1.jpg")
    scan(small_disk, database=tmp_path / "photoage.db")
    shutil.copyfile(tmp_path / "photoage.db", small_disk / "archived.db")
    before = rows(tmp_path / "photoage.db")
    mount("-o", "remount,ro", str(small_disk))

    assert scan(small_disk, database=tmp_path / "photoage.db", force=True).counts.done == 1
    assert_same_rows(rows(tmp_path / "photoage.db"), before)
    result = photoage("scan", small_disk, database=small_disk / "archived.db")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "read-only" in result.stderr
    result = photoage("scan", small_disk, database=small_disk / "new.db")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "read-only" in result.stderr
    result = photoage("query", "--count", database=small_disk / "archived.db")
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


def test_a_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    copy_photos(folder, "orientations/1.jpg")
    folder.chmod(0o555)
    try:
        for database in (folder / "photoage.db", folder / "no" / "such" / "photoage.db"):
            result = photoage("scan", folder, database=database, prefix=without_privileges())
            assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
            assert str(database) in result.stderr
    finally:
        folder.chmod(0o755)


def test_a_damaged_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    copy_photos(library, "orientations/1.jpg")
    Store.open(database).close()
    assert query(database, "PRAGMA journal_mode") == [("wal",)]
    healthy = database.read_bytes()
    for damaged in (b"not a database" * 100, healthy[:4096] + bytes(len(healthy) - 4096), healthy[:6000]):
        database.write_bytes(damaged)
        result = photoage("scan", library, database=database)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1, result.stderr
        assert result.stderr.startswith(f"photoage: error: {database}: ")
        assert photoage("db", "check", database=database).returncode == 1
