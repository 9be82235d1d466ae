"""The report's page, read as a file: what is in it, and that nothing in it can do harm."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import pytest

from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import iter_faces
from photoage.export.report.build import SIZE
from tests.conftest import ScannedLibrary
from tests.report_library import Stored, make_library, make_report
from tests.small_library import real, runner

HOSTILE: tuple[str | bytes, ...] = (
    "</script><script>window.owned = 1</script>.jpg",
    "<!--<script>.jpg",
    "\"'><img src=x onerror='window.owned = 2'>.jpg",
    "javascript:alert(1)#?%41&amp;.jpg",
    "line\nbreak\ttab \u2028 \u202egpj.exe.jpg",
    b"caf\xe9 \xff\xfe.jpg",
    "-o --help ${}{{faces}}{{script}} `x`.jpg",
    "家族 👨‍👩‍👧 Größe.jpg",
)


class Parsed(HTMLParser):
    """The page's elements, and the contents of its scripts and styles by type."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[tuple[str, str]] = []
        self._within: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = (dict(attrs).get("type") or tag) if tag in ("script", "style") else None
        if self._within:
            self.contents.append((self._within, ""))

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    def handle_data(self, data: str) -> None:
        if self._within:
            self.contents[-1] = (self._within, self.contents[-1][1] + data)

    def of(self, kind: str) -> list[str]:
        return [content for found, content in self.contents if found == kind]


def parse(file: Path) -> Parsed:
    page = Parsed()
    page.feed(file.read_text(encoding="utf-8"))
    page.close()
    return page


def faces_of(page: Parsed) -> list[dict[str, Any]]:
    """The faces as the page's script reads them."""
    names = ("age", "low", "high", "taken", "source", "folder", "name", "url", "problem")
    folders: list[list[str]] = []
    faces: list[dict[str, Any]] = []
    blocks = [json.loads(content) for content in page.of("application/json")]
    pictures = [line for content in page.of("text/plain") for line in content.split("\n")]
    for block in blocks[:-1]:
        folders += block["folders"]
        faces += [dict(zip(names, row, strict=False)) for row in block["faces"]]
    for face, picture in zip(faces, pictures, strict=True):
        face["picture"] = picture
        face["href"] = folders[face["folder"]][1] + face["url"]
    return faces


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, sample_library: Path) -> Path:
    """A report over photos with hostile names, in a folder that has one too."""
    folder = tmp_path_factory.mktemp("hostile") / "<b>&\"' %41"
    photos = [Stored(name, (20.0 + i,)) for i, name in enumerate(HOSTILE)]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", folder, photos)
    wanted = FaceFilter(path_glob="*[!{{script}}</script><script>window.owned = 3</script>]")
    make_report(database, folder.parent / "report.html", wanted)
    return folder.parent / "report.html"


def test_every_face_is_in_the_page_with_its_picture(scanned: ScannedLibrary, tmp_path: Path) -> None:
    wanted = FaceFilter(sort="age", descending=True)
    summary = make_report(scanned.database, tmp_path / "report.html", wanted)
    engine = open_database(str(scanned.database), read_only=True)
    rows = list(iter_faces(engine, wanted))
    engine.dispose()
    faces = faces_of(parse(tmp_path / "report.html"))
    assert (summary.faces, summary.without_picture) == (len(rows), 0)
    assert [face["age"] for face in faces] == [round(row.age, 1) for row in rows]
    assert [face["taken"] for face in faces] == [row.taken_at or "" for row in rows]
    assert [unquote_to_bytes(face["href"]) for face in faces] == [
        b"file://" + os.fsencode(row.path) for row in rows
    ]
    for face in faces:
        picture = np.frombuffer(base64.b64decode(face["picture"]), dtype=np.uint8)
        assert cv2.imdecode(picture, cv2.IMREAD_COLOR).shape == (SIZE, SIZE, 3)


def test_nothing_is_loaded_and_only_the_pages_own_code_may_run(hostile: Path) -> None:
    page = parse(hostile)
    policy = next(
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed.pop("img-src") == "data:"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (content,) = page.of(tag)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed.pop(kind) == f"'sha256-{digest}'"
    assert set(allowed) == {"default-src", "base-uri", "form-action"}
    assert set(allowed.values()) == {"'none'"}
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert re.match(r"#|data:|None$", str(attributes.get("href")))
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9][a-z0-9.-]*\.[a-z]{2,}", hostile.read_text()))
    assert addresses <= {"http://www.w3.org"}  # the name of SVG, which is not an address


