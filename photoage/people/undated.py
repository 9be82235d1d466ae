"""Photos without a trusted date, and photos whose date their people's ages contradict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date as Day
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, and_, or_, select, type_coerce
from sqlalchemy.types import Text

from photoage.database.connect import database_errors, database_name, reading
from photoage.database.globs import path_tests
from photoage.database.known import chunks
from photoage.database.persons import person_label
from photoage.database.tables import (
    Embedding,
    Face,
    PathText,
    Person,
    PersonFace,
    Photo,
    StoredEstimate,
    encode_path,
)
from photoage.people.births import TAIL, habitual_error, to_date, year_range
from photoage.people.find import load_faces
from photoage.people.posterior import CONTRADICTION, KnownFace, contradiction, date_photo
from photoage.people.references import TRUSTED, Reference, References
from photoage.people.resemblance import resembled_persons

MOST_YEARS = 40.0  # of an interval: a wider one tells nothing


class SuggestedDate(NamedTuple):
    """When a photo was taken by the ages of its people: days, the bounds those of a 90 % interval.

    `persons` who told it, the surest first; those in `resembling` are not found to be in the photo, but a
    face resembles them. `taken_at` is the date that the photo has, from `date_source`. `contradiction`: how
    many times less likely the faces are with that date than with the best one.
    """

    path: str
    date: Day
    low: Day
    high: Day
    persons: tuple[str, ...]
    taken_at: str | None
    date_source: str | None
    contradiction: float | None
    resembling: tuple[str, ...]


def suggest_dates(engine: Engine, *, path_glob: str | None = None) -> Iterator[SuggestedDate]:
    """Photos without a date from a TRUSTED source, by path, with the date that their people tell."""
    untrusted = or_(Photo.taken_at.is_(None), Photo.date_source.not_in(TRUSTED))
    faces = _faces(path_glob).where(untrusted)
    faces = faces.outerjoin(Embedding, Embedding.face_id == Face.id).add_columns(Embedding.vector)
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        references, given = References(connection), _given(connection)
        for photo in _photos(engine, faces):
            for place, (face, vector) in enumerate(zip(photo.faces, photo.vectors, strict=True)):
                reference = references.of(face.person)
                if reference is not None:
                    likeness = None if vector is None else reference.likeness(vector, face.born)
                    freed = _freed(face, reference) if face.person in given else face
                    photo.faces[place] = replace(freed, likeness=likeness)
            suggested = _suggested(photo, None)
            if suggested is not None:
                yield suggested


def implausible_dates(engine: Engine, *, path_glob: str | None = None) -> Iterator[SuggestedDate]:
    """Photos with a date that the ages of their people contradict by more than chance allows, by path.

    Also after what the model is wont to make of persons with a given birth date. A false date may be what
    keeps a face from its person: resemblance.py.
    """
    found = _photos(engine, _faces(path_glob).where(Photo.taken_at.is_not(None)))
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        references, given = References(connection), _given(connection)
        for photo in _together(found, _resembling(engine, path_glob)):
            times = _contradiction(photo)
            if times >= CONTRADICTION and not given.isdisjoint(photo.labels):
                for place, face in enumerate(photo.faces):
                    reference = references.of(face.person) if face.person in given else None
                    photo.faces[place] = face if reference is None else _freed(face, reference)
                times = _contradiction(photo)
            if times >= CONTRADICTION and (suggested := _suggested(photo, times)) is not None:
                yield suggested


def _contradiction(photo: _Photo) -> float:
    first, last = year_range(photo.taken_at or "")
    return contradiction(photo.faces, (first + last) / 2, (last - first) / 2)


def _given(connection: Connection) -> set[int]:
    """The persons whose birth date the user gave."""
    return set(connection.scalars(select(Person.id).where(Person.birth_date.is_not(None))))


class _Photo(NamedTuple):
    path: str
    taken_at: str | None
    date_source: str | None
    faces: list[KnownFace]
    labels: dict[int, str]
    vectors: list[bytes | None]  # embeddings of the faces, where they are asked for
    resembling: frozenset[int] = frozenset()  # persons whom a face of the photo only resembles


def _faces(path_glob: str | None) -> Select[*tuple[Any, ...]]:
    """Faces of persons with a birth date, photo by photo."""
    born = or_(Person.birth_date.is_not(None), Person.fitted_birth.is_not(None))
    columns = (
        Photo.path,
        type_coerce(Photo.taken_at, Text),
        Photo.date_source,
        Person.id,
        Person.name,
        Person.birth_date,
        Person.fitted_birth,
        Person.fitted_low,
        Person.fitted_high,
        StoredEstimate.age,
        StoredEstimate.age_low,
        StoredEstimate.age_high,
    )
    faces: Select[*tuple[Any, ...]] = (
        select(*columns)
        .join(PersonFace, PersonFace.person_id == Person.id)
        .join(Face, Face.id == PersonFace.face_id)
        .join(Photo, Photo.id == Face.photo_id)
        .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
        .where(born, Photo.status == "done")
        .order_by(Photo.path, Face.face_index)
    )
    return _in_path(faces, path_glob)


def _in_path(faces: Select[*tuple[Any, ...]], path_glob: str | None) -> Select[*tuple[Any, ...]]:
    if path_glob is None:
        return faces
    return faces.where(*path_tests(type_coerce(Photo.path, PathText), path_glob))


def _photos(engine: Engine, faces: Select[*tuple[Any, ...]]) -> Iterator[_Photo]:
    name = database_name(engine.url)
    with database_errors(name), engine.connect() as connection, reading(connection).execute(faces) as rows:
        photo: _Photo | None = None
        for path, taken_at, source, person, called, birth, fitted, low, high, age, *more in rows:
            if photo is None or path != photo.path:
                if photo is not None:
                    yield photo
                photo = _Photo(path, taken_at, source, [], {}, [])
            born = _moments(birth) if birth else _moments(fitted, low, high)
            age_low, age_high, *vector = more
            photo.faces.append(KnownFace(person, *born, age, age_low, age_high))
            photo.vectors.extend(vector)
            photo.labels[person] = person_label(person, called)
        if photo is not None:
            yield photo


def _resembling(engine: Engine, path_glob: str | None) -> list[_Photo]:
    """Faces that resemble a person in spite of their photo's date, photo by photo."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        labels, born = _births(connection)
        ids, faces = load_faces(connection)
        years = {person: (middle, (high - low) / (2 * TAIL)) for person, (middle, low, high) in born.items()}
        person = {int(ids[row]): known for row, known in resembled_persons(faces, years).items()}
        columns = (
            *(Face.id, Photo.path, type_coerce(Photo.taken_at, Text), Photo.date_source),
            *(StoredEstimate.age, StoredEstimate.age_low, StoredEstimate.age_high),
        )
        stored: Select[*tuple[Any, ...]] = (
            select(*columns)
            .join(Photo, Photo.id == Face.photo_id)
            .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.latest))
            .where(Photo.status == "done")
        )
        found = []
        for some in chunks(list(person)):
            rows = connection.execute(_in_path(stored, path_glob).where(Face.id.in_(some)))
            for face, path, taken_at, source, *estimate in rows:
                who = person[face]
                known = KnownFace(who, *born[who], *estimate)
                label = {who: labels[who]}
                found.append(_Photo(path, taken_at, source, [known], label, [], frozenset([who])))
    return sorted(found, key=_path)


