"""The page of persons: who was found, some faces of each over time, and a form to name and correct them.

Whatever comes from the database goes into the page as JSON inside a <script> element of a type that is not
run; the script puts it on the page as text, never as markup.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, BinaryIO

from sqlalchemy import Engine, Text, and_, select, type_coerce

from photoage import __version__
from photoage.database.connect import database_errors, database_name
from photoage.database.known import chunks
from photoage.database.persons import PersonRow, list_persons
from photoage.database.tables import Face, PersonFace, Photo, StoredEstimate
from photoage.export.crops import FacePlace, cut_places, stored_points
from photoage.export.html import as_picture, content_policy, embedded, json_text, visible
from photoage.records import PhotoFile

SIZE = 68  # pixels of a picture
MARGIN = 0.2
# Faces that are shown of a person, spread over time: of the first MANY_PERSONS, and of the others.
SHOWN, MANY_PERSONS, SHOWN_OF_OTHERS = 24, 200, 6


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """How many persons and faces a page shows, and how many of the faces without a picture."""

    persons: int
    faces: int
    without_picture: int


def write_people_page(
    engine: Engine,
    out: BinaryIO,
    *,
    least_faces: int = 1,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PeoplePage:
    """Write the persons with `least_faces` or more, and those that have a name, those with most faces first.

    Photos are opened to cut pictures, never changed. `progress` gets the number of faces done and their
    total. Raises `DatabaseError`.
    """
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        persons = [row for row in list_persons(connection) if row.faces]
        persons = [row for row in persons if row.name is not None or row.faces >= least_faces]
        members: dict[int, list[int]] = defaultdict(list)
        faces = (
            select(PersonFace.person_id, PersonFace.face_id)
            .join(Face, Face.id == PersonFace.face_id)
            .join(Photo, Photo.id == Face.photo_id)
            .order_by(Photo.taken_at.is_(None), Photo.taken_at, Photo.path)
        )
        for person, face in connection.execute(faces):
            members[person].append(face)
        chosen = {
            row.id: _spread(members[row.id], SHOWN if place < MANY_PERSONS else SHOWN_OF_OTHERS)
            for place, row in enumerate(persons)
        }
        wanted = [face for faces_of in chosen.values() for face in faces_of]
        known: dict[int, Any] = {}
        for some in chunks(wanted):
            known |= {row.id: row for row in connection.execute(_faces(some))}
    pictures: dict[int, str] = {}
    in_order = sorted(wanted, key=lambda face: known[face].path)  # the faces of a photo from one decode
    places = (_place(known[face]) for face in in_order)
    without = 0
    for done, (face, (crop, _)) in enumerate(
        zip(in_order, cut_places(places, size=SIZE, margin=MARGIN, workers=workers), strict=True), 1
    ):
        pictures[face] = "" if crop is None else as_picture(crop)
        without += crop is None
        progress(done, len(in_order))
    numbers = {face: number for number, face in enumerate(pictures)}
    data = {
        "summary": _summary(persons, len(wanted)),
        "persons": [_person(row, [_face(known[f], numbers[f]) for f in chosen[row.id]]) for row in persons],
    }
    style, script = _asset("page.css"), _asset("page.js")
    page = (
        _asset("page.html")
        .replace("{{policy}}", content_policy(style, script))
        .replace("{{version}}", __version__)
        .replace("{{style}}", style)
        .replace("{{script}}", script)
    )
    head, tail = page.split("{{faces}}")
    out.write(head.encode())
    out.write(embedded("data", "application/json", json_text(data)).encode())
    out.write(embedded("pictures", "text/plain", "\n".join(pictures.values())).encode())
    out.write(tail.encode())
    return PeoplePage(len(persons), len(wanted), without)


def _asset(name: str) -> str:
    return (resources.files("photoage.export.people") / name).read_text(encoding="utf-8")


def _spread(faces: Sequence[int], number: int) -> list[int]:
    """At most `number` of the faces, evenly spread, the first and the last among them."""
    if len(faces) <= number:
        return list(faces)
    return [faces[round(place * (len(faces) - 1) / (number - 1))] for place in range(number)]


def _faces(ids: Sequence[int]) -> Any:
    return (
        select(
            Face.id,
            Face.landmarks,
            StoredEstimate.age,
            Photo.path,
            Photo.size,
            Photo.mtime_ns,
            Photo.width,
            Photo.height,
            Photo.turn,
            type_coerce(Photo.taken_at, Text).label("taken_at"),
        )
        .join(Photo, Photo.id == Face.photo_id)
        .join(StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.current))
        .where(Face.id.in_(ids))
    )


def _place(row: Any) -> FacePlace:
    file = PhotoFile(row.path, row.size, row.mtime_ns)
    return FacePlace(file, row.width, row.height, stored_points(row.landmarks), row.turn)


def _person(row: PersonRow, shown: list[dict[str, Any]]) -> dict[str, Any]:
    fitted = None
    if row.fitted_birth and row.birth_date is None:
        fitted = f"{row.fitted_birth[:4]} ({(row.fitted_low or '')[:4]} to {(row.fitted_high or '')[:4]})"
    return {
        "id": row.id,
        "name": row.name and visible(row.name),
        "birth": row.birth_date,
        "fitted": fitted,
        "faces": row.faces,
        "shown": shown,
    }


def _face(row: Any, picture: int) -> dict[str, Any]:
    date = (row.taken_at or "")[:10]
    return {"id": row.id, "date": date, "age": round(row.age), "path": visible(row.path), "picture": picture}


def _summary(persons: Sequence[PersonRow], shown: int) -> str:
    faces, named = sum(row.faces for row in persons), sum(row.name is not None for row in persons)
    return f"{len(persons)} persons with {faces} faces, {named} named; {shown} faces are shown"
