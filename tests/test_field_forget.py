"""Photos forgotten by path, folder and pattern, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from databases import Place, assert_sound, begin, run_sql, save
from small_library import runner

from photoage.database.store import Store
from photoage.records import PhotoFile

PATHS = (
    "/p/a.jpg",
    "/p/a.jpg.d/b.jpg",
    "/p/in/c.jpg",
    "/p/in/deep/d.jpg",
    "/p/in2/e.jpg",
    "/p/x[1].jpg",
    "/q/c.jpg",
)


@pytest.fixture(scope="module")
def library(new_database: Callable[[], Place]) -> Callable[[], Place]:
    def make() -> Place:
        place = new_database()
        with Store.open(place) as store:
            begin(store)
            for path in PATHS:
                save(store, path, 30.0, 40.0)
            store.save_unreadable(PhotoFile("/q/broken.jpg", 1, 1), "corrupt", "damaged")
            store.commit()
        return place

    return make


def paths(place: Place) -> set[object]:
    return {path for (path,) in run_sql(place, "SELECT path FROM photo")}


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        (["/p/a.jpg"], {"/p/a.jpg"}),
        (["/p/in"], {"/p/in/c.jpg", "/p/in/deep/d.jpg"}),
        (["/p/in/"], {"/p/in/c.jpg", "/p/in/deep/d.jpg"}),
        (["c.*"], {"/p/in/c.jpg", "/q/c.jpg"}),
        (["/p/in*/*"], {"/p/in/c.jpg", "/p/in/deep/d.jpg", "/p/in2/e.jpg"}),
        (["/p/x[1].jpg"], {"/p/x[1].jpg"}),
        (["/q", "/p/a.jpg", "/q/c.jpg"], {"/q/c.jpg", "/q/broken.jpg", "/p/a.jpg"}),
    ],
)
def test_photos_go_with_their_faces_and_no_others(
    library: Callable[[], Place], names: list[str], gone: set[str]
) -> None:
    place = library()
    run = runner(place)
    shown = run("forget", "-n", *names)
    assert set(shown.stdout.splitlines()) == gone
    assert paths(place) == {*PATHS, "/q/broken.jpg"}
    faces = 2 * len(gone - {"/q/broken.jpg"})
    photos = "1 photo" if len(gone) == 1 else f"{len(gone)} photos"
    assert shown.stderr == f"{photos} with {faces} faces would be forgotten; no file was touched\n"
    assert run("forget", *names).stderr == f"{photos} with {faces} faces forgotten; no file was touched\n"
    assert paths(place) == {*PATHS, "/q/broken.jpg"} - gone
    for table in ("face", "estimate"):
        assert run_sql(place, f"SELECT count(*) FROM {table}") == [(2 * len(PATHS) - faces,)]
    assert_sound(place)


def test_a_name_that_no_photo_has_is_an_error_and_nothing_goes(library: Callable[[], Place]) -> None:
    place = library()
    done = runner(place)("forget", "/p/a.jpg", "/absent/*", status=1)
    assert "/absent/*: no photo in the database has this path; nothing was forgotten" in done.stderr
    assert len(paths(place)) == len(PATHS) + 1
    assert "is a variable not set" in runner(place)("forget", "", status=2).stderr


def test_a_relative_path_begins_at_the_current_folder(
    library: Callable[[], Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = library()
    with Store.open(place) as store:
        begin(store)
        save(store, str(tmp_path / "a.jpg"), 30.0)
        store.commit()
    monkeypatch.chdir(tmp_path)
    runner(place)("forget", "a.jpg")
    assert paths(place) == {*PATHS, "/q/broken.jpg"}


def test_where_there_is_no_database_none_is_made(tmp_path: Path) -> None:
    runner(tmp_path / "db")("forget", "/p", status=1)
    assert not (tmp_path / "db").exists()