def test_hostile_names_are_data(hostile: Path, scanned: ScannedLibrary, tmp_path: Path) -> None:
    make_report(scanned.database, tmp_path / "plain.html", FaceFilter(limit=8))
    page, plain = parse(hostile), parse(tmp_path / "plain.html")
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    faces = faces_of(page)
    folder = os.fsencode(hostile.parent / "<b>&\"' %41")
    expected = {folder + b"/" + os.fsencode(name) for name in HOSTILE}
    assert {unquote_to_bytes(face["href"].removeprefix("file://")) for face in faces} == expected
    assert all(re.fullmatch(r"[\w.~%/:-]+", face["href"]) for face in faces)
    shown = " ".join(face["name"] for face in faces)
    assert "<!--<script>.jpg" in shown
    assert "家族 👨‍👩‍👧 Größe.jpg" in shown
    assert "caf\ufffd \ufffd\ufffd.jpg" in shown
    assert not re.search("[\x00-\x1f\u2028\u202e]", shown)
    totals = json.loads(page.of("application/json")[-1])
    assert totals["filter"] == "path *[!{{script}}</script><script>window.owned = 3</script>]"


def test_faces_without_a_usable_photo_are_counted_and_say_why(sample_library: Path, tmp_path: Path) -> None:
    photos = [
        Stored("good.jpg", (30.0, 31.0), datetime(2001, 2, 3)),
        Stored("gone.jpg", (40.0, 41.0), there=False),
        Stored("changed.jpg", (50.0,)),
    ]
    library = tmp_path / "library"
    database = make_library(sample_library / "people" / "grace_hopper.jpg", library, photos)
    os.utime(library / "changed.jpg", (1, 1))
    summary = make_report(database, tmp_path / "report.html")
    assert (summary.faces, summary.without_picture) == (5, 3)
    faces = faces_of(parse(tmp_path / "report.html"))
    assert {(face["name"], face.get("problem"), face["picture"] == "") for face in faces} == {
        ("good.jpg", None, False),
        ("gone.jpg", "the file is gone", True),
        ("changed.jpg", "has changed since it was scanned", True),
    }


def test_many_faces_are_in_blocks_that_keep_their_order(
    sample_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoage.export.report.build.BLOCK", 4)
    photos = [Stored(f"{n % 3}/{n}.jpg", (n + 1.0, n + 1.5)) for n in range(5)]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", tmp_path / "library", photos)
    make_report(database, tmp_path / "report.html", FaceFilter(sort="age"))
    page = parse(tmp_path / "report.html")
    assert [len(json.loads(block).get("faces", [])) for block in page.of("application/json")] == [4, 4, 2, 0]
    assert json.loads(page.of("application/json")[-1])["block"] == 4
    faces = faces_of(page)
    assert [face["age"] for face in faces] == [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]
    assert [face["href"].rsplit("/", 2)[1:] for face in faces[::2]] == [
        ["0", "0.jpg"], ["1", "1.jpg"], ["2", "2.jpg"], ["0", "3.jpg"], ["1", "4.jpg"],
    ]  # fmt: skip


# --- the command ------------------------------------------------------------------------------


def test_the_command_writes_the_page(scanned: ScannedLibrary, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = runner(scanned.database)("report", "-o", str(target), "--min-age", "60")
    assert (done.stdout, done.stderr) == ("", f"wrote {target}\n")
    page = parse(target)
    assert {face["age"] >= 60 for face in faces_of(page)} == {True}
    assert json.loads(page.of("application/json")[-1])["filter"] == "min age 60.0"
    assert list(tmp_path.iterdir()) == [target]


def test_no_face_makes_a_page_too_and_stdout_takes_it(scanned: ScannedLibrary) -> None:
    done = runner(scanned.database)("report", "-o", "-", "--min-age", "130")
    assert done.stderr == ""
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-o", "report.jpg"], "report.jpg: the extension is neither .html nor .htm"),
        (["-o", "photoage.db"], "photoage.db: the extension is neither .html nor .htm"),
        (["-o", "-", "--open"], "--open needs a file"),
    ],
)
def test_what_makes_no_sense_is_refused(scanned: ScannedLibrary, args: list[str], message: str) -> None:
    assert message in runner(scanned.database)("report", *args, status=2).stderr


def test_a_page_that_cannot_be_written_leaves_nothing(scanned: ScannedLibrary, tmp_path: Path) -> None:
    target = tmp_path / "none" / "report.html"
    result = runner(scanned.database)("report", "-o", str(target), status=1)
    assert f"{target}: cannot be written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_report_leaves_the_old_one(
    scanned: ScannedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr("photoage.export.report.build.as_picture", fail)
    result = runner(scanned.database)("report", "-o", str(target), status=1)
    assert "No space left on device" in result.stderr
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.html", "old")]


def test_open_shows_the_file_in_the_browser(
    scanned: ScannedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$1" > "$(dirname "$0")/opened"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    target = tmp_path / "my report.html"
    done = real(scanned.database, "report", "-o", str(target), "--limit", "1", "--open")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == target.as_uri()


def test_more_faces_than_a_browser_shows_are_left_out_unless_wanted(
    scanned: ScannedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoage.cli.report.MOST", 2)
    target = tmp_path / "r.html"
    words = ("report", "-o", str(target), "--path", "*/orientations/*", "--sort", "age")
    for more, number in (((), 2), (("--all",), 8), (("--limit", "3"), 3)):
        done = runner(scanned.database)(*words, *more)
        assert len(faces_of(parse(target))) == number
        assert ("first 2 of 8 faces" in done.stderr) == (not more)
