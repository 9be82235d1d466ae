"""What is stored of faces for the sake of persons, through rescans: embeddings, and who is who."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from photoage.database.dialect import upsert
from photoage.database.known import chunks
from photoage.database.tables import Embedding, Face, PersonApart, PersonFace, Photo, StoredRecogniser
from photoage.records import Box, Embeddings, PhotoFaces, overlap

SAME_FACE = 0.6  # overlap of the boxes from which a face found again is the one that it was


def recogniser_row(connection: Connection, name: str, sha256: str) -> int:
    """The id of a recogniser, which is stored if it was not."""
    statement = upsert(connection.dialect.name, StoredRecogniser, ("sha256",), ("name", "sha256"))
    return int(connection.execute(statement, [{"name": name, "sha256": sha256}]).all()[0].id)


def put_embeddings(
    connection: Connection, recogniser: int, embeddings: Iterable[tuple[int, Embeddings]]
) -> None:
    """Store embeddings (512,) of faces, given by id, in place of those that they may have."""
    rows = [
        {
            "face_id": face,
            "recogniser_id": recogniser,
            "vector": np.asarray(vector, dtype="<f2").tobytes(),
            "grouped": False,
        }
        for face, vector in embeddings
    ]
    for some in chunks(rows):
        old = Embedding.face_id.in_([row["face_id"] for row in some])
        connection.execute(delete(Embedding).where(old))
        connection.execute(insert(Embedding), list(some))


class _KnownFace(NamedTuple):
    id: int
    box: Box  # in parts of the photo's width and height
    person: int | None
    source: str | None


class Remembered:
    """Whom the faces of photos belong to, or were told apart from, while the photos are read again."""

    def __init__(self, connection: Connection, paths: Sequence[str]) -> None:
        self._connection = connection
        self._faces: dict[str, list[_KnownFace]] = {}
        self._apart: dict[int, list[int]] = {}
        for some in chunks(paths):
            self._remember(some)

    def _remember(self, paths: Sequence[str]) -> None:
        apart = select(PersonApart).join(Face).join(Photo).where(Photo.path.in_(paths))
        for row in self._connection.execute(apart):
            self._apart.setdefault(row.face_id, []).append(row.person_id)
        columns = (Face.id, Face.x1, Face.y1, Face.x2, Face.y2, Photo.path, Photo.width, Photo.height)
        faces = (
            select(*columns, PersonFace.person_id, PersonFace.source)
            .join(Photo, Photo.id == Face.photo_id)
            .outerjoin(PersonFace, PersonFace.face_id == Face.id)
            .where(Photo.path.in_(paths))
        )
        for face_id, *box, path, width, height, person, source in self._connection.execute(faces):
            if person is not None or face_id in self._apart:
                face = _KnownFace(face_id, _relative(box, width, height), person, source)
                self._faces.setdefault(path, []).append(face)

    def restore(self, path: str, found: PhotoFaces, ids: Sequence[int]) -> None:
        """Say the same of those faces (ids) that were found in the same places again."""
        known = self._faces.get(path, [])
        places = [_relative(face.bbox, found.width, found.height) for face in found.detections]
        pairs = [
            (overlap(face.box, place), i, j) for i, face in enumerate(known) for j, place in enumerate(places)
        ]
        again: dict[int, int] = {}
        for score, i, j in sorted(pairs, reverse=True):
            if score >= SAME_FACE and i not in again and j not in again.values():
                again[i] = j
        for i, j in again.items():
            face, new = known[i], ids[j]
            if face.person is not None:
                person = {"face_id": new, "person_id": face.person, "source": face.source}
                self._connection.execute(insert(PersonFace).values(person))
            for other in self._apart.get(face.id, ()):
                self._connection.execute(insert(PersonApart).values(face_id=new, person_id=other))


def _relative(box: Sequence[float], width: int | None, height: int | None) -> Box:
    x1, y1, x2, y2 = box
    return x1 / (width or 1), y1 / (height or 1), x2 / (width or 1), y2 / (height or 1)
