"""`photoage export --crops`: files named by age."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ScannedLibrary
from PIL import Image
from small_library import Run, runner, store_library

from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow
from photoage.export.crop_files import crop_name
from photoage.export.crops import iter_crops

FACE = FaceRow(
    "/p/a.jpg", 0, 34.25, 20, 48.5, 0.9, 0, 0, 9, 9, 1000, 800, None, "2026-01-01", "scrfd", "first"
)


@pytest.fixture(scope="module")
def run(scanned: ScannedLibrary) -> Run:
    return runner(scanned.database)


def test_crops_are_sorted_by_age_and_written_once(scanned: ScannedLibrary, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crops"
    options = ("export", "--crops", str(folder), "--path", "*/people/", "--crop-size", "96")
    dry = run(*options, "-n")
    assert dry.stderr == "crops: 2 would be written\n"
    assert not folder.exists()
    assert run(*options).stderr == "crops: 2 written\n"
    files = sorted(folder.iterdir())
    assert [str(path) for path in files] == sorted(dry.stdout.splitlines())
    queried = json.loads(run("query", "--json", "--path", "*/people/", "--sort", "age").stdout)
    ages = [face["age"] for face in queried]
    assert [float(path.name[:5]) for path in files] == [pytest.approx(age, abs=0.051) for age in ages]
    assert ["eileen_collins" in files[0].name, "grace_hopper" in files[1].name] == [True, True]

    engine = open_database(scanned.database, read_only=True)
    for crop in iter_crops(engine, FaceFilter(path_glob="*/people/"), size=96, workers=1):
        with Image.open(folder / crop_name(crop.row)) as image:
            assert image.size == (96, 96)
            assert crop.crop is not None
            assert np.abs(np.asarray(image, np.float32) - crop.crop).mean() < 4
    engine.dispose()

    run(*options[:-1], "64")
    assert sorted(folder.iterdir()) == files
    with Image.open(files[0]) as image:
        assert image.size == (64, 64)


def test_photos_that_are_gone_are_left_out(tmp_path: Path) -> None:
    store_library(tmp_path / "photoage.db")
    result = runner(tmp_path / "photoage.db")("export", "--crops", str(tmp_path / "crops"), status=1)
    *warnings, summary = result.stderr.splitlines()
    assert summary == "crops: 0 written, 5 left out"
    assert len(warnings) == 4  # one per photo
    assert all(line.startswith("photoage: warning: /photos/") for line in warnings)
    assert not (tmp_path / "crops").exists()


def test_a_folder_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("export", "--crops", str(tmp_path / "file" / "x"), "--limit", "1", status=1)
    assert result.stderr.startswith(f"photoage: error: {tmp_path}/file/x/")
    assert result.stderr.count("\n") == 1


def test_names_tell_faces_apart_and_are_safe() -> None:
    assert crop_name(FACE).startswith("034.2_a_")
    assert crop_name(FACE).endswith("_0.jpg")
    assert crop_name(FACE) == crop_name(FACE._replace(det_score=0.1))
    others = [FACE._replace(path="/q/a.jpg"), FACE._replace(face_index=1), FACE._replace(path="/p/a.png")]
    assert len({crop_name(face) for face in [FACE, *others]}) == 4
    assert crop_name(FACE._replace(age=101.96))[:6] == "102.0_"
    for stem in (
        "-rf *", "a\n\x1b[31mb", os.fsdecode(b"caf\xe9"), "x" * 250, "語" * 80, "..", "<&'\">", "a:b\\c|?"
    ):  # fmt: skip
        name = crop_name(FACE._replace(path=f"/p/{stem}.jpg"))
        assert re.fullmatch(r"[\w.-]+", name)
        assert len(os.fsencode(name)) < 200
