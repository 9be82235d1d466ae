"""What the user says about persons: names, birth dates, who is who. Later groupings keep all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from photoage.database.known import chunks
from photoage.database.persons import composed, person_label
from photoage.database.tables import Embedding, Face, Person, PersonApart, PersonFace, Photo
from photoage.errors import UsageError
from photoage.people.births import year_range
from photoage.people.refresh import drop_empty, show_single

MAX_NAME = 200  # characters


def clean_name(text: str) -> str:
    """A name as it is stored: composed, without spaces around it. Raises `UsageError` for what is none."""
    name = composed(text)
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"{text!r} is not a name")
    if name.removeprefix("#").isdecimal():
        raise UsageError(f"{name}: a name that is a number would be taken for the number of a person")
    return name


def name_person(connection: Connection, person: int, name: str) -> None:
    """Name a person. Raises `UsageError` when another person has the name."""
    name = clean_name(name)
    other = connection.scalar(select(Person.id).where(Person.name == name, Person.id != person))
    if other is not None:
        raise UsageError(
            f"{name}: is the name of another person (#{other}); `photoage people merge` makes them one"
        )
    connection.execute(update(Person).where(Person.id == person).values(name=name))


def new_person(
    connection: Connection, faces: Iterable[int], name: str | None = None, source: str = "user"
) -> int:
    """A new person with these faces (ids), whoever they belonged to; its id.

    Raises `UsageError` where two faces are in one photo, or another person has the name.
    """
    person = int(connection.execute(insert(Person).values().returning(Person.id)).scalar_one())
    if name is not None:
        name_person(connection, person, name)
    add_faces(connection, person, faces, source)
    return person


def add_faces(connection: Connection, person: int, faces: Iterable[int], source: str = "user") -> None:
    """Give faces (ids) to a person, whoever they belonged to, and for good.

    Raises `UsageError` where two faces of the person would be in one photo.
    """
    faces = list(dict.fromkeys(faces))
    for some in chunks(faces):
        connection.execute(delete(PersonFace).where(PersonFace.face_id.in_(some)))
        connection.execute(
            delete(PersonApart).where(PersonApart.face_id.in_(some), PersonApart.person_id == person)
        )
    rows = [{"face_id": face, "person_id": person, "source": source} for face in faces]
    if rows:
        connection.execute(insert(PersonFace), rows)
    _check_photos(connection, person)
    drop_empty(connection)


def give_to(connection: Connection, name: str, faces: Iterable[int]) -> int:
    """Give faces (ids) to the person with this name, or to a new one; the person's id."""
    person = connection.scalar(select(Person.id).where(Person.name == clean_name(name)))
    if person is None:
        return new_person(connection, faces, name)
    add_faces(connection, person, faces)
    return int(person)


def merge_persons(connection: Connection, into: int, others: Collection[int]) -> None:
    """Make several persons one, under the number and, if it has one, the name of `into`.

    Of their birth dates, the most precise counts. Raises `UsageError` where these contradict each other, or
    where two faces would be in one photo.
    """
    persons = [into, *dict.fromkeys(other for other in others if other != into)]
    rows = {
        row.id: row
        for row in connection.execute(
            select(Person.id, Person.name, Person.birth_date).where(Person.id.in_(persons))
        )
    }
    name = next((name for person in persons if (name := rows[person].name)), None)
    births = dict.fromkeys(birth for person in persons if (birth := rows[person].birth_date))
    birth_date = max(births, key=len, default=None)
    if birth_date and not all(birth_date.startswith(birth) for birth in births):
        raise UsageError(f"they have different birth dates: {', '.join(births)}")
    for some in chunks(persons[1:]):
        faces = update(PersonFace).where(PersonFace.person_id.in_(some))
        connection.execute(faces.values(person_id=into, source="user"))
        # What was told apart from one of them is told apart from all; it may have been told so of both.
        known = select(PersonApart.face_id).where(PersonApart.person_id == into)
        apart = update(PersonApart).where(PersonApart.person_id.in_(some), PersonApart.face_id.not_in(known))
        for other in some:
            connection.execute(apart.where(PersonApart.person_id == other).values(person_id=into))
        connection.execute(delete(Person).where(Person.id.in_(some)))
    connection.execute(update(Person).where(Person.id == into).values(name=name, birth_date=birth_date))
    own = select(PersonFace.face_id).where(PersonFace.person_id == into)
    connection.execute(delete(PersonApart).where(PersonApart.person_id == into, PersonApart.face_id.in_(own)))
    _check_photos(connection, into)


def take_out(connection: Connection, person: int, faces: Collection[int]) -> None:
    """These faces (ids) do not show this person. They belong to nobody until the next grouping.

    Raises `UsageError` for a face that does not belong to the person.
    """
    for some in chunks(list(faces)):
        own = and_(PersonFace.face_id.in_(some), PersonFace.person_id == person)
        gone = connection.execute(delete(PersonFace).where(own)).rowcount
        if gone != len(set(some)):
            raise UsageError(f"{len(set(some)) - gone} of the faces are not of {_label(connection, person)}")
        known = select(PersonApart.face_id).where(PersonApart.person_id == person)
        apart = set(some) - set(connection.scalars(known.where(PersonApart.face_id.in_(some))))
        if apart:
            connection.execute(
                insert(PersonApart), [{"face_id": face, "person_id": person} for face in sorted(apart)]
            )
        connection.execute(update(Embedding).where(Embedding.face_id.in_(some)).values(grouped=False))
    show_single(connection, list(faces))
    drop_empty(connection)


def set_birth_date(connection: Connection, person: int, birth_date: str | None) -> None:
    """Give a person a birth date (`1984`, `1984-06` or `1984-06-12`), or take it away.

    Raises `UsageError` for what is no date, or lies in the future.
    """
    if birth_date is not None:
        try:
            first, _ = year_range(birth_date)
        except ValueError:
            first = None
        if first is None or "T" in birth_date or first > year_range(date.today().isoformat())[1]:
            raise UsageError(f"{birth_date}: is not a day of birth such as 1984-06-12, 1984-06 or 1984")
    connection.execute(update(Person).where(Person.id == person).values(birth_date=birth_date))


def faces_in(connection: Connection, person: int, path: str) -> list[int]:
    """The person's faces (ids) in the photo with this absolute path: one, or none."""
    faces = (
        select(Face.id)
        .join(Photo, Photo.id == Face.photo_id)
        .join(PersonFace, PersonFace.face_id == Face.id)
        .where(Photo.path == path, PersonFace.person_id == person)
    )
    return list(connection.scalars(faces))


def _check_photos(connection: Connection, person: int) -> None:
    """Raises `UsageError` where a person has two faces in one photo."""
    twice = (
        select(Photo.path)
        .join(Face, Face.photo_id == Photo.id)
        .join(PersonFace, PersonFace.face_id == Face.id)
        .where(PersonFace.person_id == person)
        .group_by(Photo.id, Photo.path)
        .having(func.count() > 1)
        .order_by(Photo.path)
    )
    paths = list(connection.scalars(twice))
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise UsageError(
            f"{_label(connection, person)} would be twice in {paths[0]}{more}: split one of them off first"
        )


def _label(connection: Connection, person: int) -> str:
    return person_label(person, connection.scalar(select(Person.name).where(Person.id == person)))
