"""Pixels as photo files hold them to 8-bit RGB, and from as they are stored to upright."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE

from photoage.records import ImageArray

UPRIGHT: dict[int, Callable[[Any], Any]] = {  # EXIF orientation -> what makes the photo upright
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.flip(cv2.transpose(rgb), -1),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def to_rgb(image: Image.Image) -> Image.Image:
    """The pixels as 8-bit RGB.

    Embedded colour profiles are not applied: reading Display P3 or Adobe RGB as sRGB moved the estimates
    of the sample library's faces by at most 0.3 and 0.8 years, while
    converting costs as much as decoding and hands untrusted data to one more parser.
    """
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_grey_8bit(image)).convert("RGB")
    if image.has_transparency_data:
        # On white, as a viewer shows a cut-out portrait: pixels under full transparency are often black.
        rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, "white")
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_8bit(image: Image.Image) -> ImageArray:
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, (16,))[0]
        return (values >> (4 if bits == 12 else 8)).astype(np.uint8)
    return to_8bit(values)


def to_8bit(values: npt.NDArray[Any]) -> ImageArray:
    """Deep samples (integers of more than 8 bits, floats) scaled to 0-255; Pillow alone would clip them.

    White is the top of the sample's range where that is usual (1.0 for floats, 255 or 65535 for
    integers), else the brightest value; black is 0, or the darkest value if that is negative.
    """
    is_float = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    black, white = min(float(values.min()), 0.0), float(values.max())
    if black == 0.0:
        usual = (1.0,) if is_float else (255.0, 65535.0)
        white = next((top for top in usual if white <= top), white)
    scale = 255.0 / ((white - black) or 1.0)
    return ((values - black) * scale + 0.5).astype(np.uint8)
