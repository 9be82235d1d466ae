"""Photos chosen by path, folder or pattern, to be forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, or_, select

from photoage.database.connect import database_errors, database_name, reading
from photoage.database.globs import path_tests
from photoage.database.store import Store
from photoage.database.tables import Face, Photo
from photoage.errors import PhotoageError
from photoage.paths import absolute

_WILDCARDS = frozenset("*?[")


class Found(NamedTuple):
    """How many photos were chosen, and how many faces are on them."""

    photos: int
    faces: int


def find(engine: Engine, names: Sequence[str]) -> Found:
    """What `forget` would remove; it raises the same errors."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        return _count(connection, names)


def iter_found(engine: Engine, names: Sequence[str]) -> Iterator[str]:
    """The paths of the photos that `forget` would remove."""
    photos = select(Photo.path).where(_chosen(names)).order_by(Photo.path)
    name = database_name(engine.url)
    with database_errors(name), engine.connect() as connection, reading(connection).scalars(photos) as paths:
        yield from paths


def forget(store: Store, names: Sequence[str]) -> Found:
    """Remove photos with all that is stored of them; no file is touched. Commits.

    A name is a photo, a folder with everything in it, or a pattern as of `FaceFilter.path_glob`. Raises
    `PhotoageError`, with nothing removed, when no photo in the database has one of the names.
    """
    connection = store.known.connection
    with database_errors(store.name):
        found = _count(connection, names)
        connection.execute(delete(Photo).where(_chosen(names)))
    store.commit()
    return found


def _count(connection: Connection, names: Sequence[str]) -> Found:
    for name in names:
        if connection.scalar(select(Photo.id).where(_named(name)).limit(1)) is None:
            raise PhotoageError(f"{name}: no photo in the database has this path; nothing was forgotten")
    photos = connection.scalar(select(func.count()).select_from(Photo).where(_chosen(names))) or 0
    faces = (
        select(func.count()).select_from(Face).join(Photo, Photo.id == Face.photo_id).where(_chosen(names))
    )
    return Found(photos, connection.scalar(faces) or 0)


def _chosen(names: Sequence[str]) -> ColumnElement[bool]:
    return or_(*map(_named, names))


def _named(name: str) -> ColumnElement[bool]:
    """The photos of one name. A file may have wildcards in its name: then it is one of two readings."""
    readings = []
    for path in sorted({absolute(name), os.path.realpath(name)}):
        inside = os.path.join(path, "")
        readings += [
            Photo.path == path,
            and_(Photo.path > inside, Photo.path < inside[:-1] + chr(ord(inside[-1]) + 1)),
        ]
    if _WILDCARDS & set(name):
        readings.append(and_(*path_tests(Photo.path.expression, name)))
    return or_(*readings)
