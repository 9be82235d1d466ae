"""Crops of stored faces, cut again from real photos."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine

from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import iter_faces
from photoage.database.store import Store
from photoage.export.crops import CutTask, FaceCrop, FacePlace, _tasks, _windows, cut_faces, iter_crops
from photoage.faces.align import align_crop
from photoage.faces.detector_files import default_detector
from photoage.faces.read import ReadOptions, read_photo
from photoage.records import DecodedPhoto, Detection, Estimate, KnownFaces, PhotoFaces, PhotoFile, RunCounts
from tests.conftest import ScannedLibrary
from tests.decoded import decode_photo

EYES_AND_MOUTH = np.array([[60, 60], [140, 60], [100, 105], [65, 137], [135, 137]], dtype=np.float32)

ALL = FaceFilter()


@contextmanager
def opened(database: Path) -> Iterator[Engine]:
    engine = open_database(str(database), read_only=True)
    try:
        yield engine
    finally:
        engine.dispose()


def crops_of(database: Path, wanted: FaceFilter = ALL, size: int = 96) -> list[FaceCrop]:
    with opened(database) as engine:
        return list(iter_crops(engine, wanted, size=size, workers=2))


def test_every_stored_face_of_the_sample_library_has_a_crop(scanned: ScannedLibrary) -> None:
    found = crops_of(scanned.database)
    with opened(scanned.database) as engine:
        assert [crop.row for crop in found] == list(iter_faces(engine, FaceFilter()))
    assert len(found) >= 20
    assert {crop.problem for crop in found} == {None}
    assert {crop.crop.shape for crop in found if crop.crop is not None} == {(96, 96, 3)}


def test_a_crop_is_the_face_upright_whatever_the_orientation_and_format(scanned: ScannedLibrary) -> None:
    """The same portrait, stored turned, mirrored and in other formats: the crops look alike."""
    crops = {os.path.basename(c.row.path): c.crop for c in crops_of(scanned.database, FaceFilter())}
    upright = crops["1.jpg"]
    assert upright is not None
    for name in ("3.jpg", "6.jpg", "8.jpg", "portrait.png", "portrait.heic", "portrait.webp"):
        other = crops[name]
        assert other is not None
        difference = np.abs(upright.astype(int) - other.astype(int)).mean()
        assert difference < 12, name


@pytest.mark.parametrize("sort", ["age", "path", "score"])
def test_crops_come_in_the_order_of_the_filter(scanned: ScannedLibrary, sort: str) -> None:
    wanted = FaceFilter(sort=sort, descending=True, limit=7)  # type: ignore[arg-type]
    with opened(scanned.database) as engine:
        expected = list(iter_faces(engine, wanted))
    assert [crop.row for crop in crops_of(scanned.database, wanted)] == expected


def photo_of_faces(folder: Path, *, width: int = 4000, faces: int = 5) -> tuple[Path, list[Detection]]:
    """A large photo with the same noisy tile in several sizes, and where its landmarks are."""
    noise = np.random.default_rng(7).integers(0, 255, (10, 10, 3), dtype=np.uint8)
    tile = cv2.resize(noise, (200, 200), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((900, width, 3), 128, dtype=np.uint8)
    detections = []
    for index in range(faces):
        side, x = 400 + 60 * index, 750 * index + 20
        canvas[50 : 50 + side, x : x + side] = cv2.resize(tile, (side, side))
        landmarks = (EYES_AND_MOUTH * side / 200 + [x, 50]).astype(np.float32)
        detections.append(Detection((x, 50, x + side, 50 + side), landmarks, 0.9))
    path = folder / "crowd.jpg"
    cv2.imwrite(str(path), canvas, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path, detections


def store_photo(database: Path, path: Path, detections: list[Detection], size: tuple[int, int]) -> None:
    stat = path.stat()
    faces = PhotoFaces("0" * 32, *size, tuple(detections))
    estimates = [Estimate(20.0 + index, 15.0, 30.0) for index in range(len(detections))]
    with Store.open(database) as store:
        store.begin_run([str(path.parent)], {}, ("scrfd_500m", "a" * 64), ("tiny", "b" * 64))
        store.save_many([(PhotoFile(str(path), stat.st_size, stat.st_mtime_ns), faces, estimates)])
        store.commit()
        store.finish_run("finished", RunCounts(seen=1, done=1, faces=len(detections)))


def test_a_reduced_decode_gives_the_crop_of_the_full_photo(tmp_path: Path) -> None:
    path, detections = photo_of_faces(tmp_path)
    store_photo(tmp_path / "p.db", path, detections, (4000, 900))
    full = decode_photo(str(path)).rgb
    for found, detection in zip(crops_of(tmp_path / "p.db", size=80), detections, strict=True):
        assert found.crop is not None
        expected = align_crop(full, detection.landmarks, 80)
        assert np.abs(found.crop.astype(int) - expected.astype(int)).mean() < 2


def test_a_photo_is_decoded_as_small_as_its_smallest_face_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, detections = photo_of_faces(tmp_path)
    stat = path.stat()
    file = PhotoFile(str(path), stat.st_size, stat.st_mtime_ns)
    landmarks = np.stack([detection.landmarks for detection in detections])
    sides = []

    from photoage.export import crops

    def watched(*args: object, **options: object) -> object:
        photo = real(*args, **options)  # type: ignore[arg-type]
        sides.append(photo.rgb.shape[1])
        return photo

    real = crops.decode_bytes
    monkeypatch.setattr(crops, "decode_bytes", watched)
    for frame in (40, 90, 150, 300, 2000):
        cut_faces(CutTask(file, 4000, 900, landmarks, frame, 0, tuple(range(5))))
    assert sides == [500, 1000, 2000, 4000, 4000]  # the smallest face is some 400 pixels wide


def test_a_margin_shows_the_surroundings_in_a_crop_of_the_same_size(tmp_path: Path) -> None:
    path, detections = photo_of_faces(tmp_path, faces=1)
    store_photo(tmp_path / "p.db", path, detections, (4000, 900))
    with opened(tmp_path / "p.db") as engine:
        tight, wide = (
            next(iter_crops(engine, FaceFilter(), size=120, margin=margin, workers=1)).crop
            for margin in (0.0, 0.25)
        )
    assert tight is not None
    assert wide is not None
    assert wide.shape == (120, 120, 3)
    inner = cv2.resize(wide[20:100, 20:100], (120, 120), interpolation=cv2.INTER_CUBIC)
    assert np.abs(inner.astype(int) - tight.astype(int)).mean() < 8


def test_each_unusable_photo_is_a_problem_of_its_own_faces_alone(
    scanned: ScannedLibrary, tmp_path: Path
) -> None:
    """Gone, changed, damaged under an old date, a folder in its place, landmarks that are none."""
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    library.mkdir()
    names = ["good.jpg", "gone.jpg", "changed.jpg", "touched.jpg", "folder.jpg", "odd.jpg", "ruined.jpg"]
    names += [os.fsdecode(b"caf\xe9\n.jpg")]
    portrait = scanned.library / "people" / "grace_hopper.jpg"
    with Store.open(database) as store:
        store.begin_run([str(library)], {}, ("scrfd_500m", "a" * 64), ("tiny", "b" * 64))
        for number, name in enumerate(names):
            path = library / name
            shutil.copyfile(portrait, path)
            points = EYES_AND_MOUTH * (np.nan if name == "odd.jpg" else 1)
            face = Detection((50, 50, 150, 150), points, 0.9)
            photo = decode_photo(str(path))
            found = PhotoFaces(f"{number:032x}", photo.width, photo.height, (face,))
            stat = path.stat()
            file = PhotoFile(str(path), stat.st_size, stat.st_mtime_ns)
            store.save_many([(file, found, [Estimate(30, 25, 40)])])
        store.commit()
        store.finish_run("finished", RunCounts(seen=len(names), done=len(names), faces=len(names)))
    (library / "gone.jpg").unlink()
    (library / "changed.jpg").write_bytes(portrait.read_bytes() + b"more")
    os.utime(library / "touched.jpg", (1, 1))
    (library / "folder.jpg").unlink()
    (library / "folder.jpg").mkdir()
    times = (library / "ruined.jpg").stat()
    (library / "ruined.jpg").write_bytes(b"x" * times.st_size)
    os.utime(library / "ruined.jpg", ns=(times.st_atime_ns, times.st_mtime_ns))
    found = {os.path.basename(c.row.path): c for c in crops_of(database)}
    assert {name: crop.problem for name, crop in found.items()} == {
        "good.jpg": None,
        names[-1]: None,
        "gone.jpg": "the file is gone",
        "changed.jpg": "has changed since it was scanned",
        "touched.jpg": "has changed since it was scanned",
        "folder.jpg": "Is a directory",
        "odd.jpg": "its landmarks are unusable; force a new scan of the photo",
        "ruined.jpg": "not an image in a known format",
    }
    assert {name for name, crop in found.items() if crop.crop is not None} == {"good.jpg", names[-1]}


def test_no_faces_give_no_crops(scanned: ScannedLibrary) -> None:
    assert crops_of(scanned.database, FaceFilter(min_age=130)) == []


def test_a_window_keeps_the_faces_of_a_photo_together() -> None:
    paths = ["/a.jpg"] * 2 + ["/b.jpg"] * 5 + ["/c.jpg"] + ["/a.jpg"]
    places = [FacePlace(PhotoFile(path, 1, 1), 640, 480, EYES_AND_MOUTH) for path in paths]
    windows = list(_windows(places, 3))
    assert [[place.file.path for place in window] for window in windows] == [paths[:7], paths[7:]]
    tasks = list(_tasks(places, 64, 0))
    assert [task.positions for task in tasks] == [(0, 1, 8), (2, 3, 4, 5, 6), (7,)]
    assert [task.landmarks.shape for task in tasks] == [(3, 5, 2), (5, 5, 2), (1, 5, 2)]


@pytest.mark.parametrize(("size", "margin"), [(0, 0.0), (100_000, 0.0), (64, -1.0)])
def test_absurd_sizes_are_refused(tmp_path: Path, size: int, margin: float) -> None:
    Store.open(tmp_path / "p.db").__exit__(None, None, None)
    with opened(tmp_path / "p.db") as engine, pytest.raises(ValueError, match="crops of"):
        next(iter_crops(engine, FaceFilter(), size=size, margin=margin))


def test_a_re_estimate_and_a_report_cut_the_crop_that_the_scan_cut(
    tmp_path: Path, sample_library: Path
) -> None:
    """The scan cuts from a reduced decode, with landmarks found there: half a pixel would be lost."""
    portrait = decode_photo(sample_library / "people" / "grace_hopper.jpg").rgb
    photo = np.zeros((2600, 4000, 3), np.uint8) + 90
    photo[700:1300, 1500:2100] = cv2.resize(portrait, (600, 600), interpolation=cv2.INTER_AREA)
    path = tmp_path / "large.jpg"
    Image.fromarray(photo).save(path, quality=97)
    options = ReadOptions(default_detector(), 112)
    scanned = read_photo(str(path), options)
    (face,) = scanned.faces.detections
    again = read_photo(str(path), options, known=KnownFaces(face.landmarks[None], (1,), (0,)))
    task = CutTask(scanned.file, 4000, 2600, face.landmarks[None], 112, 0, (0,))
    (report,) = cut_faces(task)
    assert report is not None
    grey = [crop.mean(axis=2) for crop in (scanned.crops[0], again.crops[0], report)]
    for other in grey[1:]:
        (x, y), _ = cv2.phaseCorrelate(grey[0], other)
        assert max(abs(x), abs(y)) < 0.06  # pixels of the crop


def test_points_of_a_reduced_photo_become_points_of_the_full_one_and_back() -> None:
    photo = DecodedPhoto(np.zeros((300, 500, 3), np.uint8), 1000, 600)
    face = Detection((0.0, 0.0, 500.0, 300.0), EYES_AND_MOUTH, 0.9)
    full = photo.full(face)
    assert full.bbox == (0, 0, 1000, 600)
    # The centre of the first pixel is that of the four pixels that it was made of.
    np.testing.assert_allclose(full.landmarks, EYES_AND_MOUTH * 2 + 0.5)
    np.testing.assert_allclose(photo.reduced(full.landmarks), EYES_AND_MOUTH, atol=1e-4)
