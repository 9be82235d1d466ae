"""A person's faces in photos with a trusted date, by which their undated ones are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Select, Text, and_, select, type_coerce

from photoage.database.tables import Embedding, Face, PersonFace, Photo, StoredEstimate
from photoage.faces.recogniser import DIMENSIONS
from photoage.people.births import CERTAIN, DatedFaces, agreement, year_range
from photoage.people.likeness import Likeness

# Sources that say when a photo was taken, unlike the names of files and folders, which are often of an event,
# a scan or a copy.
TRUSTED = ("xmp", "exif", "takeout", "user")
MOST = 200  # faces of a person that are compared with, spread over the years
KEPT = 100  # persons whose faces are kept at hand


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Dated faces of a person, and the `embeddings` (K, 512) of those in `rows` (K,)."""

    faces: DatedFaces
    rows: npt.NDArray[np.intp]
    embeddings: npt.NDArray[np.float32]

    def likeness(self, vector: bytes, born: float) -> Likeness:
        """How alike the face with this embedding is to those whose date agrees with the birth date."""
        usable = agreement(self.faces, born)[self.rows] >= CERTAIN
        cosine = self.embeddings[usable] @ _unpacked(vector)
        return Likeness(self.faces.taken[self.rows[usable]], cosine.astype(np.float64))


class References:
    """The references of persons, read when they are asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[int, Reference | None] = {}  # the one asked for last comes last

    def of(self, person: int) -> Reference | None:
        """None for a person without a face in a photo with a trusted date."""
        found = self._known.pop(person) if person in self._known else self._read(person)
        self._known[person] = found
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        return found

    def _read(self, person: int) -> Reference | None:
        taken_at = type_coerce(Photo.taken_at, Text)
        faces: Select[*tuple[Any, ...]] = (
            select(Face.id, taken_at, StoredEstimate.age, StoredEstimate.age_low, StoredEstimate.age_high)
            .join(Photo, Photo.id == Face.photo_id)
            .join(PersonFace, PersonFace.face_id == Face.id)
            .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
            .where(PersonFace.person_id == person, Photo.date_source.in_(TRUSTED), Photo.status == "done")
            .order_by(taken_at, Face.id)
        )
        found = self._connection.execute(faces).all()
        if not found:
            return None
        bounds = np.array([year_range(str(row.taken_at)) for row in found])
        ages = np.array([row[2:] for row in found], dtype=np.float64)
        some = np.unique(np.linspace(0, len(found) - 1, MOST).astype(int))
        vectors = self._vectors([found[place].id for place in some])
        rows = [place for place in some.tolist() if found[place].id in vectors]
        embeddings = np.array([vectors[found[place].id] for place in rows], np.float32)
        return Reference(
            DatedFaces(bounds.mean(axis=1), np.ptp(bounds, axis=1) / 2, *ages.T),
            np.array(rows, np.intp),
            embeddings.reshape(-1, DIMENSIONS),
        )

    def _vectors(self, faces: Sequence[int]) -> dict[int, npt.NDArray[np.float32]]:
        """The embeddings of these faces (ids) that have one."""
        wanted = select(Embedding.face_id, Embedding.vector).where(Embedding.face_id.in_(faces))
        return {face: _unpacked(vector) for face, vector in self._connection.execute(wanted)}


def _unpacked(vector: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(vector, "<f2").astype(np.float32)
