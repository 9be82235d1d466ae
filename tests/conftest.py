"""Fixtures that many tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from databases import Place
from postgres_server import Server, running_server

SAMPLE_LIBRARY = Path(__file__).parent.parent / "sample_library"

# Neither the settings nor the database of whoever runs the tests count.
for variable in [name for name in os.environ if name.startswith(("PHOTOAGE_", "_PHOTOAGE_"))]:
    if not variable.startswith("PHOTOAGE_TEST_"):
        del os.environ[variable]
os.environ["PHOTOAGE_CONFIG"] = os.devnull


@pytest.fixture(scope="session")
def sample_library() -> Path:
    """The repository's photos; read only."""
    return SAMPLE_LIBRARY


@dataclass(frozen=True)
class ScannedLibrary:
    """A copy of the sample library and the database that a scan of it made."""

    library: Path
    database: Path


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> ScannedLibrary:
    """The sample library, scanned once by the real pipeline; do not change either."""
    from photoage.scan.options import ScanOptions
    from photoage.scan.scan import scan

    folder = tmp_path_factory.mktemp("scanned")
    library = folder / "library"
    shutil.copytree(SAMPLE_LIBRARY, library)
    summary = scan([str(library)], folder / "photoage.db", ScanOptions(workers=2))
    assert not summary.interrupted
    return ScannedLibrary(library, folder / "photoage.db")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server, started for the first test that wants it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Place]:
    """Gives places for new databases. Whatever uses it is tested with SQLite and with PostgreSQL."""
    if request.param == "sqlite":
        return lambda: tmp_path_factory.mktemp("database") / "photoage.db"
    server: Server = request.getfixturevalue("postgres")
    return server.new_database
