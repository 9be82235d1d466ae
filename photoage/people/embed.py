"""Embeddings for stored faces that have none yet; a photo is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, exists, func, select

from photoage.database.person_faces import put_embeddings, recogniser_row
from photoage.database.tables import Embedding, Face, Photo
from photoage.faces.detector_files import DetectorFile
from photoage.faces.read import embed_stored
from photoage.photos.decode import DecodeOptions
from photoage.pool import PhotoPool
from photoage.records import KnownFaces

PAGE = 200  # photos looked up together
COMMITTED = 50  # photos after which what was computed is kept
NAMED = 20  # photos that could not be read, in the summary


class StoredFaces(NamedTuple):
    """A photo with the faces that it was stored with, and the landmarks of each in its upright pixels."""

    path: str
    digest: str
    faces: list[int]
    landmarks: list[list[list[float]]]
    pages: list[int]
    turns: list[int]


@dataclass(slots=True)
class EmbedCounts:
    """`photos` of `total` are read; `faces` have an embedding now that had none; some photos `failed`."""

    total: int = 0
    photos: int = 0
    faces: int = 0
    failed: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    recogniser: DetectorFile
    workers: int
    photo_timeout: float
    decode: DecodeOptions = DecodeOptions()


def embed_faces(
    connection: Connection,
    options: EmbedOptions,
    progress: Callable[[EmbedCounts], None] = lambda counts: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> EmbedCounts:
    """Compute and store the embeddings that are missing, committing every COMMITTED photos.

    A photo that cannot be read any more, or has changed since its scan, costs no other one; the next call
    tries it again. Returns early when `should_stop` turns true.
    """
    recogniser = recogniser_row(connection, options.recogniser.name, options.recogniser.sha256)
    connection.commit()
    counts = EmbedCounts(total=_count(connection, recogniser))
    if counts.total == 0:
        return counts

    def wanted() -> Iterator[StoredFaces]:
        for photo in chain.from_iterable(_lacking(connection, recogniser)):
            if should_stop():
                return
            yield photo

    with PhotoPool(options.workers, timeout=options.photo_timeout) as pool:
        for outcome in pool.run(embed_stored, wanted(), lambda photo: _arguments(photo, options)):
            counts.photos += 1
            if outcome.value is not None:
                put_embeddings(connection, recogniser, zip(outcome.task.faces, outcome.value, strict=True))
                counts.faces += len(outcome.task.faces)
            else:
                counts.failed += 1
                if counts.failed <= NAMED:
                    counts.warnings.append(str(outcome.failure))
            if counts.photos % COMMITTED == 0:
                connection.commit()
            progress(counts)
    connection.commit()
    if counts.failed > NAMED:
        counts.warnings.append(f"{counts.failed - NAMED} more photos could not be read")
    return counts


def _arguments(photo: StoredFaces, options: EmbedOptions) -> tuple[Any, ...]:
    landmarks = np.array(photo.landmarks, dtype=np.float32).reshape(-1, 5, 2)
    known = KnownFaces(landmarks, tuple(photo.pages), tuple(photo.turns))
    return photo.path, photo.digest, known, options.recogniser, options.decode


def _has_none(recogniser: int) -> ColumnElement[bool]:
    return ~exists().where(Embedding.face_id == Face.id, Embedding.recogniser_id == recogniser)


def _count(connection: Connection, recogniser: int) -> int:
    photos = select(func.count(func.distinct(Face.photo_id))).join(Photo, Photo.id == Face.photo_id)
    return connection.scalar(photos.where(Photo.status == "done", _has_none(recogniser))) or 0


def _lacking(connection: Connection, recogniser: int) -> Iterator[list[StoredFaces]]:
    """Photos some of whose faces have no embedding, with those faces, PAGE photos at a time."""
    last = 0
    while True:
        lacking = exists().where(Face.photo_id == Photo.id, _has_none(recogniser))
        photos = select(Photo.id, Photo.path, Photo.content_hash, Photo.turn, Photo.pages)
        photos = photos.where(Photo.id > last, lacking, Photo.status == "done")
        found = {row.id: row for row in connection.execute(photos.order_by(Photo.id).limit(PAGE))}
        if not found:
            return
        last = max(found)
        stored = {
            row.id: StoredFaces(row.path, row.content_hash or "", [], [], [], []) for row in found.values()
        }
        faces = select(Face.photo_id, Face.id, Face.landmarks, Face.page)
        faces = faces.where(Face.photo_id.in_(found), _has_none(recogniser))
        for face in connection.execute(faces.order_by(Face.photo_id, Face.face_index)):
            photo, own = found[face.photo_id], stored[face.photo_id]
            own.faces.append(face.id)
            own.landmarks.append(face.landmarks)
            own.pages.append(face.page)
            own.turns.append(photo.pages[face.page - 1][2] if photo.pages else photo.turn)
        yield list(stored.values())
