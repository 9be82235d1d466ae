"""Formats, pixel types, orientation and dates: what a good file gives. Bad ones: test_decode_damage.py."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from decoded import decode_photo
from PIL import ExifTags, Image, ImageCms

from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.records import DecodedPhoto, FloatArray

WIDTH, HEIGHT = 96, 64
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 40), (40, 50, 210), (230, 220, 40)

STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="session", autouse=True)
def heif_encoder() -> None:
    pillow_heif.register_heif_opener()


def quadrants(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Red, green / blue, yellow: every rotation and mirroring of it looks different."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def decoded(data: bytes, **options: Any) -> DecodedPhoto:
    return decode_bytes(data, "photo", DecodeOptions(**options))


def corners(photo: DecodedPhoto) -> list[list[int]]:
    height, width = photo.rgb.shape[:2]
    ys, xs = (height // 4, height * 3 // 4), (width // 4, width * 3 // 4)
    return [photo.rgb[y, x].tolist() for y in ys for x in xs]


def assert_quadrants(photo: DecodedPhoto, tolerance: int = 12) -> None:
    found = np.array(corners(photo))
    assert np.abs(found - np.array([RED, GREEN, BLUE, YELLOW])).max() <= tolerance, found.tolist()


def exif(orientation: int | None = None, dates: dict[str, str] | None = None) -> bytes:
    tags = Image.Exif()
    if orientation is not None:
        tags[ExifTags.Base.Orientation] = orientation
    dates = dates or {}
    inner = {ExifTags.Base[name]: value for name, value in dates.items() if name != "DateTime"}
    if inner:
        tags[ExifTags.IFD.Exif] = inner
    if "DateTime" in dates:
        tags[ExifTags.Base.DateTime] = dates["DateTime"]
    return tags.tobytes()


def tiff(bits: int, sample_format: int, width: int, height: int, data: bytes) -> bytes:
    """A minimal little-endian greyscale TIFF of one strip."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, sample_format)]
    data += b"\0" * (len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + b"\0" * 4
    )


FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 95, "subsampling": 0}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("PNG", {}),
    ("WEBP", {"quality": 95}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg", "quality": 95}),
    ("BMP", {}),
    ("GIF", {}),
    ("AVIF", {"quality": 90}),
    ("HEIF", {"quality": 90}),
    ("MPO", {"quality": 95}),
]


