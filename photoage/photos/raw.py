"""Camera RAW files, through LibRaw: the camera's own picture in them, or the sensor's developed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from photoage.errors import DecodeError, missing_package
from photoage.photos import tiff
from photoage.photos.failures import silenced, too_large
from photoage.photos.jpeg import largest_inside, stated_size
from photoage.pool import claim_memory
from photoage.records import ImageArray

LEAST_PREVIEW = 1000  # pixels of the long side; smaller ones are for a camera's display

ORIENTATION = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flip -> EXIF


class RawPicture(NamedTuple):
    """What a RAW file gives: a JPEG's bytes, or (h, w, 3) uint8 RGB, as stored; and the way to turn it.

    `orientation` None: what the JPEG itself states.
    """

    jpeg: bytes | None
    rgb: ImageArray | None
    orientation: int | None


def is_available() -> bool:
    try:
        import rawpy  # noqa: F401
    except ImportError:
        return False
    return True


def stored_orientation(data: bytes) -> int:
    """The EXIF orientation that the file states. Raises `DecodeError`."""
    try:
        with _opened(data) as raw:
            return ORIENTATION.get(raw.sizes.flip, 1)
    except DecodeError:
        if (found := picture_inside(data)) is None or found.jpeg is None:
            raise
        return found.orientation or JpegImageFile(io.BytesIO(found.jpeg)).getexif().get(tiff.ORIENTATION, 1)


def read_raw(data: bytes, max_pixels: int) -> RawPicture:
    """The preview if it is large enough, else the sensor's picture at half its size.

    A preview is found, too, in a file that LibRaw cannot read: a new camera's, or one without its end. Raises
    `DecodeError`, of kind `no-plugin` when rawpy is not installed.
    """
    try:
        return _read(data, max_pixels)
    except DecodeError as error:
        found = picture_inside(data) if error.kind in ("unsupported", "corrupt", "truncated") else None
        if found is None:
            raise
        return found


def picture_inside(data: bytes) -> RawPicture | None:
    """The largest JPEG in a file, whatever the file is otherwise, if it is large enough."""
    found = largest_inside(data)
    if found is None or max(found[1:]) < LEAST_PREVIEW:
        return None
    return RawPicture(found[0], None, tiff.stated_orientation(data))


def _read(data: bytes, max_pixels: int) -> RawPicture:
    with _opened(data) as raw:
        sizes = raw.sizes
        orientation = ORIENTATION.get(sizes.flip, 1)
        if (preview := _preview(raw)) is not None:
            jpeg, rgb, width, height = preview
            if orientation >= 5 and (width < height) != (sizes.width < sizes.height):
                orientation = 1  # the camera has turned it already
            return RawPicture(jpeg, rgb, orientation)
        if sizes.raw_width * sizes.raw_height > max_pixels:
            raise DecodeError("too-large", too_large(sizes.raw_width, sizes.raw_height, max_pixels))
        claim_memory(sizes.raw_width * sizes.raw_height)
        if _is_cut_off(raw):
            raise DecodeError("truncated", "the file is cut off")
        rgb = raw.postprocess(half_size=True, use_camera_wb=True, user_flip=0, output_bps=8)
        return RawPicture(None, np.asarray(rgb), orientation)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """The file, opened. Whatever LibRaw raises about it becomes a `DecodeError`."""
    try:
        import rawpy
    except ImportError as error:
        raise missing_package("a camera's RAW file", "rawpy") from error
    try:
        with silenced(), rawpy.imread(io.BytesIO(data)) as raw:
            yield raw
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError) as error:
        raise DecodeError("unsupported", "a RAW file of a kind that LibRaw cannot read") from error
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise DecodeError("memory", "too large to decode in memory") from error
    except rawpy.LibRawIOError as error:
        raise DecodeError("truncated", "the file is cut off") from error
    except rawpy.LibRawError as error:
        raise DecodeError("corrupt", f"damaged image data ({_words(error)})") from error


def _preview(raw: Any) -> tuple[bytes | None, ImageArray | None, int, int] | None:
    """The largest picture in the file that is a JPEG or plain, if it is large enough."""
    import rawpy

    try:
        found = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    if found.format == rawpy.ThumbFormat.JPEG:
        size = stated_size(found.data)
        jpeg, rgb = found.data, None
    elif found.format == rawpy.ThumbFormat.BITMAP and found.data.ndim == 3 and found.data.shape[2] == 3:
        jpeg, rgb = None, np.array(found.data)
        size = rgb.shape[1], rgb.shape[0]
    else:
        return None
    return (jpeg, rgb, *size) if size is not None and max(size) >= LEAST_PREVIEW else None


def _is_cut_off(raw: Any) -> bool:
    """Whether the last rows of the sensor are empty, which LibRaw leaves so without a word.

    A sensor gives no row of nothing but zeros, not even in the dark.
    """
    rows = raw.raw_image_visible
    return not rows[-max(1, len(rows) // 50) :].any()


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    return (first.decode("ascii", "replace") if isinstance(first, bytes) else str(first))[:200]
