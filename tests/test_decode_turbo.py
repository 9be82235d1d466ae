"""Sound JPEGs are decoded by libjpeg-turbo directly: with the pixels that Pillow would give, only sooner."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoage.errors import DecodeError
from photoage.photos import jpeg
from photoage.photos.decode import DecodeOptions, decode_bytes


def encoded(path: Path, **options: object) -> bytes:
    file = io.BytesIO()
    with Image.open(path) as image:
        image.convert(str(options.pop("mode", "RGB"))).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"mode": "L"}, {"quality": 30}],
    ids=["plain", "progressive", "444", "grey", "coarse"],
)
def test_the_pixels_are_those_of_pillow(
    sample_library: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], factor: int
) -> None:
    data = encoded(sample_library / "places" / "china.jpg", **options)
    wanted = DecodeOptions(min_long_side=640 // factor)
    turbo = decode_bytes(data, "china.jpg", wanted)
    monkeypatch.setattr(jpeg, "turbo_rgb", lambda image, data, factor: None)
    pillow = decode_bytes(data, "china.jpg", wanted)
    assert (turbo.width, turbo.height) == (pillow.width, pillow.height) == (640, 427)
    assert turbo.rgb.shape == pillow.rgb.shape
    assert turbo.rgb.shape[1] == 640 // factor
    # Two builds of libjpeg-turbo may round differently.
    assert np.abs(turbo.rgb.astype(int) - pillow.rgb.astype(int)).max() <= 2


def test_a_damaged_jpeg_is_left_to_pillow(sample_library: Path) -> None:
    data = (sample_library / "places" / "china.jpg").read_bytes()
    with pytest.raises(DecodeError) as failure:
        decode_bytes(data[: len(data) // 3], "third.jpg", DecodeOptions(min_long_side=100))
    assert failure.value.kind == "truncated"
    # Bytes between segments are against the standard, but cameras write them and Pillow reads on.
    decode_bytes(data[:2] + b"\xff\xff\xff" + data[2:] + b"trailing bytes", "odd.jpg")
