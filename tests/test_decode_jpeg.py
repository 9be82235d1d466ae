"""JPEGs whose end is missing or odd: read as far as they go, and only the lacking part is lacking."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from photoage.errors import DecodeError
from photoage.faces.read import _is_whole
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.records import Box, DecodedPhoto, Detection

SAMSUNG = b"\0\0\1\12\16\0\0\0Image_UTC_Data1500000000000\xff\x8bSEFH"


@pytest.fixture(scope="session")
def portrait(sample_library: Path) -> Image.Image:
    with Image.open(sample_library / "people" / "grace_hopper.jpg") as image:
        return image.convert("RGB")


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 4}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"\xff",
        b"\0" * 4000,
        SAMSUNG,
        b"\xff\xd9" + SAMSUNG,
        b"\xff\xd9\0\0\0\x18ftypmp42" + b"video" * 99,
    ],
    ids=["none", "half", "zeros", "samsung", "after", "motion"],
)
def test_a_picture_that_is_whole_is_read_whatever_follows_it(
    portrait: Image.Image, mode: str, options: dict[str, Any], end: bytes
) -> None:
    data = jpeg(portrait.convert(mode), **options)
    whole = decode_bytes(data, "whole")
    photo = decode_bytes(data[:-2] + end, "odd")
    assert photo.problem is None
    assert photo.sound is None
    assert np.array_equal(photo.rgb, whole.rgb)


@pytest.mark.parametrize("tail", [b"", b"\0" * 70_000, b"\xff\xd9"])
def test_a_jpeg_that_is_cut_off_late_is_read_as_far_as_it_goes(portrait: Image.Image, tail: bytes) -> None:
    data = jpeg(portrait)
    whole = decode_bytes(data, "whole").rgb
    photo = decode_bytes(data[: len(data) * 9 // 10] + tail, "cut")
    assert photo.problem is not None
    assert "cut off" in photo.problem
    assert photo.sound is not None
    x1, y1, x2, y2 = photo.sound
    assert (x1, y1, x2) == (0, 0, 512)
    assert 480 < y2 < 580
    rows = int(y2) - 8  # chroma of the last rows is smoothed into those below
    assert np.array_equal(photo.rgb[:rows], whole[:rows])
    assert (photo.rgb[int(y2) + 32 :] == 128).all()


def test_half_of_a_jpeg_is_a_photo_that_cannot_be_read(portrait: Image.Image) -> None:
    data = jpeg(portrait)
    for options in (DecodeOptions(), DecodeOptions(min_long_side=100)):
        with pytest.raises(DecodeError) as caught:
            decode_bytes(data[: len(data) // 2], "half.jpg", options)
        assert caught.value.kind == "truncated"


@pytest.mark.parametrize(("orientation", "sound"), [(1, 1), (3, 3), (6, 0), (8, 2)])
def test_the_part_that_is_there_is_turned_with_the_photo(
    portrait: Image.Image, orientation: int, sound: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = jpeg(portrait, exif=exif.tobytes())
    photo = decode_bytes(data[: len(data) * 9 // 10], "cut")
    whole = decode_bytes(data, "whole").rgb
    assert photo.sound is not None
    x1, y1, x2, y2 = (round(value) for value in photo.sound)
    edges = [x1 > 0, y2 < photo.height, x2 < photo.width, y1 > 0]  # where the rest is lacking
    assert [number for number, lacking in enumerate(edges) if lacking] == [sound]
    inside = slice(y1 + 8, y2 - 8), slice(x1 + 8, x2 - 8)
    assert np.array_equal(photo.rgb[inside], whole[inside])


def test_a_progressive_jpeg_is_read_once_all_of_it_is_there_coarsely(portrait: Image.Image) -> None:
    data = jpeg(portrait, progressive=True)
    whole = decode_bytes(data, "whole").rgb.astype(int)
    photo = decode_bytes(data[: len(data) * 3 // 4], "cut")
    assert photo.problem is not None
    assert "detail" in photo.problem
    assert photo.sound == (0, 0, 512, 600)
    assert np.abs(photo.rgb - whole).mean() < 3
    with pytest.raises(DecodeError):
        decode_bytes(data[: len(data) // 3], "cut early")


def test_a_reduced_decode_of_a_cut_off_jpeg_tells_the_same(portrait: Image.Image) -> None:
    large = portrait.resize((2048, 2400))
    data = jpeg(large)
    for limit in (None, 1000, 500):
        photo = decode_bytes(data[: len(data) * 9 // 10], "cut", DecodeOptions(min_long_side=limit))
        assert photo.sound is not None
        assert (photo.width, photo.height) == (2048, 2400)
        assert 2000 < photo.sound[3] < 2350


@pytest.mark.parametrize(
    ("sound", "box", "whole"),
    [
        ((0, 0, 500, 400), (100, 100, 200, 390), False),  # too near
        ((0, 0, 500, 400), (100, 100, 200, 380), True),
        ((0, 0, 500, 400), (0, 0, 200, 300), True),  # at the photo's own edges
        ((0, 200, 500, 600), (100, 210, 200, 410), True),
        ((0, 200, 500, 600), (100, 205, 200, 405), False),
        ((100, 0, 500, 600), (90, 0, 200, 200), False),
        ((0, 0, 500, 600), (100, 300, 500, 600), True),
    ],
)
def test_a_face_counts_at_a_distance_from_what_is_lacking(sound: Box, box: Box, whole: bool) -> None:
    photo = DecodedPhoto(np.zeros((600, 500, 3), np.uint8), 500, 600, problem="cut off", sound=sound)
    face = Detection(box, np.zeros((5, 2), np.float32), 0.9)
    assert _is_whole(face, photo) == whole
