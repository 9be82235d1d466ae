"""A person's faces in photos with a trusted date, by which their undated ones are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Text, and_, select, type_coerce

from photoage.database.tables import Embedding, Face, PersonFace, Photo, StoredEstimate
from photoage.faces.recogniser import DIMENSIONS
from photoage.people.births import CERTAIN, DatedFaces, agreement, year_range
from photoage.people.likeness import Likeness

# Sources that say when a photo was taken, unlike the names of files and folders, which are often of an event,
# a scan or a copy.
TRUSTED = ("xmp", "exif", "takeout", "user")
MOST = 200  # faces of a person that are compared with
KEPT = 100  # persons whose faces are kept at hand


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Dated faces of a person, and the embeddings (N, 512) of theirs; those that have none are zero."""

    faces: DatedFaces
    embeddings: npt.NDArray[np.float32]

    def likeness(self, vector: bytes, born: float) -> Likeness:
        """How alike the face with this embedding is to those whose date agrees with the birth date."""
        usable = (agreement(self.faces, born) >= CERTAIN) & self.embeddings.any(axis=1)
        rows = np.flatnonzero(usable)
        if len(rows) > MOST:  # spread over the years
            rows = rows[np.linspace(0, len(rows) - 1, MOST).astype(int)]
        cosine = self.embeddings[rows] @ np.frombuffer(vector, "<f2").astype(np.float32)
        return Likeness(self.faces.taken[rows], cosine.astype(np.float64))


class References:
    """The references of persons, read when they are asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[int, Reference | None] = {}

    def of(self, person: int) -> Reference | None:
        if person not in self._known:
            if len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[person] = self._read(person)
        return self._known[person]

    def _read(self, person: int) -> Reference | None:
        columns: tuple[Any, ...] = (
            type_coerce(Photo.taken_at, Text),
            StoredEstimate.age,
            StoredEstimate.age_low,
            StoredEstimate.age_high,
            Embedding.vector,
        )
        rows = self._connection.execute(
            select(*columns)
            .join(Face, Face.photo_id == Photo.id)
            .join(PersonFace, PersonFace.face_id == Face.id)
            .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
            .outerjoin(Embedding, Embedding.face_id == Face.id)
            .where(PersonFace.person_id == person, Photo.date_source.in_(TRUSTED), Photo.status == "done")
            .order_by(type_coerce(Photo.taken_at, Text), Face.id)
        ).all()
        if not rows:
            return None
        bounds = np.array([year_range(str(row[0])) for row in rows])
        ages = np.array([row[1:4] for row in rows], dtype=np.float64)
        none = bytes(2 * DIMENSIONS)
        vectors = np.frombuffer(b"".join(row[4] or none for row in rows), "<f2")
        faces = DatedFaces(bounds.mean(axis=1), np.ptp(bounds, axis=1) / 2, *ages.T)
        return Reference(faces, vectors.reshape(-1, DIMENSIONS).astype(np.float32))
