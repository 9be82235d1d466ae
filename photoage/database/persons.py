"""Who is in the database: persons, by number or name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Text, exists, func, select, type_coerce

from photoage.database.connect import database_errors, database_name
from photoage.database.tables import Face, Person, PersonFace, Photo
from photoage.errors import UsageError

_NUMBER = re.compile(r"#?([0-9]+)")


class PersonRow(NamedTuple):
    """A person. Dates are ISO 8601 text, as precise as they are known.

    `birth_date` is the user's; the fitted one has the bounds of a 90 % interval, or `unfitted` says why there
    is none. `first` and `last`: dates of the earliest and the latest photo.
    """

    id: int
    name: str | None
    faces: int
    birth_date: str | None
    fitted_birth: str | None
    fitted_low: str | None
    fitted_high: str | None
    unfitted: str | None
    first: str | None
    last: str | None

    @property
    def label(self) -> str:
        return person_label(self.id, self.name)


def person_label(number: int, name: str | None) -> str:
    """How a person is called: by name, or as `#12`."""
    return name or f"#{number}"


def has_persons(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists().where(PersonFace.face_id.is_not(None)))))


def person_labels(connection: Connection) -> dict[int, str]:
    """How each person is called, by id."""
    return {
        number: person_label(number, name)
        for number, name in connection.execute(select(Person.id, Person.name))
    }


def list_persons(connection: Connection, ids: Iterable[int] | None = None) -> list[PersonRow]:
    """Persons, or only these, those with most faces first."""
    columns = [getattr(Person, name) for name in PersonRow._fields if hasattr(Person, name)]
    number = func.count(PersonFace.face_id)
    dates = [type_coerce(function(Photo.taken_at), Text) for function in (func.min, func.max)]
    persons = (
        select(*columns[:2], number, *columns[2:], *dates)
        .outerjoin(PersonFace, PersonFace.person_id == Person.id)
        .outerjoin(Face, Face.id == PersonFace.face_id)
        .outerjoin(Photo, Photo.id == Face.photo_id)
        .group_by(Person.id)
        .order_by(number.desc(), Person.id)
    )
    if ids is not None:
        persons = persons.where(Person.id.in_(list(ids)))
    return [PersonRow._make(row) for row in connection.execute(persons)]


def stored_persons(engine: Engine) -> list[PersonRow]:
    """All persons, those with most faces first. Raises `DatabaseError`."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        return list_persons(connection)


def composed(name: str) -> str:
    """A name as it is stored, however it was typed: composed letters, single spaces, none around it."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def find_person(connection: Connection, text: str) -> int:
    """The id of the person with this name, else with this number (`12` or `#12`). Raises `UsageError`."""
    found: int | None = connection.scalar(select(Person.id).where(Person.name == composed(text)))
    if found is None and (match := _NUMBER.fullmatch(text)) and len(match[1]) < 19:
        found = connection.scalar(select(Person.id).where(Person.id == int(match[1])))
    if found is None:
        raise UsageError(f"{text}: there is no such person; `photoage people list` shows them")
    return found
