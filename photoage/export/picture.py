"""A photo with its faces: boxes, estimated ages and intervals drawn on it."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from sqlalchemy import Engine

from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.database.scanned_file import ScannedFile, scanned_files
from photoage.errors import PhotoageError
from photoage.paths import absolute, is_remote
from photoage.photos.content import read_file
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.photos.orientation import turn_photo
from photoage.records import Box, ImageArray, shared_area

MAX_SIZE = 2000  # pixels of the picture's long side
MIN_SIZE = 900  # a smaller photo is enlarged, so that there is room for text
SMOOTH = 2  # lines are drawn at twice the size and reduced: Pillow's have jagged edges

LIGHT = (255, 255, 255, 255)
ACCENT = (255, 209, 102, 255)
DARK = (16, 20, 24, 225)


@dataclass(frozen=True, slots=True)
class ShownPhoto:
    """A photo of the database and its faces, from left to right."""

    file: ScannedFile
    faces: list[FaceRow]


def find_photo(engine: Engine, path: str) -> ShownPhoto:
    """The photo at `path`, which may be relative, or a URL. Raises `PhotoageError` for one never read."""
    whole = absolute(path)
    found = scanned_files(engine, [whole] if is_remote(whole) else [whole, os.path.realpath(path)])
    file = found.get(whole) or next(iter(found.values()), None)
    if file is None:
        raise PhotoageError(f"{path}: not in the database; `photoage scan PHOTO` finds its faces")
    if file.status == "unreadable":
        raise PhotoageError(f"{path}: could not be read when it was scanned; `photoage errors` tells why")
    return ShownPhoto(file, list(iter_faces(engine, FaceFilter(path_glob=glob.escape(file.path)))))


def picture(photo: ShownPhoto, max_size: int = MAX_SIZE, page: int = 1) -> Image.Image:
    """The upright photo, or one page of it, with its faces, its long side from MIN_SIZE to `max_size` pixels.

    Raises `DecodeError`, or `PhotoageError` when it has another size than when it was scanned.
    """
    faces, path = [face for face in photo.faces if face.page == page], photo.file.path
    pixels = max((face.photo_width * face.photo_height for face in faces), default=0)
    options = DecodeOptions(max(pixels, DecodeOptions().max_pixels), min_long_side=max_size)
    pixels_of_page = decode_bytes(read_file(path)[1], path, options, page)
    decoded = turn_photo(pixels_of_page, photo.file.turn_of(page))
    if faces and (faces[0].photo_width, faces[0].photo_height) != (decoded.width, decoded.height):
        raise PhotoageError(f"{path}: has other dimensions than when it was scanned; scan it again")
    return draw_faces(_resized(decoded.rgb, max_size), faces)


def _resized(rgb: ImageArray, max_size: int) -> Image.Image:
    image = Image.fromarray(rgb)
    long_side = max(image.size)
    wanted = min(max(long_side, MIN_SIZE), max_size)
    if wanted == long_side:
        return image
    width, height = (max(1, round(side * wanted / long_side)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def draw_faces(image: Image.Image, faces: Sequence[FaceRow]) -> Image.Image:
    """A copy of the image, the upright photo at any size, with the faces on it."""
    shown = image.convert("RGB")
    if not faces:
        return shown
    overlay = Image.new("RGBA", (shown.width * SMOOTH, shown.height * SMOOTH))
    draw = ImageDraw.Draw(overlay)
    boxes = [_scaled(face, overlay.width / face.photo_width) for face in faces]
    for box in boxes:
        _draw_box(draw, box, max(overlay.size))
    taken: list[Box] = []
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        label = _Label(draw, face, box, max(overlay.size))
        others = [*taken, *boxes[:number], *boxes[number + 1 :]]
        taken.append(label.draw(draw, overlay.size, others))
    overlay = overlay.resize(shown.size, Image.Resampling.BOX)
    shown.paste(overlay, mask=overlay)
    return shown


def _scaled(face: FaceRow, scale: float) -> Box:
    return face.x1 * scale, face.y1 * scale, face.x2 * scale, face.y2 * scale


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, long_side: int) -> None:
    """A light line within a dark one: one of them is seen on any background."""
    width = min(box[2] - box[0], box[3] - box[1])
    line = max(2 * SMOOTH, round(min(long_side / 450, width / 30)))
    radius = width * 0.08
    x1, y1, x2, y2 = box
    edge = line * 0.6
    around = (x1 - edge, y1 - edge, x2 + edge, y2 + edge)
    draw.rounded_rectangle(around, radius + edge, outline=DARK, width=round(line + 2 * edge))
    draw.rounded_rectangle(box, radius, outline=ACCENT, width=line)


class _Label:
    """The age and, smaller, the person and the interval of one face, on a dark plate."""

    def __init__(self, draw: ImageDraw.ImageDraw, face: FaceRow, box: Box, long_side: int) -> None:
        size = min(max((box[2] - box[0]) * 0.2, long_side / 75), long_side / 36)
        self.box = box
        name = f"{face.person} " if face.person else ""
        self.age, self.interval = f"{face.age:.0f}", f"{name}{face.age_low:.0f}-{face.age_high:.0f}"
        self.large = ImageFont.load_default(size * 1.15)
        self.small = ImageFont.load_default(size * 0.8)
        self.gap = size * 0.35
        self.age_width = draw.textlength(self.age, self.large)
        self.width = self.age_width + draw.textlength(self.interval, self.small) + self.gap * 3
        self.height = size * 1.6

    def draw(self, draw: ImageDraw.ImageDraw, canvas: tuple[int, int], others: Sequence[Box]) -> Box:
        """Draw it where it hides nothing, if there is such a place; the place."""
        places = [self._within(canvas, *place) for place in self._places()]
        plate = min(places, key=lambda place: sum(shared_area(place, other) for other in [*others, self.box]))
        draw.rounded_rectangle(plate, self.height * 0.25, fill=DARK)
        x1, baseline = plate[0], plate[3] - self.height * 0.3
        draw.text((x1 + self.gap, baseline), self.age, ACCENT, self.large, anchor="ls")
        after = x1 + self.gap * 2 + self.age_width
        draw.text((after, baseline), self.interval, LIGHT, self.small, anchor="ls")
        return plate

    def _places(self) -> Iterator[tuple[float, float]]:
        """Left upper corners, the best first: above and below the box, beside it, at last within it."""
        x1, y1, x2, y2 = self.box
        above, below = y1 - self.height - self.gap, y2 + self.gap
        middle = (x1 + x2 - self.width) / 2
        yield from ((middle, above), (middle, below), (x1, above), (x2 - self.width, above))
        yield from ((x2 + self.gap, y1), (x1 - self.width - self.gap, y1), (middle, y2 - self.height))

    def _within(self, canvas: tuple[int, int], x: float, y: float) -> Box:
        """The plate at this place, moved into the picture where it would leave it."""
        x = max(0.0, min(x, canvas[0] - self.width))
        y = max(0.0, min(y, canvas[1] - self.height))
        return x, y, x + self.width, y + self.height