@pytest.mark.parametrize(("format_name", "options"), FORMATS)
def test_every_format_is_told_by_content_not_by_name(
    tmp_path: Path, format_name: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "photo.txt"
    path.write_bytes(encoded(quadrants(), format_name, **options))
    photo = decode_photo(str(path))
    assert (photo.width, photo.height, photo.scale) == (WIDTH, HEIGHT, 1.0)
    assert photo.rgb.dtype == np.uint8
    assert photo.rgb.shape == (HEIGHT, WIDTH, 3)
    assert_quadrants(photo)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO"])
def test_orientation_is_applied_exactly_once(format_name: str, orientation: int) -> None:
    method = STORED_AS[orientation]
    stored = quadrants() if method is None else quadrants().transpose(method)
    # HEIC and AVIF: the encoders turn the tag into a rotation of the container, as phones do.
    photo = decoded(encoded(stored, format_name, exif=exif(orientation)))
    assert (photo.width, photo.height) == (WIDTH, HEIGHT)
    assert_quadrants(photo, tolerance=20)


@pytest.mark.parametrize("format_name", ["AVIF", "HEIF"])
def test_an_orientation_in_exif_alone_does_not_turn_heic_or_avif(format_name: str) -> None:
    tags = Image.Exif()
    tags[0x0113] = 6  # the encoders would act on the real tag, which is one less
    data = encoded(quadrants(), format_name, exif=tags.tobytes())
    turned = data.replace(b"\x01\x13\x00\x03", b"\x01\x12\x00\x03")
    assert turned != data
    assert_quadrants(decoded(turned), tolerance=20)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_absurd_orientation_counts_as_upright(orientation: int) -> None:
    assert_quadrants(decoded(encoded(quadrants(), "PNG", exif=exif(orientation))))


def ramp(top: int) -> FloatArray:
    """(64, 96) from 0 at the left to `top` at the right."""
    return np.tile(np.linspace(0, top, WIDTH, dtype=np.float32), (HEIGHT, 1))


def assert_ramp(photo: DecodedPhoto) -> None:
    assert np.abs(photo.rgb.astype(float) - ramp(255)[:, :, None]).max() <= 2


def test_16_bit_greyscale_is_scaled_not_clipped() -> None:
    deep = ramp(65535).round().astype(np.uint16)
    assert_ramp(decoded(encoded(Image.fromarray(deep), "PNG")))
    assert_ramp(decoded(encoded(Image.fromarray(deep), "TIFF")))
    assert_ramp(decoded(encoded(Image.fromarray(deep), "TIFF", compression="tiff_lzw")))
    assert_ramp(decoded(encoded(Image.fromarray(deep.astype(">u2")), "TIFF")))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_rgb_is_scaled_not_clipped(suffix: str) -> None:
    deep = np.repeat(ramp(65535).round().astype(np.uint16)[:, :, None], 3, axis=2)
    deep[:, :, 0] = 0  # blue, in OpenCV's order
    photo = decoded(cv2.imencode(suffix, deep)[1].tobytes())
    assert photo.rgb[:, :, 2].max() == 0
    assert np.abs(photo.rgb[:, :, :2].astype(float) - ramp(255)[:, :, None]).max() <= 2


def test_a_dark_16_bit_photo_stays_dark() -> None:
    assert decoded(encoded(Image.fromarray(ramp(2560).astype(np.uint16)), "PNG")).rgb.max() == 10


def test_12_bit_greyscale_tiff() -> None:
    values = ramp(4095).round().astype(np.uint16).ravel()
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    assert_ramp(decoded(tiff(12, 1, WIDTH, HEIGHT, packed.tobytes())))


@pytest.mark.parametrize(
    ("bits", "sample_format", "values"),
    [
        (32, 3, ramp(1)),
        (32, 3, ramp(1000)),
        (32, 3, ramp(2) - 1),
        (32, 1, ramp(255).astype(np.uint32)),
        (32, 1, ramp(65535).astype(np.uint32)),
        (32, 1, ramp(10_000_000).astype(np.uint32)),
        (16, 2, (ramp(60000) - 30000).astype(np.int16)),
    ],
)
def test_float_and_wide_integer_tiff(bits: int, sample_format: int, values: np.ndarray[Any, Any]) -> None:
    assert_ramp(decoded(tiff(bits, sample_format, WIDTH, HEIGHT, values.tobytes())))


def test_float_tiff_with_values_that_are_no_numbers() -> None:
    values = ramp(1)
    values[0, :3] = (np.nan, np.inf, -np.inf)
    photo = decoded(tiff(32, 3, WIDTH, HEIGHT, values.tobytes()))
    assert np.abs(photo.rgb[1:].astype(float) - ramp(255)[1:, :, None]).max() <= 2


def test_flat_float_tiff() -> None:
    assert decoded(tiff(32, 3, 4, 4, np.zeros(16, np.float32).tobytes())).rgb.max() == 0


def test_10_bit_heic() -> None:
    deep = np.repeat(ramp(65535).round().astype(np.uint16)[:, :, None], 3, axis=2)
    file = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (WIDTH, HEIGHT), deep.tobytes()).save(file, quality=95)
    assert np.abs(decoded(file.getvalue()).rgb.astype(float) - ramp(255)[:, :, None]).mean() < 3


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk(format_name: str) -> None:
    options = {"quality": 95, "subsampling": 0} if format_name == "JPEG" else {}
    assert_quadrants(decoded(encoded(quadrants().convert("CMYK"), format_name, **options)))


def test_ycck_jpeg() -> None:
    """As Photoshop writes it: inks C, M, Y taken for RGB and stored as YCbCr, inverted K, Adobe marker 2."""
    cyan, magenta, yellow, black = quadrants().convert("CMYK").split()
    ycc = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    # Pillow inverts all four on writing: so K is right as it is, and the others must be inverted here.
    stored = Image.merge("CMYK", [*(band.point(lambda value: 255 - value) for band in ycc), black])
    data = encoded(stored, "JPEG", quality=95, subsampling=0)
    adobe = data.index(b"Adobe\0")
    assert data[adobe + 11] in (0, 2)
    marked = data[: adobe + 11] + b"\x02" + data[adobe + 12 :]
    assert_quadrants(decoded(marked), tolerance=16)


def test_grey_black_and_white_and_palette() -> None:
    grey = quadrants().convert("L")
    expected = [[value] * 3 for value in (grey.getpixel((x, y)) for y in (16, 48) for x in (24, 72))]
    assert corners(decoded(encoded(grey, "PNG"))) == expected
    assert np.abs(np.array(corners(decoded(encoded(grey, "JPEG")))) - np.array(expected)).max() <= 3
    for options in ({"format_name": "PNG"}, {"format_name": "TIFF", "compression": "group4"}):
        one_bit = decoded(encoded(quadrants().convert("1", dither=Image.Dither.NONE), **options))
        assert set(np.unique(one_bit.rgb)) == {0, 255}
    palette = quadrants().quantize(8)
    for format_name in ("PNG", "TIFF", "BMP", "GIF"):
        assert_quadrants(decoded(encoded(palette, format_name)))


