"""The pictures in a TIFF file: its pages, each at the largest size that the file has of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from photoage.errors import DecodeError
from photoage.photos.formats import FAILURES
from photoage.photos.pixels import to_8bit, to_rgb
from photoage.records import FloatArray, ImageArray

MAX_DIRECTORIES = 5000  # a file with more is no photo; a scanned book has some hundred pages

# Tags, by their names in the TIFF 6, TIFF/EP and DNG specifications.
NEW_SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 259, 262
STRIP_OFFSETS, TILE_OFFSETS, SUB_IFDS = 273, 324, 330
REDUCED, MASK, DEPTH = 1, 4, 8  # bits of NewSubfileType
SENSOR = (32803, 34892)  # photometric interpretations: colour filter array, linear raw
# Of Sony, Samsung, Nikon and Pentax, of which some state no photometric interpretation of a sensor.
SENSOR_COMPRESSIONS = (32767, 32769, 32770, 32772, 34713, 65535)

SAME = 0.9  # correlation of two pictures of 32 x 32 pixels from which they show the same


@dataclass(frozen=True, slots=True)
class Directory:
    """One picture of the file, at one size; `children`: further sizes of it. `main`: where the tags are."""

    offset: int
    main: int
    width: int
    height: int
    kind: int
    is_sensor: bool
    children: tuple[Directory, ...] = ()

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_main(self) -> bool:
        return self.offset == self.main

    def all(self) -> Iterator[Directory]:
        yield self
        for child in self.children:
            yield from child.all()


def read_directories(data: bytes) -> list[Directory]:
    """The file's main directories, in order, as far as they can be read."""
    reader = _Reader(data)
    found = []
    offset = reader.first
    while offset:
        directory, offset = reader.read(offset)
        if directory is not None:
            found.append(directory)
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._header = data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8]
        self._file = io.BytesIO(data)
        self._seen: set[int] = set()
        self.first = int(ImageFileDirectory_v2(self._header).next)

    def read(self, offset: int, main: int = 0, depth: int = 0) -> tuple[Directory | None, int]:
        """The directory at an offset, None if it holds no picture, and the offset of the next."""
        if offset in self._seen or len(self._seen) >= MAX_DIRECTORIES:
            return None, 0
        self._seen.add(offset)
        tags = ImageFileDirectory_v2(self._header)
        try:
            self._file.seek(offset)
            tags.load(self._file)
            following = int(tags.next or 0)
        except FAILURES:
            return None, 0
        try:
            children = tuple(self._children(tags, main or offset, depth)) if depth < 3 else ()
            width, height = int(tags.get(IMAGE_WIDTH, 0)), int(tags.get(IMAGE_LENGTH, 0))
            sensor = tags.get(PHOTOMETRIC) in SENSOR or tags.get(COMPRESSION) in SENSOR_COMPRESSIONS
            kind = int(tags.get(NEW_SUBFILE_TYPE, 0))
        except FAILURES:
            return None, following
        if not (STRIP_OFFSETS in tags or TILE_OFFSETS in tags):  # an old-style JPEG thumbnail, or none
            width = height = 0
        if width * height == 0 and not children:
            return None, following
        return Directory(offset, main or offset, width, height, kind, bool(sensor), children), following

    def _children(self, tags: ImageFileDirectory_v2, main: int, depth: int) -> Iterator[Directory]:
        stated = tags.get(SUB_IFDS, ())
        for offset in stated if isinstance(stated, tuple) else (stated,):
            directory, _ = self.read(int(offset), main, depth + 1)
            if directory is not None:
                yield directory


def has_sensor_data(directories: Iterable[Directory]) -> bool:
    """Whether the file is a camera's RAW file (or a DNG made of one)."""
    return any(directory.is_sensor for main in directories for directory in main.all())


def pages(data: bytes, directories: list[Directory]) -> list[Directory]:
    """The pages of the file: of each picture the largest size, without previews and masks.

    A preview is told by its tag, or, where the file has none, by being a smaller copy of another page.
    """
    largest = [max(main.all(), key=lambda d: (not d.kind & (MASK | DEPTH), d.pixels)) for main in directories]
    largest = [directory for directory in largest if directory.pixels]
    for unwanted in (MASK | DEPTH, REDUCED):
        wanted = [directory for directory in largest if not directory.kind & unwanted]
        largest = wanted or largest
    return [page for page in largest if not any(_is_copy(data, page, other) for other in largest)]


def _is_copy(data: bytes, small: Directory, large: Directory) -> bool:
    """Whether a picture is a smaller one of another: of the same shape, and showing the same."""
    height = small.width * large.height / large.width  # if the shape is the same
    if small.width * 3 > large.width * 2 or abs(height - small.height) > 1.5:
        return False
    try:
        first, second = (_thumbnail(data, directory) for directory in (small, large))
    except FAILURES:
        return False
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum()) >= SAME * float(np.sqrt((first**2).sum() * (second**2).sum()))


def _thumbnail(data: bytes, directory: Directory) -> FloatArray:
    with open_directory(data, directory) as image:
        grey = to_rgb(image).convert("L")
        return np.asarray(cv2.resize(np.asarray(grey), (32, 32), interpolation=cv2.INTER_AREA), np.float32)


def open_directory(data: bytes, directory: Directory) -> TiffImageFile:
    """One picture of the file, as Pillow opens the first one."""
    return TiffImageFile(io.BytesIO(_beginning_with(data, directory)))


def _beginning_with(data: bytes, directory: Directory) -> bytes:
    """The file with another first directory: what every reader begins with."""
    order = "little" if data.startswith(b"II") else "big"
    if data[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        return data[:8] + directory.offset.to_bytes(8, order) + data[16:]  # type: ignore[arg-type]
    return data[:4] + directory.offset.to_bytes(4, order) + data[8:]  # type: ignore[arg-type]


class Tags:
    """The tags that hold for a picture, as Pillow gives those of an image."""

    def __init__(self, data: bytes, directory: Directory) -> None:
        self._data, self._offset = data, directory.main

    def getexif(self) -> Image.Exif:
        exif = Image.Exif()
        exif.load_from_fp(io.BytesIO(self._data), self._offset)
        return exif


def read_unusual(data: bytes, directory: Directory) -> ImageArray:
    """(height, width, 3) uint8 RGB of a picture with samples that Pillow has no mode for, such as floats.

    As it is stored, not turned upright. Raises `DecodeError`.
    """
    content = np.frombuffer(_beginning_with(data, directory), dtype=np.uint8)
    try:
        found = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        found = None
    if found is None or found.shape[:2] != (directory.height, directory.width):
        raise DecodeError("unsupported", "a TIFF with samples of an unusual kind")
    values = found if found.ndim == 3 else found[:, :, None]
    alpha = values[:, :, 3:4] if values.shape[2] == 4 else None
    colour = values[:, :, 2::-1] if values.shape[2] >= 3 else np.repeat(values[:, :, :1], 3, axis=2)
    rgb = colour if colour.dtype == np.uint8 else to_8bit(colour)
    if alpha is not None:
        share = (alpha if alpha.dtype == np.uint8 else to_8bit(alpha)).astype(np.float32) / 255
        rgb = (rgb * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(rgb)
