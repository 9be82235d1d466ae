"""`photoage show`: the picture, and what is said when there is none."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ScannedLibrary
from decoded import decode_photo
from PIL import Image, ImageChops
from report_library import Stored, make_library
from small_library import BROKEN, Run, real, runner, store_library

from photoage.database.connect import open_database
from photoage.database.query import FaceRow
from photoage.export.picture import ACCENT, MIN_SIZE, draw_faces, find_photo

FACE = FaceRow(
    "/p.jpg", 0, 34.25, 20.0, 48.5, 0.9, 0, 0, 0, 0, 1000, 800, None, "2026-01-01", "scrfd", "first"
)


@pytest.fixture(scope="module")
def run(scanned: ScannedLibrary) -> Run:
    return runner(scanned.database)


def test_the_box_is_on_the_face_of_the_upright_photo(
    scanned: ScannedLibrary, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = scanned.library / "orientations" / "6.jpg"
    content, modified = photo.read_bytes(), photo.stat().st_mtime_ns
    monkeypatch.chdir(photo.parent)
    result = run("show", "6.jpg", "-o", str(tmp_path / "a.png"))
    assert (result.stdout, result.stderr) == ("", f"wrote {tmp_path}/a.png\n")
    assert (photo.read_bytes(), photo.stat().st_mtime_ns) == (content, modified)
    engine = open_database(scanned.database, read_only=True)
    (face,) = find_photo(engine, str(photo)).faces
    engine.dispose()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert max(image.size) == MIN_SIZE
        upright = Image.fromarray(decode_photo(str(photo)).rgb)
        plain = upright.resize(image.size, Image.Resampling.LANCZOS)
        drawn = ImageChops.difference(image, plain).convert("L").point(lambda value: 255 * (value > 40))
        scale = image.width / face.photo_width
    left, top, right, bottom = drawn.getbbox() or (0, 0, 0, 0)
    expected = [side * scale for side in (face.x1, face.y1, face.x2, face.y2)]
    assert (left, right, bottom) == pytest.approx((expected[0], expected[2], expected[3]), abs=6)
    assert 20 < expected[1] - top < 100  # the label is above
    inside = drawn.crop([round(side + edge) for side, edge in zip(expected, (6, 6, -6, -6), strict=True)])
    assert inside.getbbox() is None  # nothing covers the face


def test_a_large_photo_is_reduced(scanned: ScannedLibrary, run: Run, tmp_path: Path) -> None:
    photo = scanned.library / "white_house" / "obama_2012.jpg"
    run("show", str(photo), "-o", str(tmp_path / "a.png"), "--max-size", "300")
    with Image.open(tmp_path / "a.png") as image:
        assert max(image.size) == 300


def test_to_stdout(scanned: ScannedLibrary) -> None:
    done = real(scanned.database, "show", str(scanned.library / "people" / "grace_hopper.jpg"), "-o", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.format == "PNG"


def test_a_photo_without_a_face_is_drawn_plain(scanned: ScannedLibrary, run: Run, tmp_path: Path) -> None:
    photo = scanned.library / "places" / "china.jpg"
    result = run("show", str(photo), "-o", str(tmp_path / "a.png"))
    assert result.stderr == f"{photo}: no face was found in it\nwrote {tmp_path}/a.png\n"
    upright = Image.fromarray(decode_photo(str(photo)).rgb)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(image, upright.resize(image.size, Image.Resampling.LANCZOS))


def test_a_photo_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("show", "none.jpg", "-o", str(tmp_path / "a.png"), status=1)
    assert result.stderr == (
        "photoage: error: none.jpg: not in the database; `photoage scan PHOTO` finds its faces\n"
    )
    assert not list(tmp_path.iterdir())


def test_photos_that_cannot_be_read(tmp_path: Path, sample_library: Path) -> None:
    store_library(tmp_path / "photoage.db")
    run = runner(tmp_path / "photoage.db")
    assert "photoage errors" in run("show", BROKEN, "-o", "a.png", status=1).stderr
    gone = run("show", "/photos/2019/anna.jpg", "-o", "a.png", status=1).stderr.splitlines()
    assert gone == [
        "photoage: warning: /photos/2019/anna.jpg: the file is gone",
        "photoage: error: /photos/2019/anna.jpg: the file is gone",
    ]


def test_a_photo_that_changed_is_shown_with_a_warning(sample_library: Path, tmp_path: Path) -> None:
    portrait, photo = sample_library / "people" / "grace_hopper.jpg", tmp_path / "p" / "a.jpg"
    database = make_library(portrait, photo.parent, [Stored("a.jpg", (50.0,))])
    os.utime(photo, (1, 1))
    result = runner(database)("show", str(photo), "-o", str(tmp_path / "a.png"))
    assert result.stderr.splitlines() == [
        f"photoage: warning: {photo}: changed since it was scanned; scan it again", f"wrote {tmp_path}/a.png"
    ]  # fmt: skip


def test_outputs_that_make_no_sense(scanned: ScannedLibrary, run: Run, tmp_path: Path) -> None:
    photo = scanned.library / "people" / "eileen_collins.png"
    content = photo.read_bytes()
    for options, cause in (
        (("-o", str(photo)), "is the photo itself"),
        (("-o", "a.jpg"), ".png"),
        (("-o", "-", "--open"), "--open"),
    ):
        result = run("show", str(photo), *options, status=2)
        assert cause in result.stderr
        assert result.stderr.count("\n") == 1
    assert photo.read_bytes() == content
    result = run("show", str(photo), "-o", str(tmp_path / "none" / "a.png"), status=1)
    assert result.stderr.startswith(f"photoage: error: {tmp_path}/none/a.png: cannot be written")


@pytest.mark.skipif(sys.platform != "linux", reason="how a viewer is started differs")
def test_without_a_file_a_viewer_is_opened(
    scanned: ScannedLibrary, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = str(scanned.library / "people" / "grace_hopper.jpg")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run("show", photo, status=1)
    assert "no program could be started to show it" in result.stderr
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f"#!/bin/sh\necho \"$1\" > '{tmp_path}/shown'\n")
    viewer.chmod(0o755)
    os.mkfifo(tmp_path / "shown")
    result = run("show", photo)
    shown = Path((tmp_path / "shown").read_text().removesuffix("\n"))
    assert result.stderr == f"wrote {shown}\n"
    assert stat.S_IMODE(shown.stat().st_mode) == 0o600
    with Image.open(shown) as image:
        assert image.format == "PNG"


# --- drawing --------------------------------------------------------------------------------------


def plates(image: Image.Image) -> int:
    """How many pixels have the colour of boxes and ages."""
    distance = np.abs(np.asarray(image, dtype=np.int16) - np.array(ACCENT[:3])).max(axis=2)
    return int((distance < 12).sum())


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize(
    "box", [(0, 0, 90, 90), (910, 710, 1000, 800), (-20, 300, 30, 380), (0, 0, 1000, 800)]
)
def test_the_label_is_seen_at_every_edge_and_on_every_ground(grey: int, box: tuple[int, ...]) -> None:
    face = FACE._replace(x1=box[0], y1=box[1], x2=box[2], y2=box[3])
    image = Image.new("RGB", (1000, 800), (grey, grey, grey))
    one = draw_faces(image, [face])
    assert one.size == image.size
    without_age = plates(draw_faces(image, [face._replace(age=1.0)]))
    assert plates(one) > without_age + 10  # 34 has more ink than 1
    assert image.getpixel((500, 400)) == (grey, grey, grey)  # the image itself is not drawn on


def test_labels_avoid_other_faces() -> None:
    """Two faces, one above the other: the label of the lower one goes below it."""
    upper = FACE._replace(x1=400, y1=200, x2=500, y2=320)
    lower = FACE._replace(x1=400, y1=325, x2=500, y2=440)
    drawn = draw_faces(Image.new("RGB", (1000, 800), "white"), [upper, lower])
    for box in ((410, 210, 490, 310), (410, 335, 490, 430)):
        assert drawn.crop(box).getextrema() == ((255, 255),) * 3
