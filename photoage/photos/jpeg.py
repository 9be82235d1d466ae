"""JPEG: fast decoding, and what is there of a file whose end is not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from photoage.photos.formats import FAILURES
from photoage.photos.pixels import to_rgb
from photoage.records import ImageArray

SOF2, SOS = 0xC2, 0xDA
ORDINARY = (0xC0, 0xC1, SOF2)  # frames that are no lossless ones, as of a sensor
HEAD = 512 * 1024  # bytes within which a frame begins, metadata before it
NO_MARKER = re.compile(rb"\xff[\x02-\xbf\xf0-\xfd]")
END = b"\xff\xd9"
NOISE = bytes(range(1, 129))
GREY = 128  # what libjpeg fills the rest of a cut-off picture with, in every channel
LEAST_SHARE = 0.6  # of a cut-off picture that must be there for it to be read; see docs/formats.md


@dataclass(frozen=True, slots=True, eq=False)
class JpegPicture:
    """(h, w, 3) uint8 RGB; with a `problem`, in words, only its first `rows` rows are there."""

    rgb: ImageArray
    rows: int
    problem: str | None = None


def largest_inside(data: bytes) -> tuple[bytes, int, int] | None:
    """The largest ordinary JPEG among those that a file holds, up to the file's end, and its sides."""
    best, found = 0, None
    place = -1
    while (place := data.find(b"\xff\xd8\xff", place + 1)) >= 0:
        head = data[place : place + HEAD]
        frame = next((segment for _, kind, segment in _segments(head) if kind in ORDINARY), b"")
        if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3):
            continue
        height, width = (int.from_bytes(frame[i : i + 2], "big") for i in (1, 3))
        if width * height > best:
            best, found = width * height, (place, width, height)
    return None if found is None else (data[found[0] :], *found[1:])


def stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that a JPEG states, None if it is none."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, RuntimeError):
        return None
    return width, height


def reduction(image: Image.Image, min_long_side: int | None) -> int:
    """The largest factor by which libjpeg may shrink this image while it decodes it."""
    if min_long_side is None or not isinstance(image, JpegImageFile):
        return 1
    return next((factor for factor in (8, 4, 2) if max(image.size) // factor >= min_long_side), 1)


def turbo_rgb(image: Image.Image, data: bytes, factor: int) -> ImageArray | None:
    """The pixels of a sound JPEG at 1/`factor` size, in about half of Pillow's time.

    Pillow copies what libjpeg-turbo gives twice. None for what is no JPEG, or not in order.
    """
    if not isinstance(image, JpegImageFile) or image.mode not in ("RGB", "L"):
        return None
    return _turbo(image, data, factor, strict=True)


def decode_odd(image: JpegImageFile, data: bytes, factor: int) -> JpegPicture:
    """A JPEG that is not in order, as far as it goes: some cameras write no end, or a trailer in its place.

    Raises what Pillow raises where less than LEAST_SHARE of the picture is there.
    """
    data = _without_trailer(data)
    try:
        rgb = _pillow(data, factor)
    except FAILURES:
        found = _partial(image, data, factor)
        if found is None:
            raise
    else:
        if image.mode not in ("RGB", "L") or image.info.get("progressive"):
            return JpegPicture(rgb, len(rgb))
        found = _as_far_as_it_goes(rgb, factor)
    if found.rows < LEAST_SHARE * len(found.rgb):
        raise OSError("image file is truncated")
    return found


def _partial(image: JpegImageFile, data: bytes, factor: int) -> JpegPicture | None:
    is_usual = image.mode in ("RGB", "L")
    if is_usual and not image.info.get("progressive"):
        rgb = _turbo(image, data + END, factor, strict=False)
        return None if rgb is None else _as_far_as_it_goes(rgb, factor)
    # If nothing is lacking, what follows is not taken for a part of the picture.
    try:
        rgb, other = (_pillow(data + tail + END, factor) for tail in (b"", NOISE))
    except FAILURES:
        return None
    if np.array_equal(rgb, other):
        return JpegPicture(rgb, len(rgb))
    if is_usual and _has_all_coefficients(data):
        return JpegPicture(rgb, len(rgb), "the file is cut off; its finest detail is lacking")
    return None


def _as_far_as_it_goes(rgb: ImageArray, factor: int) -> JpegPicture:
    if (rows := _rows(rgb, factor)) == len(rgb):
        return JpegPicture(rgb, rows)
    lacking = 100 - 100 * rows // len(rgb)
    return JpegPicture(rgb, rows, f"the file is cut off; the last {lacking} % of the picture are lacking")


def _pillow(data: bytes, factor: int) -> ImageArray:
    with JpegImageFile(io.BytesIO(data)) as image:
        width, height = image.size
        if factor > 1:
            image.draft(None, (max(1, width // factor), max(1, height // factor)))
        return np.asarray(to_rgb(image), dtype=np.uint8)


def _rows(rgb: ImageArray, factor: int) -> int:
    """How many rows of a picture are there; below them, all is grey."""
    right = rgb[:, -max(1, 8 // factor) :]  # the last block: of a row that is there in part, it is lacking
    filled = np.flatnonzero((right != GREY).any(axis=(1, 2)))
    rows = int(filled[-1]) + 1 if len(filled) else 0
    if rows == len(rgb):
        return rows
    height = max(1, 16 // factor)  # of blocks; colours are smoothed a row beyond them
    return rows // height * height


def _without_trailer(data: bytes) -> bytes:
    """Up to where something begins that cannot follow a picture: no marker of the standard's."""
    scan = next((position for position, kind, _ in _segments(data) if kind == SOS), len(data))
    found = NO_MARKER.search(data, scan)
    return (data[: found.start()] if found else data).rstrip(b"\0")


def _has_all_coefficients(data: bytes) -> bool:
    """Whether the complete scans of a progressive JPEG hold a first value of each coefficient."""
    wanted: dict[int, set[int]] = {}  # component to the coefficients not sent yet
    sent: list[tuple[list[int], range]] = []  # by the scan that may be cut off
    for _, kind, segment in _segments(data):
        if kind == SOF2:
            wanted = {segment[6 + 3 * i]: set(range(64)) for i in range(segment[5])}
        elif kind == SOS:
            for components, coefficients in sent:
                for component in components:
                    wanted.get(component, set()).difference_update(coefficients)
            count = segment[0]
            first, last, _ = segment[1 + 2 * count : 4 + 2 * count]
            sent = [([segment[1 + 2 * i] for i in range(count)], range(first, last + 1))]
    return bool(wanted) and not any(wanted.values())


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where markers with a length are, their kind and what they hold, as far as the file goes."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        kind = data[position + 1]
        if kind in (0, 1, 0xFF) or 0xD0 <= kind <= 0xD9:  # entropy-coded data, fill bytes, restart markers
            position += 1 if kind == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        if len(segment) < length - 2:
            return
        yield position, kind, segment
        position += 2 + length


def _turbo(image: Image.Image, data: bytes, factor: int, *, strict: bool) -> ImageArray | None:
    width, height = (-(-side // factor) for side in image.size)
    try:
        return np.asarray(
            simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=strict)
        )
    except (ValueError, RuntimeError):
        return None
