"""How a photo is stored, as against how it is shown: the orientation that its file states, and its turn.

A photo whose file states none may lie on its side. Its turn, in degrees clockwise, makes it upright.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from PIL import ExifTags, Image

from photoage.errors import DecodeError
from photoage.photos import raw, tiff
from photoage.photos.formats import FAILURES, HEAD, Format, identify, open_heif, opener
from photoage.records import Box, DecodedPhoto, ImageArray

ROTATE = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
AS_ORIENTATION = {0: 1, 90: 6, 180: 3, 270: 8}  # the EXIF orientation that asks for a turn


def turn_pixels(rgb: ImageArray, turn: int) -> ImageArray:
    """An image (H, W, 3) turned clockwise by 0, 90, 180 or 270 degrees."""
    return rgb if turn == 0 else np.asarray(cv2.rotate(rgb, ROTATE[turn]), dtype=np.uint8)


def turn_photo(photo: DecodedPhoto, turn: int) -> DecodedPhoto:
    """A photo as its file states it, turned clockwise by so many degrees."""
    width, height = turn_sides(photo.width, photo.height, turn)
    sound = None if photo.sound is None else turn_box(photo.sound, turn, photo.width, photo.height)
    return replace(photo, rgb=turn_pixels(photo.rgb, turn), width=width, height=height, sound=sound)


def turn_sides(width: int, height: int, turn: int) -> tuple[int, int]:
    """Width and height after a turn."""
    return (height, width) if turn in (90, 270) else (width, height)


def turn_box(box: Box, turn: int, width: float, height: float) -> Box:
    """A box (x1, y1, x2, y2) of a photo of this size in the photo turned clockwise by so many degrees."""
    x1, y1, x2, y2 = box
    if turn == 90:
        return height - y2, x1, height - y1, x2
    if turn == 180:
        return width - x2, height - y2, width - x1, height - y1
    return (y1, width - x2, y2, width - x1) if turn == 270 else box


def with_turn(orientation: int, turn: int) -> int:
    """The one EXIF orientation that stands for an orientation with a turn after it."""
    box = (0.1, 0.2, 0.4, 0.9)
    wanted = as_stored(as_stored(box, AS_ORIENTATION[turn]), orientation)
    return next(each for each in range(1, 9) if np.allclose(as_stored(box, each), wanted))


def stored_orientation(path: str) -> int:
    """The EXIF orientation (1 to 8) that the file at `path` states; 1 where it states none.

    Of HEIC and AVIF it is EXIF's as well, although their decoders turn pixels by what the container
    says: programs that read face regions turn them by EXIF, and cameras write the same in both places.
    Raises `DecodeError`.
    """
    try:
        with open(path, "rb") as file:
            kind = identify(file.read(HEAD))
            if kind is None:
                raise DecodeError("unsupported", f"{path}: not an image in a known format")
            file.seek(0)
            if kind is Format.RAW:
                return raw.stored_orientation(file.read())
            if kind is Format.TIFF:  # Pillow opens none with floats
                return tiff.stated_orientation(file) or 1
            # Pillow's AVIF plugin hides EXIF's orientation behind the container's; libheif tells both.
            with (open_heif if kind is Format.AVIF else opener(kind))(file) as image:
                return _orientation(image)
    except FAILURES as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "damaged metadata"
        raise DecodeError("unreadable", f"{path}: {cause}") from error


def _orientation(image: Image.Image) -> int:
    if "original_orientation" in image.info:  # HEIC and AVIF: taken out of what getexif gives
        value = image.info["original_orientation"]
    else:
        value = image.getexif().get(ExifTags.Base.Orientation)  # before loading, which turns a TIFF
    return value if value in range(2, 9) else 1


def as_stored(box: Box, orientation: int) -> Box:
    """A box (x1, y1, x2, y2, from 0 to 1) of the upright photo in the photo as it is stored."""
    x1, y1, x2, y2 = box
    turned = {
        1: (x1, y1, x2, y2),
        2: (1 - x2, y1, 1 - x1, y2),
        3: (1 - x2, 1 - y2, 1 - x1, 1 - y1),
        4: (x1, 1 - y2, x2, 1 - y1),
        5: (y1, x1, y2, x2),
        6: (y1, 1 - x2, y2, 1 - x1),
        7: (1 - y2, 1 - x2, 1 - y1, 1 - x1),
        8: (1 - y2, x1, 1 - y1, x2),
    }
    return turned[orientation]
