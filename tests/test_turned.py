"""Photos without an orientation that lie on their side: found, stored with their turn, and shown upright."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_library import runner

from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.export.crops import iter_crops
from photoage.export.picture import find_photo, picture
from photoage.faces.detector_files import default_detector
from photoage.faces.quality import roll
from photoage.faces.read import ReadOptions, ReadPhoto, read_photo
from photoage.faces.turns import turn_face
from photoage.photos.orientation import as_stored, turn_pixels, with_turn
from photoage.records import Detection, KnownFaces
from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan

TURNS = {
    0: None,
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
OPTIONS = ReadOptions(default_detector(), 112)


def lying(sample_library: Path, turn: int, mirrored: bool = False) -> Image.Image:
    """Grace Hopper's portrait, as it is before this turn makes it upright."""
    photo = Image.open(sample_library / "people" / "grace_hopper.jpg").convert("RGB")
    if mirrored:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    how = TURNS[turn]  # Pillow turns counter-clockwise
    return photo if how is None else photo.transpose(how)


def read(image: Image.Image, path: Path, **save: object) -> ReadPhoto:
    image.save(path, quality=95, **save)
    return read_photo(str(path), OPTIONS)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_face_is_the_same_in_every_turn(
    sample_library: Path, tmp_path: Path, turn: int, mirrored: bool
) -> None:
    upright = read(lying(sample_library, 0, mirrored), tmp_path / "0.jpg")
    turned = read(lying(sample_library, turn, mirrored), tmp_path / "turned.jpg")
    assert (upright.faces.turn, turned.faces.turn) == (0, turn)
    assert (turned.faces.width, turned.faces.height) == (upright.faces.width, upright.faces.height)
    (face,), (same,) = turned.faces.detections, upright.faces.detections
    assert face.bbox == pytest.approx(same.bbox, abs=4)
    assert face.landmarks == pytest.approx(same.landmarks, abs=4)
    assert np.abs(turned.crops.astype(int) - upright.crops).mean() < 8
    # A new checkpoint's crops, from what is stored.
    known = KnownFaces(face.landmarks[None], (1,), (turn,))
    again = read_photo(str(tmp_path / "turned.jpg"), OPTIONS, known)
    assert np.abs(again.crops.astype(int) - turned.crops).mean() < 3
    assert again.faces.quality[0] == pytest.approx(turned.faces.quality[0], rel=0.1, abs=0.01)


