"""RAW, PSD, JPEG 2000 and JPEG XL: made here with a portrait in them, and its face found."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoage.errors import DecodeError
from photoage.faces.detector_files import default_detector
from photoage.faces.read import ReadOptions, read_photo
from photoage.photos.decode import decode_bytes
from photoage.photos.walk import walk
from photoage.records import ImageArray, shared_area

OPTIONS = ReadOptions(default_detector(), 112)
QUARTER = Image.Transpose.ROTATE_90  # anticlockwise, so that orientation 6 puts it right


@pytest.fixture(scope="module")
def portrait(sample_library: Path) -> Image.Image:
    return Image.open(sample_library / "people" / "grace_hopper.jpg").convert("RGB")  # 512 x 600


def dng(preview: Image.Image, orientation: int, sensor: ImageArray) -> bytes:
    """A DNG as cameras write it: a JPEG preview, and the sensor's values, RGGB, in a SubIFD."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("rawpy")
    jpeg = io.BytesIO()
    preview.save(jpeg, "JPEG", quality=90, subsampling=0)
    to_xyz = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    of_camera = [
        (271, 2, 0, "Test", True),
        (272, 2, 0, "Camera", True),
        (274, 3, 1, orientation, True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # DNG version
        (50708, 2, 0, "Test Camera", True),
        (50721, 10, 9, to_xyz, True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    of_sensor = [
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50714, 3, 1, 0, True),  # black
        (50717, 3, 1, 255, True),  # white
    ]
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder="<") as writer:
        writer.write(
            iter([jpeg.getvalue()]),
            shape=(preview.height, preview.width, 3),
            dtype=np.uint8,
            photometric="ycbcr",
            subsampling=(1, 1),
            compression="jpeg",
            rowsperstrip=preview.height,
            subfiletype=1,
            subifds=1,
            metadata=None,
            extratags=of_camera,
        )
        writer.write(
            sensor.astype(np.uint16), photometric="cfa", subfiletype=0, metadata=None, extratags=of_sensor
        )
    return file.getvalue()


def has_its_face(path: Path, scale: float) -> bool:
    """Whether the file's one face is where it is in the portrait, which is `scale` times as large in it."""
    found = read_photo(str(path), OPTIONS).faces.detections
    face = (175 * scale, 120 * scale, 325 * scale, 330 * scale)
    return len(found) == 1 and shared_area(found[0].bbox, face) > 0.6 * shared_area(face, face)


def test_the_preview_of_a_raw_file_is_read_and_turned(tmp_path: Path, portrait: Image.Image) -> None:
    large = portrait.resize((1024, 1200))
    sensor = np.full((64, 96), 128, np.uint8)
    for orientation, preview in ((1, large), (6, large.transpose(QUARTER))):
        photo = decode_bytes(dng(preview, orientation, sensor), "a.dng")
        assert (photo.width, photo.height, photo.oriented) == (1024, 1200, True)
        assert np.abs(photo.rgb.astype(int) - np.asarray(large)).mean() < 4
    path = tmp_path / "a.dng"
    path.write_bytes(dng(large.transpose(QUARTER), 6, sensor))
    assert has_its_face(path, 2.0)
    portrait.save(tmp_path / "A.JPG")
    assert [Path(entry.path).name for entry in walk([str(tmp_path)])] == ["A.JPG"]


def test_a_raw_file_with_a_small_preview_is_developed_at_half_size(portrait: Image.Image) -> None:
    sensor = np.zeros((200, 300), np.uint8)
    sensor[:, 150:] = 200  # the right half, which orientation 6 puts below
    photo = decode_bytes(dng(portrait.resize((320, 240)), 6, sensor), "a.dng")
    assert (photo.width, photo.height, photo.oriented) == (100, 150, True)
    assert photo.rgb[:70].mean() < 10
    assert photo.rgb[80:].mean() > 100


def test_a_raw_file_that_is_cut_off_is_said_to_be(portrait: Image.Image) -> None:
    data = dng(portrait.resize((320, 240)), 1, np.full((200, 300), 99, np.uint8))
    with pytest.raises(DecodeError, match=r"^a\.dng: "):
        decode_bytes(data[:-90_000], "a.dng")


def test_a_raw_file_without_the_end_of_its_sensor_data_is_cut_off(portrait: Image.Image) -> None:
    sensor = np.full((200, 300), 99, np.uint8)
    sensor[150:] = 0  # as LibRaw fills what is not there
    with pytest.raises(DecodeError, match="the file is cut off") as raised:
        decode_bytes(dng(portrait.resize((320, 240)), 1, sensor), "a.dng")
    assert raised.value.kind == "truncated"


def test_the_flat_picture_of_a_photoshop_document_is_read(tmp_path: Path, portrait: Image.Image) -> None:
    psd_tools = pytest.importorskip("psd_tools")
    path = tmp_path / "a.psd"
    psd_tools.PSDImage.frompil(portrait).save(path)
    assert np.array_equal(decode_bytes(path.read_bytes(), "a.psd").rgb, np.asarray(portrait))
    assert has_its_face(path, 1.0)


@pytest.mark.parametrize("suffix", ["jp2", "jxl"])
def test_faces_are_found_in_jpeg_2000_and_jpeg_xl(tmp_path: Path, portrait: Image.Image, suffix: str) -> None:
    pytest.importorskip("pillow_jxl")
    path = tmp_path / f"a.{suffix}"
    portrait.save(path, {"jp2": "JPEG2000", "jxl": "JXL"}[suffix])
    assert [Path(entry.path).name for entry in walk([str(tmp_path)])] == [path.name]
    assert has_its_face(path, 1.0)