def with_hole(image: Image.Image) -> Image.Image:
    """The upper left quadrant transparent, with black pixels under it."""
    image = image.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, WIDTH // 2, HEIGHT // 2))
    return image


@pytest.mark.parametrize("format_name", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_alpha_is_shown_on_white(format_name: str) -> None:
    photo = decoded(encoded(with_hole(quadrants()), format_name, quality=95))
    white, green, *_ = np.array(corners(photo))
    assert white.min() >= 250
    assert np.abs(green - np.array(GREEN)).max() <= 20


def test_half_transparent_pixels_are_blended() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert abs(int(decoded(encoded(image, "PNG")).rgb[0, 0, 0]) - 127) <= 1


def test_other_kinds_of_transparency() -> None:
    hole = with_hole(quadrants())
    grey_alpha = hole.convert("LA")
    assert corners(decoded(encoded(grey_alpha, "PNG")))[0] == [255, 255, 255]
    keyed = Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3))
    keyed.paste(GREEN, (WIDTH // 2, 0, WIDTH, HEIGHT))
    assert corners(decoded(encoded(keyed, "PNG", transparency=(1, 2, 3))))[:2] == [[255] * 3, list(GREEN)]
    assert corners(decoded(encoded(keyed.convert("L"), "PNG", transparency=2)))[0] == [255] * 3
    palette = keyed.quantize(4, dither=Image.Dither.NONE)
    index = palette.getpixel((0, 0))
    for format_name in ("PNG", "GIF"):
        photo = decoded(encoded(palette, format_name, transparency=index))
        assert corners(photo)[:2] == [[255] * 3, list(GREEN)]


def test_an_embedded_colour_profile_leaves_the_pixels_as_they_are() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert_quadrants(decoded(encoded(quadrants(), "PNG", icc_profile=profile)), tolerance=0)
    assert_quadrants(decoded(encoded(quadrants(), "PNG", icc_profile=b"not a profile")), tolerance=0)


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "MPO"])
def test_of_several_images_the_first_counts(format_name: str) -> None:
    others = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("black", "white")]
    data = encoded(quadrants(), format_name, save_all=True, append_images=others)
    assert_quadrants(decoded(data), tolerance=20)


def test_an_mpo_needs_only_its_first_image() -> None:
    data = encoded(quadrants(), "MPO", save_all=True, append_images=[quadrants()], quality=95)
    assert_quadrants(decoded(data[: len(data) * 3 // 4]))
    index = data.index(b"MPF\0")
    assert_quadrants(decoded(data[: index + 4] + b"\xff" * 60 + data[index + 64 :]))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("min_long_side", "factor"),
    [(None, 1), (1002, 1), (1001, 2), (501, 2), (500, 4), (250, 8), (9, 8)],
)
def test_a_large_jpeg_may_be_reduced_but_reports_its_full_size(
    orientation: int, min_long_side: int | None, factor: int
) -> None:
    size = (2003, 1333)
    data = encoded(quadrants(*size), "JPEG", quality=95, exif=exif(orientation))
    photo = decoded(data, min_long_side=min_long_side)
    upright = size if orientation == 1 else size[::-1]
    assert (photo.width, photo.height) == upright
    assert photo.rgb.shape[:2] == (-(-upright[1] // factor), -(-upright[0] // factor))
    assert max(photo.rgb.shape) >= min(min_long_side or 0, max(size))
    assert photo.scale == pytest.approx(1 / factor, rel=0.01)
    if orientation == 1:
        assert_quadrants(photo)


def test_a_thin_jpeg_is_reduced_by_its_long_side() -> None:
    photo = decoded(encoded(quadrants(1600, 4), "JPEG"), min_long_side=200)
    assert (photo.width, photo.height, max(photo.rgb.shape) >= 200) == (1600, 4, True)


def test_other_formats_are_never_reduced() -> None:
    photo = decoded(encoded(quadrants(800, 600), "PNG"), min_long_side=100)
    assert photo.rgb.shape == (600, 800, 3)


def test_a_path_may_hold_any_bytes(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + "/é à 🎖️".encode() + (b"\xff" if os.name == "posix" else b""))
    try:
        Path(path).write_bytes(encoded(quadrants(), "PNG"))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert_quadrants(decode_photo(path))
