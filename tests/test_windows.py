"""What differs on Windows, by its way of writing paths, in place of this system's."""

from __future__ import annotations

import ntpath
from pathlib import Path
from types import SimpleNamespace

import pytest
from databases import begin, opened, save

from photoage.database.face_filter import FaceFilter
from photoage.database.query import iter_faces
from photoage.database.store import Store
from photoage.photos.exclude import Excluded

SUMMER, WINTER = r"C:\photos\2015\summer\a.jpg", r"C:\photos\2016\b.jpg"


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = SimpleNamespace(sep="\\", altsep="/", path=ntpath)
    for module in ("photoage.database.globs", "photoage.database.query", "photoage.photos.exclude"):
        monkeypatch.setattr(f"{module}.os", paths)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("2015/*", [SUMMER]),
        (r"2015\*", [SUMMER]),
        ("C:/photos/2015/", [SUMMER]),
        (r"C:\photos\2015\*", [SUMMER]),
        ("C:/photos/*.jpg", [SUMMER, WINTER]),
        ("b.jpg", [WINTER]),
        ("photos/*/summer/*", [SUMMER]),
        ("c:/elsewhere/*", []),
    ],
)
def test_a_pattern_takes_either_slash(pattern: str, found: list[str], tmp_path: Path) -> None:
    with Store.open(tmp_path / "p.db") as store:
        begin(store)
        for path in (SUMMER, WINTER):
            save(store, path, 30)
        store.commit()
    with opened(tmp_path / "p.db", read_only=True) as engine:
        assert [face.path for face in iter_faces(engine, FaceFilter(path_glob=pattern))] == found


@pytest.mark.parametrize(
    ("pattern", "excluded"),
    [
        ("summer/", True),
        ("2015/summer", True),
        (r"2015\summer", True),
        ("C:/photos/2015/", True),
        (r"C:\photos\2015", True),
        ("2016/", False),
        ("C:/photos/2016", False),
    ],
)
def test_an_excluded_folder_may_be_written_with_either_slash(pattern: str, excluded: bool) -> None:
    rules = Excluded([pattern])
    folders = (r"C:\photos\2015", r"C:\photos\2015\summer")  # which a walk enters one after the other
    assert any(rules.matches(folder, r"C:\photos", True) for folder in folders) == excluded
