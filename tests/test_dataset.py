"""The data set reader and aligner: names, archives, and the very crops of a scan."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled_faces import make_data, portraits, save

from photoage.errors import DataError
from photoage.faces.detector_files import default_detector
from photoage.faces.read import ReadOptions, read_photo
from photoage.training.dataset import (
    StoredCrops,
    align_samples,
    cached_faces,
    labels_of,
    parse_name,
    pick_subject,
    read_utkface,
)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("100_0_0_20170112215240346.jpg.chip.jpg", (100, 0, 0)),
        ("0_1_4_20170112215240346.jpg", (0, 1, 4)),  # as in the whole photos of the data set
        ("116_1_2_1.JPG.CHIP.JPG", (116, 1, 2)),
        ("5_0_3_20170112215240346.png", (5, 0, 3)),
    ],
)
def test_labels_come_from_the_name(name: str, labels: tuple[int, int, int]) -> None:
    sample = parse_name(Path(name))
    assert sample is not None
    assert (sample.age, sample.gender, sample.ethnicity) == labels


@pytest.mark.parametrize(
    "name",
    [
        "39_1_20170116174525125.jpg.chip.jpg",  # three malformed names of the official archive
        "61_3_20170109150557335.jpg.chip.jpg",
        "53__0_20170116184028385.jpg.chip.jpg",
        "117_0_0_1.jpg",
        "-1_0_0_1.jpg",
        "20_2_0_1.jpg",
        "20_0_5_1.jpg",
        "20_0_0_1.jpg.exe",
        "holiday.jpg",
    ],
)
def test_malformed_names_are_not_guessed(name: str) -> None:
    assert parse_name(Path(name)) is None


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "part2").mkdir()
    for name in ("9_0_0_1.jpg", "part2/8_1_2_1.jpg", "part2/beach.jpg", "notes.txt", "._9_0_0_1.jpg"):
        (tmp_path / name).touch()
    samples, malformed = read_utkface(tmp_path, tmp_path / "cache")
    assert [(s.name, s.age) for s in samples] == [("9_0_0_1.jpg", 9), ("8_1_2_1.jpg", 8)]
    assert malformed == ["beach.jpg"]
    assert labels_of(samples)["ethnicity"].tolist() == [0, 2]


def test_two_images_of_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "9_0_0_1.jpg").touch()
    (tmp_path / "copy" / "9_0_0_1.jpg").touch()
    with pytest.raises(DataError, match=r"copy.9_0_0_1\.jpg: has the same name as"):
        read_utkface(tmp_path, tmp_path / "cache")


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    make_data(tmp_path / "UTKFace", 2)
    archive, cache = tmp_path / "UTKFace.tar.gz", tmp_path / "cache"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "UTKFace", "UTKFace")
    first, _ = read_utkface(archive, cache)
    first[0].path.write_bytes(b"would be overwritten")
    second, _ = read_utkface(archive, cache)
    assert first == second
    assert second[0].path.read_bytes() == b"would be overwritten"


def test_an_archive_cannot_write_outside_the_cache(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    archive = tmp_path / "UTKFace.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "evil", "../../escaped.jpg")
    with pytest.raises(DataError, match=r"not a readable tar archive"):
        read_utkface(archive, tmp_path / "cache" / "deep")
    assert not list(tmp_path.rglob("escaped.jpg"))


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\x1f\x8b\x08\x00" + bytes(500)])
def test_a_damaged_archive_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "UTKFace.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_utkface(archive, tmp_path / "cache")
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_missing_and_empty_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such archive or folder"):
        read_utkface(tmp_path / "nowhere", tmp_path)
    with pytest.raises(DataError, match="no image named"):
        read_utkface(tmp_path, tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four faces, a picture without one, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, 4)
    save(folder / "30_0_0_20170101000009000.jpg.chip.jpg", np.full((200, 200, 3), 90, np.uint8))
    (folder / "31_0_0_20170101000009001.jpg.chip.jpg").write_bytes(b"no picture")
    return folder


def test_crops_are_those_of_a_scan_and_stay_with_their_labels(folder: Path) -> None:
    samples, _ = read_utkface(folder, folder)
    detector = default_detector()
    faces = align_samples(samples, detector, size=96, workers=1)
    assert sorted(faces.missed) == [f"3{i}_0_0_2017010100000900{i}.jpg.chip.jpg" for i in (0, 1)]
    assert [s.name for s in faces.samples] == [s.name for s in samples if s.name not in faces.missed]
    for sample, crop in zip(faces.samples, faces.crops[:], strict=True):
        scanned = read_photo(str(sample.path), ReadOptions(detector, 96))
        found = scanned.faces.detections
        subject = pick_subject(found, scanned.faces.width, scanned.faces.height)
        assert subject is not None
        np.testing.assert_array_equal(crop, scanned.crops[found.index(subject)])


def test_aligned_faces_are_computed_once_and_read_from_disk(folder: Path, tmp_path: Path) -> None:
    samples, _ = read_utkface(folder, folder)
    detector = default_detector()
    steps: list[int] = []
    first = cached_faces(samples, detector, tmp_path, size=64, margin=4, workers=1, progress=steps.append)
    assert steps == list(range(1, 7))
    again = cached_faces(samples, detector, tmp_path, size=64, margin=4, progress=steps.append)
    assert len(steps) == 6
    assert first.samples == again.samples
    assert sorted(first.missed) == sorted(again.missed)
    assert first.crops[:].shape == (4, 72, 72, 3)
    np.testing.assert_array_equal(first.crops[:], again.crops[:])
    direct = align_samples(samples, detector, size=64, margin=4, workers=1)
    np.testing.assert_array_equal(first.crops[1:3], direct.crops[1:3])


def test_stored_crops_travel_to_a_process_without_their_pixels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (50, 40, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "crops.npy", array)
    crops = StoredCrops(tmp_path / "crops.npy", np.array([7, 3, 41]))
    sent = pickle.dumps(crops)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[:], array[[7, 3, 41]])
    assert len(crops) == 3
    np.testing.assert_array_equal(crops[2], array[41])


def test_data_without_any_face_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "31_0_0_1.jpg").write_bytes(b"no picture")
    samples, _ = read_utkface(tmp_path, tmp_path)
    with pytest.raises(
        DataError, match=r"no face was found in any of the 1 images \(first error: .*31_0_0_1"
    ):
        align_samples(samples, default_detector(), size=64, workers=1)


def test_the_subject_is_the_large_central_face(tmp_path: Path) -> None:
    face = portraits()[0]
    photo = np.zeros((400, 700, 3), np.uint8)
    photo[60:320, 220:480] = face
    photo[10:110, 590:690] = cv2.resize(face, (100, 100))
    save(tmp_path / "34_1_0_1.jpg", photo)
    save(tmp_path / "35_1_0_1.jpg", face)
    samples, _ = read_utkface(tmp_path, tmp_path)
    crops = align_samples(samples, default_detector(), size=64, workers=1).crops[:].astype(int)
    assert np.abs(crops[0] - crops[1]).mean() < 12
