"""Which format a file's content is in, and what opens it.

The format is told by content, never by name, and only the formats listed here are ever tried. The
Pillow class of the format is used directly instead of `Image.open`, which hides why a file failed
and fails a whole photo when only the index of its further images (MPO) is damaged.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable
from enum import Enum
from typing import IO

from PIL import Image, ImageFile, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from photoage.errors import missing_package
from photoage.photos.jxl import stated_size
from photoage.photos.psd import open_psd

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

Opener = Callable[[IO[bytes]], Image.Image]

HEAD = 4096  # bytes that tell the format

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
RAW_STARTS = (
    b"IIRO", b"IIRS", b"MMOR",  # Olympus
    b"IIU\0",  # Panasonic, Leica
    b"FUJIFILMCCD-RAW",
    b"\0MRM",  # Minolta
    b"FOVb",  # Sigma
    b"II\x1a\0\0\0HEAPCCDR",  # Canon, before CR2
)  # fmt: skip


class Format(Enum):
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    TIFF = "TIFF"  # and those RAW files that are TIFF files by their first bytes
    BMP = "BMP"
    AVIF = "AVIF"
    HEIF = "HEIF"
    JXL = "JPEG XL"
    JPEG_2000 = "JPEG 2000"
    PSD = "PSD"
    RAW = "RAW"


def identify(head: bytes) -> Format | None:
    """The format of a file by its first bytes, of which HEAD are enough; None if photos never come in it."""
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), 1024)
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
        if brands & AVIF_BRANDS:
            return Format.AVIF
        if brands & HEIF_BRANDS:
            return Format.HEIF
        return Format.RAW if head[8:12] == b"crx " else None  # Canon CR3
    if head.startswith(b"RIFF"):
        return Format.WEBP if head[8:12] == b"WEBP" else None
    if head.startswith((b"II*\0", b"MM\0*")) and head[8:10] == b"CR":
        return Format.RAW  # Canon CR2
    return next((kind for starts, kind in _STARTS if head.startswith(starts)), None)


_STARTS: tuple[tuple[tuple[bytes, ...], Format], ...] = (
    ((b"\xff\xd8\xff",), Format.JPEG),
    ((b"\x89PNG\r\n\x1a\n",), Format.PNG),
    ((b"GIF87a", b"GIF89a"), Format.GIF),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), Format.TIFF),
    ((b"BM",), Format.BMP),
    ((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), Format.JXL),
    ((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"), Format.JPEG_2000),
    ((b"8BPS\0\x01",), Format.PSD),
    (RAW_STARTS, Format.RAW),
)


def is_surely_photo(head: bytes) -> bool:
    """Whether a file that no name tells of is a photo: signatures of two bytes are chance in any text."""
    match identify(head):
        case None:
            return False
        case Format.BMP:
            return head[6:10] == b"\0" * 4 and head[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x7c\0\0\0")
        case Format.JXL:
            return not head.startswith(b"\xff\x0a")
        case _:
            return True


def opener(kind: Format) -> Opener:
    """What opens a file of this format, all but RAW; it raises `DecodeError` when a package is missing."""
    return _OPENERS[kind]


def _open_avif(file: IO[bytes]) -> ImageFile.ImageFile:
    try:
        return AvifImageFile(file)
    except FAILURES:
        # Alone among the plugins it reads EXIF on opening and fails when that is absurd. Under another
        # name the EXIF item is passed over; rotation is kept elsewhere, only the date is lost.
        file.seek(0)
        return AvifImageFile(io.BytesIO(file.read().replace(b"Exif", b"none", 1)))


def open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    """Also of AVIF, which Pillow's own plugin opens as well."""
    # Imported on first use: it loads large libraries, and most libraries hold no HEIC photo.
    from pillow_heif import HeifImageFile

    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


def _open_jxl(file: IO[bytes]) -> ImageFile.ImageFile:
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError as error:
        raise missing_package("a JPEG XL photo", "pillow-jxl-plugin") from error
    # The plugin decodes the whole picture when it opens it.
    width, height = stated_size(file.read())
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise TooLargeError(width, height)
    file.seek(0)
    image: ImageFile.ImageFile = JXLImageFile(file)
    return image


class TooLargeError(Image.DecompressionBombError):
    """A picture of more pixels than the limit, found by what opens it."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} x {height} pixels")
        self.size = width, height


_OPENERS: dict[Format, Opener] = {
    Format.JPEG: JpegImageFile,  # of an MPO it reads the first image
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.WEBP: WebPImageFile,
    Format.GIF: GifImageFile,
    Format.TIFF: TiffImageFile,
    Format.BMP: BmpImageFile,
    Format.AVIF: _open_avif,
    Format.HEIF: open_heif,
    Format.JXL: _open_jxl,
    Format.JPEG_2000: Jpeg2KImageFile,
    Format.PSD: open_psd,
}