def _births(connection: Connection) -> tuple[dict[int, str], dict[int, tuple[float, float, float]]]:
    """How persons with a birth date are called, and the birth date as moments in years."""
    columns = (Person.birth_date, Person.fitted_birth, Person.fitted_low, Person.fitted_high)
    labels, born = {}, {}
    for number, name, given, fitted, low, high in connection.execute(
        select(Person.id, Person.name, *columns)
    ):
        if given or fitted:
            labels[number] = person_label(number, name)
            born[number] = _moments(given) if given else _moments(fitted or "", low, high)
    return labels, born


def _path(photo: _Photo) -> str:
    """By which the database sorts photos."""
    return encode_path(photo.path)


def _together(*photos: Iterable[_Photo]) -> Iterator[_Photo]:
    """Photos by path, those of one path made one."""
    for _, same in groupby(merge(*photos, key=_path), key=_path):
        first, *others = same
        for other in others:
            first.faces.extend(other.faces)
            first.labels.update(other.labels)
        yield first._replace(resembling=frozenset().union(*(photo.resembling for photo in [first, *others])))


def _freed(face: KnownFace, reference: Reference) -> KnownFace:
    """The face with an estimate free of the error that the model habitually makes with this person."""
    error = habitual_error(reference.faces, face.born, face.age)
    age, low, high = (max(0.0, value - error) for value in (face.age, face.low, face.high))
    return replace(face, age=age, low=low, high=high)


def _moments(birth: str, low: str | None = None, high: str | None = None) -> tuple[float, float, float]:
    """A birth date and its bounds as moments in years."""
    first, last = year_range(birth)
    return (
        (first + last) / 2,
        first if low is None else year_range(low)[0],
        last if high is None else year_range(high)[1],
    )


def _suggested(photo: _Photo, times: float | None) -> SuggestedDate | None:
    told = date_photo(photo.faces, year_range(Day.today().isoformat())[1])
    if told is None or told.high - told.low > MOST_YEARS:
        return None
    taken, low, high = (to_date(moment) for moment in (told.taken, told.low, told.high))
    persons = tuple(photo.labels[person] for person in told.persons)
    resembling = tuple(photo.labels[person] for person in told.persons if person in photo.resembling)
    source = photo.date_source
    return SuggestedDate(photo.path, taken, low, high, persons, photo.taken_at, source, times, resembling)
