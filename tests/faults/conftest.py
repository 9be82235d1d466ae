"""A library of small photos and what an unbroken scan stores of it, shared by all fault tests.

PHOTOAGE_TEST_PHOTOS sets the number of photos (40).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from faults.scanning import Unbroken, make_library, photoage, rows

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
