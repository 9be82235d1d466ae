"""Photos in object storage, in report, show, sidecars and a scan's progress bar. No server is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from databases import begin, save
from faults.scanning import wait_until
from PIL import Image
from small_library import runner
from test_report import faces_of, parse

from photoage.cli.context import Context
from photoage.cli.scan_options import scan_progress
from photoage.database.store import Store
from photoage.errors import LibraryError
from photoage.paths import absolute, password_of, without_password
from photoage.photos import remote
from photoage.photos.walk import WalkOptions, examine
from photoage.records import Detection, Estimate, PhotoFaces, PhotoFile, WalkProblem
from photoage.scan.options import ScanOptions

fsspec = pytest.importorskip("fsspec")
PHOTO = "memory://album/a b%41.jpg"


@pytest.fixture
def database(tmp_path: Path, sample_library: Path) -> Iterator[Path]:
    """One photo in storage that this process alone has, and its face."""
    portrait = sample_library / "people" / "grace_hopper.jpg"
    storage = fsspec.filesystem("memory")
    storage.pipe("/album/a b%41.jpg", portrait.read_bytes())
    file = examine(PHOTO)
    assert isinstance(file, PhotoFile)
    with Image.open(portrait) as image:
        width, height = image.size
    face = Detection((10.0, 10.0, 200.0, 200.0), np.zeros((5, 2), np.float32), 0.9)
    with Store.open(tmp_path / "p.db") as store:
        begin(store, roots=["memory://album"])
        faces = PhotoFaces("c", width, height, (face,))
        store.save_many([(file, faces, [Estimate(40, 30, 50)])])
        store.commit()
    yield tmp_path / "p.db"
    storage.store.clear()


def test_a_report_links_to_the_photo_where_it_is(database: Path, tmp_path: Path) -> None:
    runner(database)("report", "-o", str(tmp_path / "r.html"), "-j", "1")
    (face,) = faces_of(parse(tmp_path / "r.html"))
    assert face["href"] == PHOTO.replace(" ", "%20")


def test_show_reads_the_photo_where_it_is(database: Path, tmp_path: Path) -> None:
    done = runner(database)("show", PHOTO, "-o", str(tmp_path / "a.png"))
    assert done.stderr == f"wrote {tmp_path}/a.png\n"
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
    fsspec.filesystem("memory").pipe("/album/a b%41.jpg", b"another content")
    assert "changed since it was scanned" in runner(database)("show", PHOTO, "-o", "-", status=1).stderr
    fsspec.filesystem("memory").rm("/album/a b%41.jpg")
    assert "the file is gone" in runner(database)("show", PHOTO, "-o", "-", status=1).stderr


def test_sidecars_of_object_storage_are_refused_in_one_line(database: Path) -> None:
    with Store.open(database) as store:
        begin(store)
        save(store, "memory://album/b.jpg", 30)
        store.commit()
    done = runner(database)("export", "--sidecar", "xmp", status=1)
    assert done.stderr.splitlines() == [
        "photoage: warning: memory://album: photos in object storage get no sidecars;"
        " export their faces to a file",
        "sidecars: 0 created, 0 changed, 0 unchanged, 2 left out",
    ]


def test_the_progress_bar_lists_no_storage_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing costs time, and there also money."""
    counted: list[list[str]] = []

    def walk(roots: list[str], options: WalkOptions) -> list[PhotoFile]:
        counted.append(roots)
        return []

    monkeypatch.setattr("photoage.photos.walk.walk", walk)
    monkeypatch.setattr(Context, "progress", property(lambda self: True))
    here = str(tmp_path)
    for roots in (["memory://album"], [here, "memory://album"], [here]):
        with scan_progress(Context(), roots, ScanOptions(), None):
            pass
    assert wait_until(lambda: counted == [[here]], 10)


def test_a_password_in_an_address_is_refused_before_it_is_stored_or_shown() -> None:
    secret = "sftp://anna:pass@word@nas.local:22/photos"
    assert password_of(secret) == "pass@word"
    assert without_password(secret) == "sftp://anna@nas.local:22/photos"
    with pytest.raises(LibraryError, match=r"sftp://anna@nas\.local:22/photos: a password") as caught:
        remote.check_root(secret)
    problem = examine(secret)
    assert isinstance(problem, WalkProblem)
    assert "pass@word" not in f"{caught.value} {problem}"
    for plain in ("sftp://anna@nas.local/photos", "s3://bucket/a:b@c.jpg", "/photos/a:b@c.jpg"):
        assert password_of(plain) is None
        assert without_password(plain) == plain


def test_a_stored_path_has_no_trailing_slash_and_files_have_one_name(tmp_path: Path) -> None:
    assert absolute("s3://bucket/photos//") == "s3://bucket/photos"
    assert absolute("file:///") == absolute("/")
    assert absolute(f"file://{tmp_path}/") == str(tmp_path)


@pytest.mark.parametrize("command", ["report", "show"])
def test_pictures_and_pages_are_added_to_an_open_file(command: str, database: Path, tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log:
        log.write(b"kept")
        log.flush()
        words = [PHOTO] if command == "show" else ["-j", "1"]
        done = runner(database)(command, *words, "-o", f"/dev/fd/{log.fileno()}")
        log.write(b"after")
    content = (tmp_path / "log").read_bytes()
    assert content.startswith(b"kept\x89PNG" if command == "show" else b"kept<!doctype html>")
    assert content.endswith(b"after")
    assert "wrote" not in done.stderr
