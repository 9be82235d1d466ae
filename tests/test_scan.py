"""The whole scan on real photos, against the contract and against a plain sequential path."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ScannedLibrary
from decoded import decode_photo
from small_library import runner

from photoage.ages.predictor import Predictor
from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.history import iter_errors
from photoage.database.query import FaceRow, iter_faces
from photoage.errors import DecodeError
from photoage.faces.align import align_crop
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.models import default_checkpoint
from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan


@pytest.fixture(scope="module")
def rows(scanned: ScannedLibrary) -> dict[str, list[FaceRow]]:
    """Faces by path relative to the library."""
    found: dict[str, list[FaceRow]] = {}
    for row in iter_faces(open_database(scanned.database, read_only=True), FaceFilter()):
        found.setdefault(str(Path(row.path).relative_to(scanned.library)), []).append(row)
    return found


def test_every_orientation_and_format_of_one_face_agrees(rows: dict[str, list[FaceRow]]) -> None:
    names = [f"orientations/{i}.jpg" for i in range(1, 9)]
    names += [f"formats/portrait.{suffix}" for suffix in ("png", "webp", "heic")]
    faces = [rows[name] for name in names]
    assert [len(found) for found in faces] == [1] * len(names)
    first = faces[0][0]
    assert (first.photo_width, first.photo_height) == (384, 512)
    for name, (face,) in zip(names, faces, strict=True):
        assert (face.photo_width, face.photo_height) == (384, 512), name
        for side in ("x1", "y1", "x2", "y2"):
            assert abs(getattr(face, side) - getattr(first, side)) <= 0.03 * 384, (name, side)
        # Another compression is another picture; a turn changes only which way rounding goes.
        assert abs(face.age - first.age) <= (1 if name.startswith("orientations") else 2), name


@pytest.mark.slow
def test_rows_are_those_of_a_plain_sequential_path(
    scanned: ScannedLibrary, rows: dict[str, list[FaceRow]]
) -> None:
    """The reference: one photo after the other, full decode, one face at a time, in the scan's 8 bits.

    In float32 each estimate is near as well; all copies of a portrait are off by the same rounding.
    """
    detector = Detector(default_detector())
    same, exact = (Predictor(default_checkpoint(), torch.device("cpu"), kind) for kind in ("int8", "float"))
    differences = []
    for path in sorted(p for p in scanned.library.rglob("*") if p.is_file() and p.suffix != ".md"):
        try:
            photo = decode_photo(str(path))
        except DecodeError:
            continue
        found = detector.detect(photo.rgb)
        stored = rows.get(str(path.relative_to(scanned.library)), [])
        assert len(found) == len(stored), path
        for index, (face, row) in enumerate(zip(found, stored, strict=True)):
            crop = torch.from_numpy(align_crop(photo.rgb, face.landmarks, exact.info.crop_size)[None])
            (estimate,), (unrounded,) = same.estimate(crop), exact.estimate(crop)
            assert row.face_index == index
            np.testing.assert_allclose((row.x1, row.y1, row.x2, row.y2), face.bbox, atol=3)
            differences.append(abs(estimate.age - row.age))
            assert abs(unrounded.age - row.age) < 2, path
    assert len(differences) >= 15
    assert float(np.mean(differences)) < 0.1
    assert max(differences) < 1


def test_every_row_is_plausible(rows: dict[str, list[FaceRow]]) -> None:
    for found in rows.values():
        for row in found:
            assert 0 <= row.age_low <= row.age <= row.age_high
            assert 0 <= row.x1 < row.x2 <= row.photo_width
            assert 0 <= row.y1 < row.y2 <= row.photo_height
            assert 0.5 <= row.det_score <= 1
            assert row.detector == "scrfd_500m"
            assert row.checkpoint


def test_photos_of_places_have_no_faces(rows: dict[str, list[FaceRow]]) -> None:
    assert not [name for name in rows if name.startswith("places/")]


def test_capture_dates_come_from_exif(rows: dict[str, list[FaceRow]]) -> None:
    (obama,) = rows["white_house/obama_2009.jpg"]
    assert str(obama.taken_at).startswith("2009-09-09")
    assert not rows["orientations/1.jpg"][0].taken_at


def test_an_exact_duplicate_has_the_same_faces(rows: dict[str, list[FaceRow]]) -> None:
    (original,), (copy,) = rows["people/grace_hopper.jpg"], rows["backup/grace_hopper_copy.jpg"]
    assert original.age == copy.age
    assert original[3:10] == copy[3:10]


def test_bad_files_are_listed_with_their_kind(scanned: ScannedLibrary) -> None:
    errors = iter_errors(open_database(scanned.database, read_only=True))
    kinds = {Path(error.path).name: error.kind for error in errors}
    assert kinds == {"empty.jpg": "empty", "really_a_text.jpg": "unsupported", "truncated.jpg": "truncated"}


def test_a_database_on_a_network_file_system_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoage.scan.scan.on_network_filesystem", lambda path: "nfs4")
    (tmp_path / "library").mkdir()
    summary = scan([str(tmp_path / "library")], tmp_path / "x.db", ScanOptions())
    assert any("x.db: is on a network file system (nfs4)" in text for text in summary.warnings)


def test_a_scan_ends_no_sooner_than_the_load_of_the_age_model(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.jpg").write_bytes(b"no photo")
    scan([str(tmp_path / "library")], tmp_path / "x.db", ScanOptions(workers=1))
    assert not any("_load" in thread.name for thread in threading.enumerate())


def test_huge_files_of_one_size_are_never_read_whole(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for name in ("a.jpg", "b.jpg"):  # the second is a suspected duplicate, which is hashed first
        with (library / name).open("wb") as file:
            file.truncate(1 << 40)  # sparse: no bytes on disk
    summary = scan([str(library)], tmp_path / "x.db", ScanOptions(workers=1))
    assert (summary.counts.unreadable, summary.counts.seen) == (2, 2)
    errors = iter_errors(open_database(tmp_path / "x.db", read_only=True))
    assert [error.kind for error in errors] == ["too-large", "too-large"]


def test_verbose_names_every_photo_and_otherwise_it_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "text.jpg").write_text("no photo")
    run = runner(tmp_path / "x.db")
    command = ("scan", "--device", "cpu", "-j", "1", str(tmp_path / "library"))
    assert "text.jpg" not in run(*command).stderr
    assert f"{tmp_path / 'library' / 'text.jpg'}: unchanged, 0 ms, 0 faces\n" in run("-v", *command).stderr
