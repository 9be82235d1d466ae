"""Damaged, hostile and unreadable files: each is a `DecodeError` of the right kind, never anything else."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from decoded import decode_photo
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from photoage.errors import DecodeError
from photoage.photos.decode import DecodeOptions, decode_bytes

ENCODINGS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("BMP", {}),
    ("GIF", {}),
    ("AVIF", {}),
    ("HEIF", {}),
    ("MPO", {}),
]


@pytest.fixture(scope="session", autouse=True)
def heif_encoder() -> None:
    pillow_heif.register_heif_opener()


def picture() -> Image.Image:
    """Noise on a gradient, so that no format shrinks it to nothing."""
    noise = random.Random(1).randbytes(96 * 64)
    bands = [Image.frombytes("L", (96, 64), noise), Image.linear_gradient("L").resize((96, 64))]
    return Image.merge("RGB", [bands[1], bands[0], bands[1]])


def encoded(format_name: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, format_name, **options)
    return file.getvalue()


def kind_of(data: bytes, **options: Any) -> str | None:
    """The kind of failure, or None for a photo that decodes."""
    try:
        photo = decode_bytes(data, "a photo", DecodeOptions(**options))
    except DecodeError as error:
        message = str(error)
        assert message.startswith("a photo: ")
        assert "\n" not in message
        assert "0x" not in message  # no memory addresses: messages are the same on every run
        return error.kind
    assert photo.rgb.shape == (photo.height, photo.width, 3)
    return None


def test_empty() -> None:
    assert kind_of(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"Just a text.",
        b"\0",
        b"\0" * 5000,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"8BPS\0\2" + b"\0" * 100,
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 100,
        b"PK\3\4" + b"\0" * 100,
    ],
)
def test_what_is_no_photo_is_unsupported(data: bytes) -> None:
    assert kind_of(data) == "unsupported"


@pytest.mark.parametrize(("format_name", "options"), ENCODINGS)
def test_cut_off_photos_are_truncated_never_half_grey(format_name: str, options: dict[str, Any]) -> None:
    data = encoded(format_name, **options)
    if options.get("progressive"):
        assert kind_of(data[: len(data) // 4]) == "truncated"
        return  # of the later parts of such a JPEG, and of any JPEG: test_decode_jpeg.py
    for share in range(30, 50 if format_name in ("JPEG", "MPO") else 91, 5):
        assert kind_of(data[: len(data) * share // 100]) == "truncated", f"at {share} %"


@pytest.mark.parametrize(("format_name", "options"), ENCODINGS)
def test_headers_cut_anywhere_fail(format_name: str, options: dict[str, Any]) -> None:
    data = encoded(format_name, **options)
    for length in range(1, 100):
        assert kind_of(data[:length]) in ("truncated", "corrupt", "unsupported")


@pytest.mark.parametrize(("format_name", "options"), ENCODINGS)
def test_random_damage_decodes_or_fails_in_order(
    format_name: str, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(format_name, **options)
    chance = random.Random(2)
    for attempt in range(150):
        damaged = bytearray(data)
        end = len(data) if attempt % 2 else min(200, len(data))  # half of the damage in the header
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(end)] = chance.choice((0, 255, 127, chance.randrange(256)))
        kinds = (None, "truncated", "corrupt", "unsupported", "too-large", "memory")
        assert kind_of(bytes(damaged), max_pixels=10_000_000) in kinds
    assert capfd.readouterr() == ("", "")


def tagged_exif() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.DateTime] = "2009:07:05 12:30:59"
    exif[ExifTags.Base.XResolution] = 72.0
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2009:07:05 12:30:59"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes()


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "MPO"])
def test_absurd_exif_fails_no_photo(format_name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = encoded(format_name, exif=tagged_exif())
    payload = tagged_exif().removeprefix(b"Exif\0\0")
    start = data.index(b"A camera\0") - payload.index(b"A camera\0")
    chance = random.Random(3)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 2, 4, 40))):
            damaged[start + chance.randrange(len(payload))] = chance.choice((0, 255, chance.randrange(256)))
        if format_name == "PNG":
            chunk = damaged.index(b"eXIf")
            end = chunk + 4 + struct.unpack(">I", damaged[chunk - 4 : chunk])[0]
            damaged[end : end + 4] = struct.pack(">I", zlib.crc32(damaged[chunk:end]))
        assert kind_of(bytes(damaged)) is None
    assert capfd.readouterr() == ("", "")


def test_huge_metadata_costs_no_photo() -> None:
    assert kind_of(encoded("JPEG", comment=b"x" * 65000, exif=tagged_exif() + b"\0" * 60000)) is None
    assert kind_of(encoded("WEBP", xmp=b"x" * 3_000_000)) is None
    history = PngInfo()
    history.add_text("history", "edited " * 1_000_000, zip=True)
    profile = random.Random(4).randbytes(2_000_000)
    assert kind_of(encoded("PNG", pnginfo=history, icc_profile=profile)) is None


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
    ]
    body = b"".join(
        struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_pixel_limit_holds_before_decoding() -> None:
    assert kind_of(png_header(60_000, 60_000)) == "too-large"
    assert kind_of(png_header(60_000, 60_000)[:60], max_pixels=100) == "too-large"
    for format_name, options in ENCODINGS:
        data = encoded(format_name, **options)
        assert kind_of(data, max_pixels=96 * 64) is None
        assert kind_of(data, max_pixels=96 * 64 - 1) == "too-large"
        assert kind_of(data, max_pixels=1) == "too-large"


def test_every_photo_claims_its_memory_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hostile files at once could otherwise take more than the machine has."""
    claimed: list[int] = []
    monkeypatch.setattr("photoage.photos.decode.claim_memory", claimed.append)
    for format_name, options in ENCODINGS:
        claimed.clear()
        decode_bytes(encoded(format_name, **options), "photo", DecodeOptions(min_long_side=10))
        assert set(claimed) == {96 * 64}  # however much of a JPEG is decoded
    claimed.clear()
    assert kind_of(png_header(10_000, 9_000)) == "truncated"
    assert claimed == [90_000_000]


