"""Path to upright RGB pixels and capture date."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from photoage.records import DecodedPhoto


def decode_photo(path: str) -> DecodedPhoto:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    rgb = np.asarray(upright, dtype=np.uint8)
    return DecodedPhoto(rgb, rgb.shape[1], rgb.shape[0], None)
