"""Untrusted image file to upright RGB pixels and capture date.

The format is told by content, never by name, and only the formats listed here are ever tried. The
Pillow class of the format is used directly instead of `Image.open`, which hides why a file failed
and fails a whole photo when only the index of its further images (MPO) is damaged.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

import cv2
import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageFile, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from photoage.errors import DecodeError
from photoage.records import DecodedPhoto, ImageArray

# Without a handler, Python prints what a library logs to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# A PNG with more compressed metadata than this fails as a whole. Pillow's 1 MiB is less than some colour
# profiles and editing histories have.
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 1024 * 1024

# Everything that Pillow and its plugins are known to raise on damaged files, apart from MemoryError.
FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}

UPRIGHT: dict[int, Callable[[Any], Any]] = {  # EXIF orientation -> what makes the photo upright
    2: lambda rgb: cv2.flip(rgb, 1),
    3: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_180),
    4: lambda rgb: cv2.flip(rgb, 0),
    5: cv2.transpose,
    6: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE),
    7: lambda rgb: cv2.flip(cv2.transpose(rgb), -1),
    8: lambda rgb: cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

CUT_OFF = re.compile(
    r"truncated|end of file|insufficient|too small|incomplete|requires a buffer|no more images"
)
EXIF_DATE = re.compile(r"\s*(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[ T]+(\d\d?):(\d\d?)(?::(\d\d?))?")
FIRST_PHOTO = 1826  # nothing was photographed before; archivists do date scans back to early photography


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """`max_pixels`: larger photos are refused before their pixels are decoded.

    `min_long_side`: a JPEG may be decoded at 1/2, 1/4 or 1/8 size as long as its long side keeps at
    least this many pixels, which is several times faster.
    """

    max_pixels: int = 300_000_000
    min_long_side: int | None = None


def decode_bytes(data: bytes, name: str, options: DecodeOptions = DecodeOptions()) -> DecodedPhoto:
    """Pixels and capture date of a photo file's content; `name` is for messages only.

    Raises `DecodeError` of kind `empty`, `unsupported` (not a known image format), `truncated`,
    `corrupt`, `too-large` or `memory`.
    """
    if not data:
        raise DecodeError("empty", f"{name}: the file is empty")
    opener = _opener(data)
    if opener is None:
        raise DecodeError("unsupported", f"{name}: not an image in a known format")
    try:
        with _pillow_settings(options):
            return _decode(opener, data, name, options)
    except MemoryError as error:
        raise DecodeError("memory", f"{name}: too large to decode in memory") from error
    except FAILURES as error:
        kind, cause = _explain(error, data)
        raise DecodeError(kind, f"{name}: {cause}") from error


@contextmanager
def _pillow_settings(options: DecodeOptions) -> Iterator[None]:
    """Our pixel limit in place of Pillow's, and no warnings: they are about metadata, or that limit."""
    before = Image.MAX_IMAGE_PIXELS
    # Some plugins check it before they allocate; they raise at twice its value.
    Image.MAX_IMAGE_PIXELS = options.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _opener(data: bytes) -> Callable[[IO[bytes]], ImageFile.ImageFile] | None:
    """What opens this content, or None when it is no format that photos come in."""
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile  # of an MPO it reads the first image
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImageFile
    if data.startswith(b"BM"):
        return BmpImageFile
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 1024)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, end, 4))}
        if brands & AVIF_BRANDS:
            return _open_avif
        if brands & HEIF_BRANDS:
            return _open_heif
    return None


def _open_avif(file: IO[bytes]) -> ImageFile.ImageFile:
    try:
        return AvifImageFile(file)
    except FAILURES:
        # Alone among the plugins it reads EXIF on opening and fails when that is absurd. Under another
        # name the EXIF item is passed over; rotation is kept elsewhere, only the date is lost.
        file.seek(0)
        return AvifImageFile(io.BytesIO(file.read().replace(b"Exif", b"none", 1)))


def _open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    # Imported on first use: it loads large libraries, and most libraries hold no HEIC photo.
    from pillow_heif import HeifImageFile

    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


