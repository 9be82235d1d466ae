"""Birth dates and ages of persons, brought up to date with what is stored of their faces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Text, and_, delete, insert, select, type_coerce, update

from photoage.database.known import chunks
from photoage.database.tables import Face, Person, PersonFace, Photo, StoredEstimate
from photoage.people.births import (
    CERTAIN,
    Birth,
    DatedFaces,
    NoBirth,
    agreement,
    fit_birth,
    to_date,
    year_range,
)

METHOD = "2"  # of the fit; another one makes every person's anew
OLDEST = 120.0  # years


class PersonFaceRow(NamedTuple):
    """A face of a person with its latest estimate by an age model. `taken_at` as stored."""

    person: int
    face: int
    checkpoint: int
    taken_at: str | None
    age: float
    low: float
    high: float


def refresh_persons(connection: Connection) -> int:
    """Fit birth dates, and set the estimates that follow from them, where anything has changed since.

    Returns the number of persons whose faces, dates or ages had changed. Reads a row for each face of a
    person; nothing at all where there are no persons.
    """
    persons = {
        row.id: row for row in connection.execute(select(Person.id, Person.birth_date, Person.fitted_faces))
    }
    changed = 0
    seen = set()
    for number, rows in _faces_by_person(connection) if persons else ():
        seen.add(number)
        digest = _digest(persons[number].birth_date, rows)
        if digest != persons[number].fitted_faces:
            _refresh(connection, number, persons[number].birth_date, rows, digest)
            changed += 1
    for number, row in persons.items():  # those whose faces are gone
        if number not in seen and row.fitted_faces is not None:
            gone = update(Person).where(Person.id == number)
            connection.execute(gone.values(**_fitted(None), fitted_faces=None))
    drop_empty(connection)
    return changed


def drop_empty(connection: Connection) -> None:
    """Drop persons that have no face left and of whom the user has said nothing."""
    left = select(PersonFace.person_id)
    said_nothing = and_(Person.name.is_(None), Person.birth_date.is_(None))
    connection.execute(delete(Person).where(said_nothing, Person.id.not_in(left)))


def show_single(connection: Connection, faces: Sequence[int]) -> None:
    """Make the estimates of these faces (ids) by the age model the current ones."""
    for some in chunks(faces):
        own = StoredEstimate.face_id.in_(some)
        connection.execute(delete(StoredEstimate).where(own, StoredEstimate.age_source != "face"))
        connection.execute(update(StoredEstimate).where(own, StoredEstimate.latest).values(current=True))


def person_faces(connection: Connection, person: int | None = None) -> Iterator[PersonFaceRow]:
    """The faces of one person, or of all, by person and face."""
    rows = (
        select(
            PersonFace.person_id,
            PersonFace.face_id,
            StoredEstimate.checkpoint_id,
            type_coerce(Photo.taken_at, Text),
            StoredEstimate.age,
            StoredEstimate.age_low,
            StoredEstimate.age_high,
        )
        .join(Face, Face.id == PersonFace.face_id)
        .join(Photo, Photo.id == Face.photo_id)
        .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
        .order_by(PersonFace.person_id, PersonFace.face_id)
    )
    if person is not None:
        rows = rows.where(PersonFace.person_id == person)
    return (PersonFaceRow(*row) for row in connection.execute(rows))


def dated_faces(rows: Sequence[PersonFaceRow]) -> DatedFaces:
    """Those of the faces whose photos have a date."""
    dated = [row for row in rows if row.taken_at]
    bounds = np.array([year_range(str(row.taken_at)) for row in dated]).reshape(-1, 2)
    ages = np.array([(row.age, row.low, row.high) for row in dated], dtype=np.float64).reshape(-1, 3)
    return DatedFaces(bounds.mean(axis=1), np.ptp(bounds, axis=1) / 2, *ages.T)


def _faces_by_person(connection: Connection) -> Iterator[tuple[int, list[PersonFaceRow]]]:
    for number, rows in groupby(list(person_faces(connection)), key=lambda row: row.person):
        yield number, list(rows)


def _digest(birth_date: str | None, rows: Sequence[PersonFaceRow]) -> str:
    return hashlib.blake2b(repr((METHOD, birth_date, rows)).encode(), digest_size=12).hexdigest()


def _refresh(
    connection: Connection, number: int, birth_date: str | None, rows: list[PersonFaceRow], digest: str
) -> None:
    faces = dated_faces(rows)
    fit = fit_birth(faces)
    person = update(Person).where(Person.id == number)
    connection.execute(person.values(**_fitted(fit), fitted_faces=digest))
    show_single(connection, [row.face for row in rows])
    dated = [row for row in rows if row.taken_at]
    if birth_date is not None:
        _show(connection, dated, faces, *year_range(birth_date), "birth")
    elif isinstance(fit, Birth):
        sure = agreement(faces, fit.born) >= CERTAIN
        kept = [row for row, is_sure in zip(dated, sure, strict=True) if is_sure]
        _show(connection, kept, dated_faces(kept), fit.low, fit.high, "person", fit.born)


def _fitted(fit: Birth | NoBirth | None) -> dict[str, str | None]:
    columns = ("fitted_birth", "fitted_low", "fitted_high")
    if isinstance(fit, Birth):
        days = (to_date(moment).isoformat() for moment in (fit.born, fit.low, fit.high))
        return {**dict(zip(columns, days, strict=True)), "unfitted": None}
    return {**dict.fromkeys(columns), "unfitted": fit.reason if fit else None}


def _show(
    connection: Connection,
    rows: Sequence[PersonFaceRow],
    faces: DatedFaces,
    first: float,
    last: float,
    source: str,
    born: float | None = None,
) -> None:
    """Make ages from a birth date between `first` and `last` the current estimates of these faces."""
    born = (first + last) / 2 if born is None else born
    low = faces.taken - faces.taken_error - last
    high = faces.taken + faces.taken_error - first
    found: list[dict[str, Any]] = []
    for row, age, age_low, age_high in zip(rows, faces.taken - born, low, high, strict=True):
        if age_high >= 0 and age_low <= OLDEST:  # else the date or the name is wrong: the face is believed
            years = (round(max(0.0, float(value)), 3) for value in (age, age_low, age_high))
            found.append(
                {
                    "face_id": row.face,
                    "checkpoint_id": row.checkpoint,
                    **dict(zip(("age", "age_low", "age_high"), years, strict=True)),
                    "age_source": source,
                    "current": True,
                    "latest": False,
                }
            )
    for some in chunks([values["face_id"] for values in found]):
        own = StoredEstimate.face_id.in_(some)
        connection.execute(update(StoredEstimate).where(own).values(current=False))
    if found:
        connection.execute(insert(StoredEstimate), found)
