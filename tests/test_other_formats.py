"""RAW, PSD, JPEG 2000 and JPEG XL: made here with a portrait in them, and its face found."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoage.errors import DecodeError
from photoage.faces.detector_files import default_detector
from photoage.faces.read import ReadOptions, read_photo
from photoage.photos.decode import decode_bytes
from photoage.photos.orientation import stored_orientation
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


def test_a_raw_file_with_a_small_preview_is_developed_at_half_size(
    portrait: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed: list[int] = []
    monkeypatch.setattr("photoage.photos.raw.claim_memory", claimed.append)
    sensor = np.zeros((200, 300), np.uint8)
    sensor[:, 150:] = 200  # the right half, which orientation 6 puts below
    photo = decode_bytes(dng(portrait.resize((320, 240)), 6, sensor), "a.dng")
    assert (photo.width, photo.height, photo.oriented) == (100, 150, True)
    assert photo.rgb[:70].mean() < 10
    assert photo.rgb[80:].mean() > 100
    assert claimed == [300 * 200]  # hostile files together could otherwise take more than there is


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


def camera_file(kind: str, jpeg: bytes, orientation: int) -> bytes:
    """A camera's file as LibRaw does not know it: its structure, a small thumbnail, and a JPEG."""
    if kind == "raf":
        head = b"FUJIFILMCCD-RAW 0201FF000000Test camera".ljust(84, b"\0")
        return (head + struct.pack(">II", 160, len(jpeg))).ljust(160, b"\0") + jpeg
    if kind == "cr3":
        brand = struct.pack(">I", 24) + b"ftypcrx \0\0\0\1crx isom"
        return brand + struct.pack(">I", len(jpeg) + 8) + b"mdat" + jpeg
    magic = {"orf": b"IIRO", "rw2": b"IIU\0"}.get(kind, b"II*\0")
    extra = b"CR\2\0\0\0\0\0" if kind == "cr2" else b""
    start = 8 + len(extra)
    thumbnail = bytes(8 * 6 * 3)
    place = start + 2 + 12 * 12 + 4
    entries = [(256, 4, 8), (257, 4, 6), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, place)]
    entries += [(274, 3, orientation), (277, 3, 3), (278, 4, 6), (279, 4, len(thumbnail))]
    entries += [(513, 4, place + len(thumbnail)), (514, 4, len(jpeg))]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, form, 1, value) for tag, form, value in entries
    )
    return magic + struct.pack("<I", start) + extra + directory + bytes(4) + thumbnail + jpeg


@pytest.mark.parametrize("kind", ["cr2", "cr3", "nef", "orf", "raf", "rw2"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_picture_in_a_camera_file_is_read_where_libraw_cannot(
    tmp_path: Path, portrait: Image.Image, kind: str, orientation: int
) -> None:
    pytest.importorskip("rawpy")
    large = portrait.resize((1024, 1200))
    stored = large.transpose(QUARTER) if orientation == 6 else large
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    stored.save(file, "JPEG", quality=90, subsampling=0, exif=exif)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(camera_file(kind, file.getvalue(), orientation))
    photo = decode_bytes(path.read_bytes(), path.name)
    assert (photo.width, photo.height) == (1024, 1200)
    assert np.abs(photo.rgb.astype(int) - np.asarray(large)).mean() < 4
    assert stored_orientation(str(path)) == orientation


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
