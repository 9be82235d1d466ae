"""Untrusted image file to upright RGB pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from photoage.errors import DecodeError
from photoage.photos import jpeg, raw, tiff_pages
from photoage.photos.failures import named_failures, silenced, too_large
from photoage.photos.formats import FAILURES, Format, identify, opener
from photoage.photos.pixels import UPRIGHT, to_rgb
from photoage.pool import claim_memory
from photoage.records import Box, DecodedPhoto, ImageArray


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """`max_pixels`: larger photos are refused before their pixels are decoded.

    `min_long_side`: a JPEG may be decoded at 1/2, 1/4 or 1/8 size as long as its long side keeps at
    least this many pixels, which is several times faster.
    """

    max_pixels: int = 300_000_000
    min_long_side: int | None = None


def decode_bytes(
    data: bytes, name: str, options: DecodeOptions = DecodeOptions(), page: int = 1
) -> DecodedPhoto:
    """Pixels of a photo file's content, or of one of its pages; `name` is for messages only.

    Raises `DecodeError` of kind `empty`, `unsupported` (not a known image format), `no-plugin` (of a
    format whose package is not installed), `truncated`, `corrupt`, `too-large`, `memory` or `changed`
    (has no such page).
    """
    with named_failures(data, name, options.max_pixels):
        readers = _readers(data, options)
        if page > len(readers):
            raise DecodeError("changed", f"has no page {page}")
        return replace(readers[page - 1](), page=page)


def decode_pages(
    data: bytes, name: str, options: DecodeOptions = DecodeOptions()
) -> Iterator[DecodedPhoto | DecodeError]:
    """Every page of a photo file's content, as they are asked for; most files have one.

    A page that fails is a `DecodeError` in its place. Raises those that `decode_bytes` raises for what
    fails the file as a whole.
    """
    with named_failures(data, name, options.max_pixels):
        readers = _readers(data, options)
    for number, read in enumerate(readers, start=1):
        try:
            with named_failures(data, name, options.max_pixels):
                photo = replace(read(), page=number)
        except DecodeError as error:
            yield error
        else:
            yield photo


def _readers(data: bytes, options: DecodeOptions) -> list[Callable[[], DecodedPhoto]]:
    """What decodes each of the pages."""
    if not data:
        raise DecodeError("empty", "the file is empty")
    kind = identify(data)
    if kind is None:
        raise DecodeError("unsupported", "not an image in a known format")
    if kind is Format.RAW:
        return [partial(_decode_raw, data, options)]
    if kind is Format.TIFF:
        directories = tiff_pages.read_directories(data)
        if tiff_pages.has_sensor_data(directories):
            return [partial(_decode_raw, data, options)]
        pages = tiff_pages.pages(data, directories)
        # Some cameras keep their picture in none of the ways in which pages are.
        small = all(max(page.width, page.height) < raw.LEAST_PREVIEW for page in pages)
        if small and (inside := raw.picture_inside(data)) is not None:
            return [partial(_decode_inside, inside, options)]
        if pages:
            return [partial(_decode_page, data, page, options) for page in pages]
    return [lambda: _decode(opener(kind)(io.BytesIO(data)), data, options)]


def _decode_page(data: bytes, page: tiff_pages.Directory, options: DecodeOptions) -> DecodedPhoto:
    _check_size(page.width, page.height, options)
    try:
        image = tiff_pages.open_directory(data, page)
    except SyntaxError:  # Pillow has no mode for its samples
        with silenced():
            rgb = tiff_pages.read_unusual(data, page)
        return _upright(rgb, _read_orientation(tiff_pages.Tags(data, page)), (page.width, page.height))
    # What a main directory states holds for the larger pictures in it.
    return _decode(
        image, data, options, None if page.is_main else _read_orientation(tiff_pages.Tags(data, page))
    )


def _decode_raw(data: bytes, options: DecodeOptions) -> DecodedPhoto:
    found = raw.read_raw(data, options.max_pixels)
    if found.jpeg is not None:
        return _decode_inside(found, options)
    assert found.rgb is not None
    height, width = found.rgb.shape[:2]
    photo = _upright(found.rgb, found.orientation or 1, (width, height))
    return replace(photo, oriented=True)


def _decode_inside(found: raw.RawPicture, options: DecodeOptions) -> DecodedPhoto:
    """The JPEG in a file."""
    assert found.jpeg is not None
    return _decode(JpegImageFile(io.BytesIO(found.jpeg)), found.jpeg, options, found.orientation)


def _decode(
    image: Image.Image,
    data: bytes,
    options: DecodeOptions,
    known: int | None = None,
) -> DecodedPhoto:
    """The picture that a plugin has opened in `data`; `known`: its orientation, if told elsewhere."""
    with image:
        width, height = image.size
        _check_size(width, height, options)
        factor = jpeg.reduction(image, options.min_long_side)
        odd = None
        rgb = jpeg.turbo_rgb(image, data, factor)
        if rgb is None and isinstance(image, JpegImageFile):
            odd = jpeg.decode_odd(image, data, factor)
            rgb = odd.rgb
        elif rgb is None:
            with silenced(isinstance(image, TiffImageFile)):
                image.load()
            rgb = np.asarray(to_rgb(image), dtype=np.uint8)
        orientation = known or _read_orientation(image)
        if isinstance(image, TiffImageFile) and known is None:
            height, width = rgb.shape[:2]
            orientation = 1  # the plugin turns its pixels by itself
        oriented = _states_orientation(image) or (known is not None and isinstance(image, JpegImageFile))
    del image  # a large photo's memory: it may be in use twice over below
    photo = replace(_upright(rgb, orientation, (width, height)), oriented=oriented)
    if odd is None or odd.problem is None:
        return photo
    x1, y1, x2, y2 = _TOP[orientation](odd.rows / len(odd.rgb))
    sound = (x1 * photo.width, y1 * photo.height, x2 * photo.width, y2 * photo.height)
    return replace(photo, problem=odd.problem, sound=sound)


# Where the upper part of a picture, as it is stored, is in the upright one.
_TOP: dict[int, Callable[[float], Box]] = {
    **dict.fromkeys((1, 2), lambda share: (0.0, 0.0, 1.0, share)),
    **dict.fromkeys((3, 4), lambda share: (0.0, 1.0 - share, 1.0, 1.0)),
    **dict.fromkeys((5, 8), lambda share: (0.0, 0.0, share, 1.0)),
    **dict.fromkeys((6, 7), lambda share: (1.0 - share, 0.0, 1.0, 1.0)),
}


def _upright(rgb: ImageArray, orientation: int, size: tuple[int, int]) -> DecodedPhoto:
    """`size`: width and height of the whole picture, as stored; `rgb` may be smaller."""
    if orientation in UPRIGHT:
        rgb = np.asarray(UPRIGHT[orientation](rgb), dtype=np.uint8)
    width, height = size if orientation < 5 else size[::-1]
    return DecodedPhoto(rgb, width, height)


def _check_size(width: int, height: int, options: DecodeOptions) -> None:
    if width * height > options.max_pixels:
        raise DecodeError("too-large", too_large(width, height, options.max_pixels))
    claim_memory(width * height)


def _read_orientation(image: Image.Image | tiff_pages.Tags) -> int:
    """Orientation (1 to 8); whatever is absurd in it counts as absent.

    HEIC and AVIF keep their orientation in the container: both decoders apply or report it there and
    neutralise a second one in EXIF; JPEG XL's too, unless it holds a JPEG. Call after the pixels are
    loaded: PNG may hold EXIF at its end.
    """
    try:
        exif = image.getexif()
        tag = exif.get(ExifTags.Base.Orientation, 1)
        return int(tag) if tag in UPRIGHT and getattr(image, "jpeg", True) else 1
    except FAILURES:
        return 1


def _states_orientation(image: Image.Image) -> bool:
    """Whether the file says which side is up. Programs that write a TIFF say 1 whatever they know."""
    if image.format in ("HEIF", "AVIF"):
        return True
    try:
        return image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in range(1, 9)
    except FAILURES:
        return False