def test_the_limit_names_the_size() -> None:
    with pytest.raises(
        DecodeError, match=r"^p\.png: 60000 x 50000 pixels, more than the limit of 300000000$"
    ):
        decode_bytes(png_header(60_000, 50_000), "p.png")


def test_photos_beyond_pillows_own_limit_are_photos(recwarn: pytest.WarningsRecorder) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None
    side = int((2 * limit) ** 0.5) + 100  # Pillow refuses more than twice its limit
    data = encoded("JPEG", Image.new("L", (side, side), 90))
    photo = decode_bytes(data, "large", DecodeOptions(min_long_side=1000))
    assert (photo.width, photo.height) == (side, side)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


def test_pillows_warnings_and_logs_stay_off_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
import io, sys
from PIL import Image
from photoage.photos.decode import decode_bytes
from photoage.errors import DecodeError
for data in (bytes.fromhex(line) for line in sys.stdin.read().split()):
    try:
        decode_bytes(data, "photo")
    except DecodeError:
        pass
"""
    jpeg_in_tiff = encoded("TIFF", compression="jpeg")
    tiff = encoded("TIFF")
    samples = tiff.index(b"\x15\x01\x03\x00") + 8  # logged: more samples per pixel than can be decoded
    many_samples = tiff[:samples] + b"\xff\xff" + tiff[samples + 2 :]
    broken_exif = encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + b"\xff" * 40)
    files = [jpeg_in_tiff[:400], jpeg_in_tiff[:300] + jpeg_in_tiff[400:], many_samples, broken_exif]
    lines = "\n".join(data.hex() for data in [*files, png_header(12_000, 12_000)])
    subprocess.run([sys.executable, "-W", "always", "-c", script], input=lines, text=True, check=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs an address space limit")
def test_too_little_memory_costs_one_photo() -> None:
    script = """
import io, resource
from PIL import Image
from photoage.photos.decode import decode_bytes
from photoage.errors import DecodeError
file = io.BytesIO()
Image.new("1", (15000, 15000)).save(file, "PNG")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000, -1))
try:
    decode_bytes(file.getvalue(), "photo")
except DecodeError as error:
    print(error.kind)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "memory\n"


def test_a_file_that_is_gone_has_vanished(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "gone.jpg", tmp_path / "file" / "gone.jpg"):
        with pytest.raises(DecodeError, match=r"the file is gone$") as caught:
            decode_photo(str(path))
        assert caught.value.kind == "vanished"


@pytest.fixture
def forbidden() -> Iterator[str]:
    """A photo that this process may not read, even in tests run by root."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(encoded("JPEG"))
        path.chmod(0)
        Path(folder).chmod(0o755)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            yield str(path)
        finally:
            if was_root:
                os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_file_without_permission_is_unreadable(forbidden: str) -> None:
    with pytest.raises(DecodeError, match=r"Permission denied$") as caught:
        decode_photo(forbidden)
    assert caught.value.kind == "unreadable"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_what_is_not_a_regular_file_is_unreadable_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    for path in (tmp_path / "fifo.jpg", tmp_path, Path("/dev/zero")):
        with pytest.raises(DecodeError, match=r"not a regular file$|Is a directory$") as caught:
            decode_photo(str(path))
        assert caught.value.kind == "unreadable"
