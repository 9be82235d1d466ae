"""Face crops as files whose names begin with the age, so that a file manager sorts them by it."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from hashlib import blake2b
from io import BytesIO
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image
from sqlalchemy import Engine

from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.errors import PhotoageError
from photoage.export.crops import iter_crops
from photoage.files import write_whole
from photoage.photos.own import JPEG_COMMENT
from photoage.records import ImageArray

UNSAFE = re.compile(r"[^\w.-]+")
STEM_LENGTH = 40  # characters: at most 160 bytes of the 255 that a file name may have
QUALITY = 92  # of the JPEG


class CropFile(NamedTuple):
    """The file of one face. With a `problem`, one line that names the photo, it was not written."""

    path: str
    problem: str = ""


def crop_name(face: FaceRow) -> str:
    """`034.2_IMG_1234_5f3a90c1_0.jpg`: age, photo, what tells its folder from others, number of the face.

    The same for the same face and estimate in every export, whatever else is exported.
    """
    stem = unicodedata.normalize("NFC", PurePath(face.path).stem)
    stem = UNSAFE.sub("_", stem)[:STEM_LENGTH].strip("._") or "photo"
    place = blake2b(os.fsencode(face.path), digest_size=4).hexdigest()
    return f"{max(0.0, face.age):05.1f}_{stem}_{place}_{face.face_index}.jpg"


def write_crops(
    engine: Engine, wanted: FaceFilter, folder: str, *, size: int, dry_run: bool = False
) -> Iterator[CropFile]:
    """Write the aligned crop, `size` pixels wide and high, of every wanted face into `folder`.

    A file of the same name is replaced. `dry_run` only tells the names. Raises `PhotoageError` when
    the folder cannot be written.
    """
    if dry_run:
        yield from (CropFile(os.path.join(folder, crop_name(face))) for face in iter_faces(engine, wanted))
        return
    for face in iter_crops(engine, wanted, size=size):
        path = os.path.join(folder, crop_name(face.row))
        if face.crop is None:
            yield CropFile(path, f"{face.row.path}: {face.problem}")
            continue
        try:
            os.makedirs(folder, exist_ok=True)
            write_whole(path, _jpeg(face.crop))
        except OSError as error:
            raise PhotoageError(f"{path}: cannot be written ({error.strerror or error})") from error
        yield CropFile(path)


def _jpeg(crop: ImageArray) -> bytes:
    out = BytesIO()
    Image.fromarray(crop).save(out, "JPEG", quality=QUALITY, comment=JPEG_COMMENT)
    return out.getvalue()
