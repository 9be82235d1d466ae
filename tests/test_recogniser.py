"""Embeddings of real faces, from real photos, by the real recogniser; stored and completed by commands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from databases import assert_sound, run_sql
from small_library import PROGRAM, runner

from photoage.errors import DecodeError, DetectorError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import DetectorFile, default_detector
from photoage.faces.read import embed_stored
from photoage.faces.recogniser import DIMENSIONS, Recogniser, default_recogniser
from photoage.photos.content import content_hash
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.records import Embeddings, FloatArray, ImageArray, KnownFaces

HOPPER = "people/grace_hopper.jpg"
HOPPER_TOO = "albums/1984 à Washington/Grace Hopper, née Murray 🎖️.jpg"
COLLINS = "people/eileen_collins.png"


def pixels(file: Path) -> ImageArray:
    return decode_bytes(file.read_bytes(), str(file), DecodeOptions()).rgb


def landmarks(rgb: ImageArray) -> FloatArray:
    found = Detector(default_detector()).detect(rgb)
    return np.array([face.landmarks for face in found], dtype=np.float32)


def embedding(rgb: ImageArray) -> Embeddings:
    return Recogniser(default_recogniser()).embed(rgb, landmarks(rgb))[0]


def test_faces_of_one_person_are_alike_and_others_are_not(sample_library: Path) -> None:
    one, same, other = (embedding(pixels(sample_library / name)) for name in (HOPPER, HOPPER_TOO, COLLINS))
    assert one.shape == (DIMENSIONS,)
    assert one.dtype == np.float16
    assert np.linalg.norm(one.astype(np.float32)) == pytest.approx(1, abs=0.01)
    assert one @ same > 0.8
    assert abs(one @ other) < 0.2


def test_a_mirror_image_is_the_same_person(sample_library: Path) -> None:
    rgb = pixels(sample_library / HOPPER)
    assert embedding(rgb) @ embedding(np.ascontiguousarray(rgb[:, ::-1])) > 0.97


def test_no_faces_have_no_embeddings(sample_library: Path) -> None:
    rgb = pixels(sample_library / HOPPER)
    found = Recogniser(default_recogniser()).embed(rgb, np.empty((0, 5, 2), np.float32))
    assert found.shape == (0, DIMENSIONS)


def test_a_file_that_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.onnx"
    file.write_bytes(b"no network")
    with pytest.raises(DetectorError, match="not a usable recogniser"):
        Recogniser(DetectorFile("other", file, "0" * 64))


def test_stored_faces_are_those_of_the_photo_as_it_was_scanned(sample_library: Path) -> None:
    file = sample_library / HOPPER
    known = KnownFaces(landmarks(pixels(file)), (1,), (0,))
    digest = content_hash(file.read_bytes())
    found = embed_stored(str(file), digest, known, default_recogniser(), DecodeOptions())
    assert found[0] @ embedding(pixels(file)) > 0.999
    with pytest.raises(DecodeError) as raised:
        embed_stored(str(file), "0" * 32, known, default_recogniser(), DecodeOptions())
    assert raised.value.kind == "changed"


@pytest.fixture
def library(sample_library: Path, tmp_path: Path) -> Path:
    """Two photos of one woman, one of another, and one without faces."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number, name in enumerate((HOPPER, HOPPER_TOO, COLLINS)):
        shutil.copy(sample_library / name, folder / f"{number}{Path(name).suffix}")
    return folder


def vectors(place: Path) -> int:
    return int(str(run_sql(place, "SELECT count(*) FROM embedding")[0][0]))


@pytest.mark.slow
def test_a_scan_stores_embeddings_only_when_asked(library: Path, tmp_path: Path) -> None:
    asked, not_asked = tmp_path / "asked.db", tmp_path / "not.db"
    runner(asked)("scan", "--people", "-j", "1", str(library))
    runner(not_asked)("scan", "-j", "1", str(library))
    assert (vectors(asked), vectors(not_asked)) == (3, 0)
    runner(not_asked)("people", "find", "-j", "1")
    assert vectors(not_asked) == 3
    for place in (asked, not_asked):
        runner(place)("people", "find", "-j", "1")
        found = run_sql(place, "SELECT path FROM faces_view WHERE person IS NOT NULL ORDER BY path")
        assert [Path(str(path)).stem for (path,) in found] == ["0", "1"]
    stored = [
        run_sql(place, "SELECT hex(vector) FROM embedding JOIN face ON face.id = face_id ORDER BY photo_id")
        for place in (asked, not_asked)
    ]
    for one, other in zip(*stored, strict=True):
        pair = [np.frombuffer(bytes.fromhex(str(row[0])), "<f2").astype(np.float32) for row in (one, other)]
        assert pair[0] @ pair[1] > 0.99  # from a photo that was decoded smaller, and from the whole one


@pytest.mark.slow
def test_a_photo_that_is_gone_or_changed_costs_no_other(library: Path, tmp_path: Path) -> None:
    place = tmp_path / "photoage.db"
    run = runner(place)
    run("scan", "-j", "1", str(library))
    (library / "0.jpg").unlink()
    (library / "2.png").write_bytes((library / "2.png").read_bytes() + b"\0")
    result = run("people", "find", "-j", "1")
    assert vectors(place) == 1
    assert "changed since it was scanned" in result.stderr
    assert "0.jpg" in result.stderr


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_from_there(library: Path, tmp_path: Path) -> None:
    place = tmp_path / "photoage.db"
    for number in range(3, 80):
        data = bytearray((library / "0.jpg").read_bytes())
        (library / f"{number}.jpg").write_bytes(bytes(data) + number.to_bytes(2, "big"))
    runner(place)("scan", "-j", "1", str(library))
    command = [PROGRAM, "--db", str(place), "people", "find", "-j", "1"]
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while vectors(place) == 0 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = vectors(place)
    assert 0 < before <= 80
    runner(place)("people", "find", "-j", "1")
    assert vectors(place) == 80
    assert run_sql(place, "SELECT count(DISTINCT face_id) FROM embedding") == [(80,)]
    assert_sound(place)
