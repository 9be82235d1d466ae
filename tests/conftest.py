"""Fixtures that many tests share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from databases import Place
from family import name_family, store_family
from filelock import FileLock
from postgres_server import Server, running_server

SAMPLE_LIBRARY = Path(__file__).parent.parent / "sample_library"
SLOW_FILE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)

# Neither the settings nor the database of whoever runs the tests count.
for variable in [name for name in os.environ if name.startswith(("PHOTOAGE_", "_PHOTOAGE_"))]:
    if not variable.startswith("PHOTOAGE_TEST_"):
        del os.environ[variable]
os.environ["PHOTOAGE_CONFIG"] = os.devnull


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whether a file has slow tests only, and those are not wanted: what it imports takes seconds."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return SLOW_FILE.search(collection_path.read_text("utf-8")) is not None or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist, tests of a file stay in one process, and those of a group of several files do."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


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
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that the processes of one run of tests (pytest-xdist) have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def scanned(shared_folder: Path) -> ScannedLibrary:
    """The sample library, scanned once by the real pipeline; other processes use it too: change nothing."""
    from photoage.scan.options import ScanOptions
    from photoage.scan.scan import scan

    library, database = shared_folder / "scanned", shared_folder / "scanned.db"
    with FileLock(shared_folder / "scanned.lock"):
        if not database.exists():
            shutil.copytree(SAMPLE_LIBRARY, library)
            assert not scan([str(library)], database, ScanOptions(workers=2)).interrupted
    return ScannedLibrary(library, database)


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


@pytest.fixture(scope="module")
def prepared(new_database: Callable[[], Place]) -> dict[str, Path]:
    """SQLite's files of a library at some stage, which are copied for each test."""
    return {}


@pytest.fixture
def stored(
    new_database: Callable[[], Place], prepared: dict[str, Path], tmp_path: Path
) -> Callable[[str, Callable[[Place], None]], Place]:
    """Gives a database on which something was done, done once for all tests where files can be copied."""

    def made(stage: str, do: Callable[[Place], None]) -> Place:
        place = prepared.get(stage) or new_database()
        if stage not in prepared:
            do(place)
            if not isinstance(place, Path):
                return place
            prepared[stage] = place
        return Path(shutil.copy(place, tmp_path / f"{stage}.db"))

    return made


@pytest.fixture
def family(stored: Callable[[str, Callable[[Place], None]], Place]) -> Place:
    return stored("family", store_family)


@pytest.fixture
def named(stored: Callable[[str, Callable[[Place], None]], Place]) -> Place:
    """The family, found and named."""
    return stored("named", name_family)