def _decode(
    opener: Callable[[IO[bytes]], ImageFile.ImageFile], data: bytes, name: str, options: DecodeOptions
) -> DecodedPhoto:
    with opener(io.BytesIO(data)) as image:
        width, height = image.size
        if width * height > options.max_pixels:
            raise DecodeError(
                "too-large", f"{name}: {width} x {height} pixels, more than the limit of {options.max_pixels}"
            )
        factor = _reduction(image, options.min_long_side)
        rgb = _turbo_rgb(image, data, factor)
        if rgb is None:
            if factor > 1:
                image.draft(None, (max(1, width // factor), max(1, height // factor)))
                factor = 1 if image.size == (width, height) else factor
            with _silenced(image):
                image.load()
            rgb = np.asarray(_to_rgb(image), dtype=np.uint8)
        orientation, taken_at = _read_exif(image)
    del image  # a large photo's memory: it may be in use twice over below
    if orientation in UPRIGHT:
        rgb = np.asarray(UPRIGHT[orientation](rgb), dtype=np.uint8)
    if factor == 1:
        height, width = rgb.shape[:2]  # the TIFF plugin turns its pixels by itself
    elif orientation >= 5:
        width, height = height, width
    return DecodedPhoto(rgb, width, height, taken_at)


_stderr_lock = threading.Lock()


@contextmanager
def _silenced(image: ImageFile.ImageFile) -> Iterator[None]:
    """Keep libtiff, which reports damage straight to the process's stderr, from doing so."""
    if not isinstance(image, TiffImageFile) or sys.__stderr__ is None:
        yield
        return
    with _stderr_lock, open(os.devnull, "wb") as null:
        saved = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _reduction(image: ImageFile.ImageFile, min_long_side: int | None) -> int:
    """The largest factor by which libjpeg may shrink this image while it decodes it."""
    if min_long_side is None or not isinstance(image, JpegImageFile):
        return 1
    return next((factor for factor in (8, 4, 2) if max(image.size) // factor >= min_long_side), 1)


def _turbo_rgb(image: ImageFile.ImageFile, data: bytes, factor: int) -> ImageArray | None:
    """The pixels of a sound JPEG at 1/`factor` size, in about half of Pillow's time; None for Pillow to try.

    Pillow copies what libjpeg-turbo gives twice. It decides about everything that is not in order.
    """
    if not isinstance(image, JpegImageFile) or image.mode not in ("RGB", "L"):
        return None
    width, height = (-(-side // factor) for side in image.size)
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width))
    except (ValueError, RuntimeError):
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
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
    """Deep greyscale (16- or 32-bit integers, floats) scaled to 0-255; Pillow alone would clip it.

    White is the top of the sample's range where that is known (12, 16 bits) or usual (1.0 for floats,
    255 or 65535 for wide integers), else the brightest value; black is 0, or the darkest value if that
    is negative.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(BITSPERSAMPLE, (16,))[0]
        return (values >> (4 if bits == 12 else 8)).astype(np.uint8)
    values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    black, white = min(float(values.min()), 0.0), float(values.max())
    if black == 0.0:
        usual = (1.0,) if image.mode == "F" else (255.0, 65535.0)
        white = next((top for top in usual if white <= top), white)
    scale = 255.0 / ((white - black) or 1.0)
    return ((values - black) * scale + 0.5).astype(np.uint8)


def _read_exif(image: ImageFile.ImageFile) -> tuple[int, datetime | None]:
    """Orientation (1 to 8) and capture date; whatever is absurd in them counts as absent.

    HEIC and AVIF keep their orientation in the container: both decoders apply or report it there and
    neutralise a second one in EXIF. Call after the pixels are loaded: PNG may hold EXIF at its end,
    and the TIFF plugin turns its pixels upright by itself while loading.
    """
    try:
        exif = image.getexif()
        tag = exif.get(ExifTags.Base.Orientation, 1)
        orientation = int(tag) if tag in UPRIGHT else 1
    except FAILURES:
        return 1, None
    return orientation, _taken_at(exif)


def _taken_at(exif: Image.Exif) -> datetime | None:
    for tag, in_exif_ifd in (
        (ExifTags.Base.DateTimeOriginal, True),
        (ExifTags.Base.DateTimeDigitized, True),
        (ExifTags.Base.DateTime, False),
    ):
        try:
            value = (exif.get_ifd(ExifTags.IFD.Exif) if in_exif_ifd else exif).get(tag)
        except FAILURES:
            continue
        if taken_at := _parse_date(value):
            return taken_at
    return None


def _parse_date(value: object) -> datetime | None:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not (match := EXIF_DATE.match(text)):
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        date = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    # A clock may run a little ahead of ours; a year ahead it is wrong.
    return date if FIRST_PHOTO <= year <= datetime.now().year + 1 else None


def _explain(error: Exception, data: bytes) -> tuple[str, str]:
    """Kind and one-line cause of a decoder's failure."""
    cause = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return "too-large", "more pixels than the limit"
    if isinstance(error, EOFError) or CUT_OFF.search(cause.lower()) or _is_cut_off(data):
        return "truncated", "the file is cut off"
    return "corrupt", f"damaged image data ({cause})"


def _is_cut_off(data: bytes) -> bool:
    """Whether the container promises more bytes than there are; not every plugin says so."""
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith((b"II*", b"MM\0*")):
        return int.from_bytes(data[4:8], "little" if data.startswith(b"II") else "big") >= len(data)
    end = 0
    while data[4:8] == b"ftyp" and end + 8 <= len(data):  # HEIC and AVIF: boxes, each led by its size
        size = int.from_bytes(data[end : end + 4], "big")
        if size < 8:
            return False  # up to the end, or in 64 bits
        end += size
    return end > len(data)
