"""Persons found among the stored faces: what `photoage people find` does once all faces have embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import (
    Connection,
    Result,
    Select,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from photoage.database.connect import ROWS_FETCHED
from photoage.database.known import chunks
from photoage.database.tables import Embedding, Face, Person, PersonApart, PersonFace, Photo, StoredEstimate
from photoage.faces.recogniser import DIMENSIONS
from photoage.people.births import TAIL, year_range
from photoage.people.grouping import FaceSet, Ids, group
from photoage.people.refresh import refresh_persons, show_single

LEAST_SIDE = 24.0  # pixels: faces with a shorter side have an embedding that says little


@dataclass(frozen=True, slots=True)
class FoundPersons:
    """`faces` have embeddings; `grouped` of them joined a person just now; `new` of the `persons` are new."""

    faces: int
    grouped: int
    persons: int
    new: int
    born: int  # persons whose birth date is known: fitted, or given


def find_persons(connection: Connection, *, anew: bool = False) -> FoundPersons:
    """Group faces with embeddings into persons, fit birth dates, and make the ages that follow current.

    Only faces that were never grouped are looked for a person; with `anew`, all that the user has not
    spoken about. Nothing is committed.
    """
    if anew:
        _ungroup(connection)
    ids, faces = load_faces(connection)
    if len(ids) and faces.fresh.any():
        found = group(faces)
        grouped, new = _store(connection, ids, faces, found)
        connection.execute(update(Embedding).where(~Embedding.grouped).values(grouped=True))
    else:
        grouped = new = 0
    refresh_persons(connection)
    known = or_(Person.birth_date.is_not(None), Person.fitted_birth.is_not(None))
    persons = connection.scalar(select(func.count()).select_from(Person)) or 0
    born = connection.scalar(select(func.count()).select_from(Person).where(known)) or 0
    return FoundPersons(len(ids), grouped, persons, new, born)


def _ungroup(connection: Connection) -> None:
    """Take back what the grouping has said of persons whom the user has said nothing of."""
    own = and_(PersonFace.source == "found", PersonFace.person_id.not_in(_kept_persons()))
    faces = list(connection.scalars(select(PersonFace.face_id).where(own)))
    show_single(connection, faces)
    connection.execute(delete(PersonFace).where(own))
    empty = and_(Person.id.not_in(select(PersonFace.person_id)), Person.id.not_in(_kept_persons()))
    connection.execute(delete(Person).where(empty))
    connection.execute(update(Embedding).values(grouped=False))


def _kept_persons() -> Select[int]:
    """The persons of whom the user, or an import, has said anything."""
    said = select(PersonFace.person_id).where(PersonFace.source != "found")
    apart = select(PersonApart.person_id)
    return select(Person.id).where(
        or_(
            Person.name.is_not(None),
            Person.birth_date.is_not(None),
            Person.id.in_(said),
            Person.id.in_(apart),
        )
    )


def load_faces(connection: Connection) -> tuple[Ids, FaceSet]:
    """The faces that have embeddings: their ids, ascending, and what the grouping needs of them."""
    number = connection.scalar(select(func.count()).select_from(Embedding)) or 0
    ids, photo, person = (np.zeros(number, np.int64) for _ in range(3))
    embeddings = np.zeros((number, DIMENSIONS), np.float16)
    age, born, error = (np.full(number, np.nan, np.float32) for _ in range(3))
    fresh = np.zeros(number, bool)
    ranges: dict[str, tuple[float, float]] = {}  # many photos are of one day
    at = 0
    for row in _rows(connection):
        if min(row.x2 - row.x1, row.y2 - row.y1) < LEAST_SIDE and row.person_id is None:
            continue
        ids[at], photo[at], person[at], fresh[at] = row.id, row.photo_id, row.person_id or 0, not row.grouped
        embeddings[at] = np.frombuffer(row.vector, dtype="<f2")
        age[at] = row.age
        if row.taken_at:
            day = str(row.taken_at)[:10]
            if day not in ranges:
                ranges[day] = year_range(day)
            first, last = ranges[day]
            born[at] = (first + last) / 2 - row.age
            error[at] = np.hypot((row.age_high - row.age_low) / (2 * TAIL), (last - first) / np.sqrt(12))
        at += 1
    kept = frozenset(connection.scalars(_kept_persons()))
    apart = connection.execute(select(PersonApart.face_id, PersonApart.person_id)).all()
    place = np.searchsorted(ids[:at], [row.face_id for row in apart]) if at else np.empty(0, int)
    separated = [
        (int(row), told.person_id)
        for row, told in zip(place, apart, strict=bool(at))
        if row < at and ids[row] == told.face_id
    ]
    birth = {}
    given = select(Person.id, Person.birth_date).where(Person.birth_date.is_not(None))
    for number, text in connection.execute(given):
        first, last = year_range(str(text))
        birth[number] = ((first + last) / 2, max(0.5, (last - first) / 2))
    return ids[:at], FaceSet(
        embeddings[:at],
        photo[:at],
        age[:at],
        born[:at],
        error[:at],
        person[:at],
        fresh[:at],
        kept,
        birth,
        separated,
    )


def _rows(connection: Connection) -> Result[Any]:
    faces = (
        select(
            Embedding.vector,
            Embedding.grouped,
            Face.id,
            Face.photo_id,
            Face.x1,
            Face.y1,
            Face.x2,
            Face.y2,
            type_coerce(Photo.taken_at, Text).label("taken_at"),
            StoredEstimate.age,
            StoredEstimate.age_low,
            StoredEstimate.age_high,
            PersonFace.person_id,
        )
        .join(Face, Face.id == Embedding.face_id)
        .join(Photo, Photo.id == Face.photo_id)
        .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
        .outerjoin(PersonFace, PersonFace.face_id == Face.id)
        .order_by(Embedding.face_id)
    )
    # Of this statement alone: the connection goes on to write.
    return connection.execute(faces.execution_options(yield_per=ROWS_FETCHED, binary=True))


def _store(connection: Connection, ids: Ids, faces: FaceSet, found: Ids) -> tuple[int, int]:
    """Store who is who now; how many faces have another person than before, and how many persons are new."""
    new = sorted(set(found[found < 0].tolist()), reverse=True)
    numbers = {label: _insert_person(connection) for label in new}
    for old, now in _renamed(faces.person, found):
        _move_apart(connection, old, numbers.get(now, now))
    changed = np.flatnonzero(found != faces.person)
    for some in chunks(changed.tolist()):
        own = PersonFace.face_id.in_([int(ids[row]) for row in some])
        said = dict(connection.execute(select(PersonFace.face_id, PersonFace.source).where(own)).all())
        connection.execute(delete(PersonFace).where(own))
        rows = [
            {
                "face_id": int(ids[row]),
                "person_id": numbers.get(int(found[row]), int(found[row])),
                "source": said.get(int(ids[row]), "found"),
            }
            for row in some
        ]
        connection.execute(insert(PersonFace), rows)
    empty = and_(Person.id.not_in(select(PersonFace.person_id)), Person.id.not_in(_kept_persons()))
    connection.execute(delete(Person).where(empty))
    return len(changed), len(new)


def _insert_person(connection: Connection) -> int:
    return int(connection.execute(insert(Person).values().returning(Person.id)).scalar_one())


def _renamed(before: Ids, now: Ids) -> Iterator[tuple[int, int]]:
    """Persons that have become part of others, and of which."""
    moved = (before != 0) & (before != now)
    yield from sorted(set(zip(before[moved].tolist(), now[moved].tolist(), strict=True)))


def _move_apart(connection: Connection, old: int, new: int) -> None:
    """What was told apart from one person is told apart from the one that it has become part of."""
    known = select(PersonApart.face_id).where(PersonApart.person_id == new)
    apart = update(PersonApart).where(PersonApart.person_id == old, PersonApart.face_id.not_in(known))
    connection.execute(apart.values(person_id=new))