def test_a_photo_that_states_its_orientation_is_never_turned(sample_library: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    assert read(lying(sample_library, 180), tmp_path / "a.jpg", exif=exif.tobytes()).faces.turn == 0


def test_each_page_of_a_scan_has_its_own_turn(sample_library: Path, tmp_path: Path) -> None:
    first, *others = (lying(sample_library, turn) for turn in TURNS)
    path = tmp_path / "pages.tif"
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    found = read_photo(str(path), OPTIONS).faces
    assert [(*size, page) for page, size in enumerate(found.pages, start=1)] == [
        (*first.size, turn, page) for page, turn in enumerate(TURNS, start=1)
    ]
    upright = found.detections[0].bbox
    assert [face.page for face in found.detections] == [1, 2, 3, 4]
    assert all(face.bbox == pytest.approx(upright, abs=4) for face in found.detections)


def test_a_landscape_is_not_turned(sample_library: Path) -> None:
    for photo in (sample_library / "places").iterdir():
        found = read_photo(str(photo), OPTIONS).faces
        assert (found.turn, found.detections) == (0, ())


def test_prints_at_several_angles_on_one_page_are_found_upright_in_their_crops(
    sample_library: Path, tmp_path: Path
) -> None:
    page = Image.new("RGB", (1500, 1100), (205, 195, 175))
    for place, angle in enumerate((0, 90, 180, -90)):
        piece = lying(sample_library, 0).resize((400, 500)).convert("RGBA").rotate(-angle, expand=True)
        page.paste(piece, (100 + 700 * (place % 2), 30 + 530 * (place // 2)), piece)
    found = read(page, tmp_path / "page.jpg").faces
    tilts = sorted(round(roll(face.landmarks) / 90) % 4 for face in found.detections)
    assert tilts == [0, 1, 2, 3]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_detection_turns_with_the_pixels_under_it(turn: int) -> None:
    image = np.zeros((30, 50, 3), np.uint8)
    image[4:9, 10:13] = 255
    points = np.array([[10, 4], [12, 4], [11, 6], [10, 8], [12, 8]], np.float32)
    face = turn_face(Detection((10, 4, 13, 9), points, 0.9), turn, 50, 30)
    turned = turn_pixels(image, turn)
    x1, y1, x2, y2 = map(int, face.bbox)
    assert turned[y1:y2, x1:x2].all()
    assert turned.sum() == turned[y1:y2, x1:x2].sum()
    assert all(turned[int(y), int(x)].all() for x, y in face.landmarks)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_and_an_orientation_are_one_orientation(orientation: int) -> None:
    box = (0.1, 0.2, 0.4, 0.9)
    assert with_turn(orientation, 0) == orientation
    for turn, alike in ((90, 6), (180, 3), (270, 8)):
        once = as_stored(as_stored(box, alike), orientation)
        assert as_stored(box, with_turn(orientation, turn)) == pytest.approx(once)


@pytest.fixture(scope="module")
def scanned_turns(tmp_path_factory: pytest.TempPathFactory, sample_library: Path) -> Path:
    """A folder with a portrait in four turns, and its database; do not change them."""
    folder = tmp_path_factory.mktemp("turns")
    (folder / "photos").mkdir()
    for turn in TURNS:
        lying(sample_library, turn).save(folder / "photos" / f"{turn:03}.jpg", quality=95)
    scan([str(folder / "photos")], folder / "photoage.db", ScanOptions(workers=1))
    return folder


def rows_of(folder: Path) -> list[FaceRow]:
    engine = open_database(folder / "photoage.db", read_only=True)
    try:
        return list(iter_faces(engine, FaceFilter()))
    finally:
        engine.dispose()


def test_ages_are_nearly_the_same_in_every_turn(scanned_turns: Path) -> None:
    rows = rows_of(scanned_turns)
    assert len(rows) == 4
    assert np.ptp([row.age for row in rows]) < 2
    assert len({(row.photo_width, row.photo_height) for row in rows}) == 1


def test_crops_and_pictures_follow_the_turn(scanned_turns: Path) -> None:
    engine = open_database(scanned_turns / "photoage.db", read_only=True)
    try:
        crops = [found.crop for found in iter_crops(engine, FaceFilter(), size=64, workers=1)]
        shown = [picture(find_photo(engine, row.path)) for row in rows_of(scanned_turns)]
    finally:
        engine.dispose()
    for crop in crops:
        assert crop is not None
        assert crops[0] is not None
        assert np.abs(crop.astype(int) - crops[0]).mean() < 8
    assert len({image.size for image in shown}) == 1


def test_a_sidecar_places_the_face_in_the_photo_as_it_is_stored(scanned_turns: Path) -> None:
    from lxml import etree

    run = runner(scanned_turns / "photoage.db")
    folder = scanned_turns / "sidecars"
    assert run("export", "--sidecar", "xmp", "--sidecar-dir", str(folder)).exit_code == 0
    for row in rows_of(scanned_turns):
        root = etree.parse(f"{folder}{row.path}.xmp").getroot()
        (area,) = root.iter("{http://www.metadataworkinggroup.com/schemas/regions/}Area")
        value = {name: float(area.get(f"{{http://ns.adobe.com/xmp/sType/Area#}}{name}")) for name in "xywh"}
        turn = int(Path(row.path).stem)
        centre = (row.x1 + row.x2) / 2 / row.photo_width, (row.y1 + row.y2) / 2 / row.photo_height
        wanted = {0: centre, 90: (centre[1], 1 - centre[0]), 180: (1 - centre[0], 1 - centre[1])}.get(
            turn, (1 - centre[1], centre[0])
        )
        assert (value["x"], value["y"]) == pytest.approx(wanted, abs=0.001)


def test_json_tells_sharpness_and_yaw_and_filters_know_them(scanned_turns: Path) -> None:
    run = runner(scanned_turns / "photoage.db")
    rows = json.loads(run("query", "--json").stdout)
    assert all(list(row)[-2:] == ["sharpness", "yaw"] for row in rows)
    assert all(0.05 < row["sharpness"] < 0.6 and abs(row["yaw"]) < 30 for row in rows)
    assert run("query", "--min-sharpness", "0.05", "--max-yaw", "60", "--count").stdout == "4\n"
    assert run("query", "--min-sharpness", "0.9", "--count").stdout == "0\n"
    assert run("query", "--max-yaw", "0", "--count").stdout == "0\n"
