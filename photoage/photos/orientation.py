"""How a photo is stored, as against how it is shown: the orientation that its file states."""

from __future__ import annotations

from PIL import ExifTags, Image

from photoage.errors import DecodeError
from photoage.photos.formats import FAILURES, HEAD, Format, identify, open_heif, opener
from photoage.records import Box


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
