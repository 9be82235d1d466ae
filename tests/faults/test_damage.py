"""Damaged files cost nothing but themselves.

PHOTOAGE_TEST_DAMAGED sets the number of damaged files (33).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from faults.damage import MUTATIONS, damaged_file
from faults.scanning import LIBRARY, assert_same_rows, assert_sound, copy_photos, photoage, query, rows, scan

pytestmark = pytest.mark.slow

DAMAGED = int(os.environ.get("PHOTOAGE_TEST_DAMAGED", "33"))
GOOD = ("people/eileen_collins.png", "people/grace_hopper.jpg", "formats/portrait.webp", "orientations/6.jpg")
KINDS = {"corrupt", "empty", "truncated", "too-large", "unsupported", "memory"}  # of damage, not of bugs


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    """Small photos of every format in the sample library."""
    found = sorted(
        path
        for folder in ("formats", "orientations", "people")
        for path in (LIBRARY / folder).iterdir()
        if 0 < path.stat().st_size < 360_000
    )
    assert len({path.suffix for path in found}) >= 6
    return found


def test_the_same_number_gives_the_same_damage(sources: list[Path]) -> None:
    for number in range(len(MUTATIONS)):
        assert damaged_file(number, sources) == damaged_file(number, sources)


def test_damaged_files_are_accounted_for_and_good_ones_unharmed(sources: list[Path], tmp_path: Path) -> None:
    good, library = tmp_path / "good.db", tmp_path / "library"
    photos = copy_photos(library / "m", *GOOD)
    assert scan(library, database=good).counts.done == len(GOOD)
    bad = []
    for number in range(DAMAGED):
        name, data = damaged_file(number, sources)
        folder = library / "azm"[number % 3]  # before, after and among the good ones
        folder.mkdir(exist_ok=True)
        bad.append(folder / name)
        bad[-1].write_bytes(data)

    database = tmp_path / "photoage.db"
    result = photoage("scan", library, database=database)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert_sound(database)
    found = rows(database)
    assert found.keys() == {str(path) for path in [*photos, *bad]}
    assert {row.status for row in found.values()} <= {"done", "unreadable"}
    assert_same_rows({path: row for path, row in found.items() if path in rows(good)}, rows(good))
    unreadable = Counter(row.error_kind for row in found.values() if row.status == "unreadable")
    strange = [row.photo for row in found.values() if row.error_kind not in {None, *KINDS}]
    assert strange == []

    listed = json.loads(photoage("errors", "--json", database=database).stdout)
    assert len(listed) == sum(unreadable.values())
    assert all("\n" not in error["message"] and error["path"] in error["message"] for error in listed)
    print(f"\n{DAMAGED} damaged files: {len(found) - len(photos) - len(listed)} done, {dict(unreadable)}")


def test_huge_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    copy_photos(library, "people/grace_hopper.jpg")
    with open(library / "film.jpg", "wb") as file:
        file.write((LIBRARY / "people" / "grace_hopper.jpg").read_bytes())
        file.truncate(1 << 33)  # sparse: takes no space, but would take much memory
    summary = scan(library, database=database)
    assert (summary.counts.done, summary.counts.unreadable) == (1, 1)
    assert query(database, "SELECT error_kind FROM photo WHERE status = 'unreadable'") == [("too-large",)]
