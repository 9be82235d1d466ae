"""Files with several pictures: which of them are pages, and what other programs' previews are not."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from photoage.errors import DecodeError
from photoage.photos.decode import decode_bytes, decode_pages
from photoage.photos.orientation import stored_orientation
from photoage.photos.walk import walk


@pytest.fixture(scope="module")
def portraits(sample_library: Path) -> list[Image.Image]:
    names = ("people/grace_hopper.jpg", "people/eileen_collins.png", "white_house/obama_2009.jpg")
    return [Image.open(sample_library / name).convert("RGB") for name in names]


def tiff(pages: list[Image.Image], compression: str = "tiff_lzw") -> bytes:
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    return file.getvalue()


def sizes(data: bytes) -> list[tuple[int, int]]:
    found = list(decode_pages(data, "scan.tif"))
    assert not any(isinstance(page, DecodeError) for page in found)
    return [(page.width, page.height) for page in found if not isinstance(page, DecodeError)]


def test_every_page_of_a_scan_is_read(portraits: list[Image.Image]) -> None:
    data = tiff(portraits)
    assert sizes(data) == [page.size for page in portraits]
    for number, page in enumerate(portraits, start=1):
        photo = decode_bytes(data, "scan.tif", page=number)
        assert photo.page == number
        assert np.array_equal(photo.rgb, np.asarray(page))
    with pytest.raises(DecodeError, match="has no page 4"):
        decode_bytes(data, "scan.tif", page=4)


def test_a_smaller_copy_of_a_page_is_no_page(portraits: list[Image.Image]) -> None:
    first, second, _ = portraits
    small = first.resize((first.width // 4, first.height // 4))
    assert sizes(tiff([small, first])) == [first.size]
    assert sizes(tiff([first, small, second])) == [first.size, second.size]
    other = second.resize(small.size)  # of the same shape, but another picture
    assert sizes(tiff([other, first])) == [other.size, first.size]


def test_a_damaged_page_costs_no_other(portraits: list[Image.Image]) -> None:
    data = bytearray(tiff(portraits, "jpeg"))
    second = data.index(b"\xff\xd8", data.index(b"\xff\xd8") + 2)
    data[second : second + 2000] = bytes(2000)
    found = list(decode_pages(bytes(data), "scan.tif"))
    assert [isinstance(page, DecodeError) for page in found].count(True) == 1
    assert len(found) == 3


def test_floating_point_colours(portraits: list[Image.Image], tmp_path: Path) -> None:
    pixels = np.asarray(portraits[0])
    encoded = cv2.imencode(".tif", (pixels[:, :, ::-1] / 255).astype(np.float32))[1].tobytes()
    assert np.abs(decode_bytes(encoded, "float.tif").rgb.astype(int) - pixels).max() <= 1
    path = tmp_path / "float.tif"
    path.write_bytes(encoded)
    assert stored_orientation(str(path)) == 1  # for its sidecar
    turned = Image.Exif()
    turned[274] = 6
    portraits[0].save(path, exif=turned)
    assert stored_orientation(str(path)) == 6


@pytest.mark.parametrize("suffix", ["jp2", "jxl"])
def test_jpeg_2000_and_jpeg_xl(portraits: list[Image.Image], suffix: str) -> None:
    pytest.importorskip("pillow_jxl")
    file = io.BytesIO()
    portraits[0].save(file, {"jp2": "JPEG2000", "jxl": "JXL"}[suffix])
    photo = decode_bytes(file.getvalue(), f"a.{suffix}")
    assert np.abs(photo.rgb.astype(int) - np.asarray(portraits[0])).mean() < 4


def test_exported_crops_are_no_photos(tmp_path: Path) -> None:
    for name in ("034.2_IMG_1234_5f3a90c1_0.jpg", "IMG_1234.jpg"):
        (tmp_path / name).touch()
    assert [Path(entry.path).name for entry in walk([str(tmp_path)])] == ["IMG_1234.jpg"]


def test_a_raw_file_beside_its_jpeg_is_passed_over(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    for name in ("a.CR2", "A.jpg", "b.nef", "b.heic", "c.dng", "d.arw", "d.txt"):
        (tmp_path / name).touch()
    found = [Path(entry.path).name for entry in walk([str(tmp_path)])]
    assert found == ["A.jpg", "b.heic", "c.dng", "d.arw"]
