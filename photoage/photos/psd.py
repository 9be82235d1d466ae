"""Photoshop documents: the flat picture that they hold beside their layers."""

from __future__ import annotations

from typing import IO

from PIL import Image
from PIL.PsdImagePlugin import PsdImageFile

from photoage.errors import DecodeError, missing_package

VERSION_INFO, EXIF = 1057, 1058  # image resources


def open_psd(file: IO[bytes]) -> Image.Image:
    """Raises `DecodeError` where there is no flat picture, or a package is missing that reads its samples."""
    depth = int.from_bytes(file.read(24)[22:24], "big")
    file.seek(0)
    if depth in (16, 32):
        return _open_deep(file)
    image = PsdImageFile(file)
    for number, _, content in image.resources:
        if number == VERSION_INFO and content[4:5] == b"\0":
            raise DecodeError(
                "unsupported", "a PSD without a flat picture; Photoshop's “Maximize Compatibility” adds it"
            )
        if number == EXIF:
            image.info["exif"] = b"Exif\0\0" + content
    return image


def _open_deep(file: IO[bytes]) -> Image.Image:

    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise missing_package("a PSD with more than 8 bits per channel", "psd-tools") from error
    image = PSDImage.open(file).topil()
    if image is None:
        raise DecodeError("unsupported", "a PSD without a flat picture")
    return image
