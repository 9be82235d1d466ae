"""A library of small photos and what an unbroken scan stores of it, shared by all fault tests.

PHOTOAGE_TEST_PHOTOS sets the number of photos (40).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from faults.scanning import (
    FACE,
    NO_FACE,
    OTHER_FACE,
    Scanned,
    Unbroken,
    copy_photos,
    make_library,
    photoage,
    rows,
    scan,
    statuses,
)

PHOTOS = int(os.environ.get("PHOTOAGE_TEST_PHOTOS", "40"))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("library"), PHOTOS)


@pytest.fixture(scope="session")
def unbroken(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    database = tmp_path_factory.mktemp("unbroken") / "photoage.db"
    begun = time.monotonic()
    result = photoage("scan", library, database=database)
    seconds = time.monotonic() - begun
    assert result.returncode == 0, result.stderr
    found = rows(database)
    assert len(found) == PHOTOS
    assert sum(len(row.faces) for row in found.values()) >= PHOTOS // 5
    assert sum(row.status == "unreadable" for row in found.values()) == PHOTOS // 10
    return Unbroken(found, seconds)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    folder = tmp_path_factory.mktemp("pristine")
    library, database = folder / "library", folder / "photoage.db"
    copy_photos(library, FACE, OTHER_FACE, NO_FACE)
    (library / "damaged.jpg").write_bytes((library / "1.jpg").read_bytes()[:2000])
    summary = scan(library, database=database)
    counts = summary.counts
    assert (counts.seen, counts.done, counts.unreadable, counts.faces) == (4, 3, 1, 2)
    assert statuses(database)["flower.jpg"] == "done"
    return Scanned(library, database)


@pytest.fixture
def scanned(pristine: Scanned, tmp_path: Path) -> Scanned:
    """The scanned folder once more, as it was, for a test to change."""
    shutil.copyfile(pristine.database, tmp_path / "photoage.db")
    library = tmp_path / "library"
    shutil.copytree(pristine.folder, library)
    # As if the folder had always been here.
    with sqlite3.connect(tmp_path / "photoage.db") as connection:
        for column in ("path", "error_message"):
            moved = f"UPDATE photo SET {column} = replace({column}, ?, ?)"
            connection.execute(moved, (str(pristine.folder), str(library)))
    connection.close()
    return Scanned(library, tmp_path / "photoage.db")
