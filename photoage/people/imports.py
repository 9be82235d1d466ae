"""Names that other programs gave to faces: each finds its face, and the face its person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from photoage.database.known import chunks
from photoage.database.tables import Face, Person, PersonFace, Photo
from photoage.errors import DecodeError, UsageError
from photoage.paths import is_remote
from photoage.people.digikam import read_digikam
from photoage.people.names import add_faces, clean_name, name_person, new_person
from photoage.photos.orientation import as_stored, stored_orientation
from photoage.photos.regions import FolderNames, NamedPeople
from photoage.records import Box, overlap

LEAST_OVERLAP = 0.15  # IoU of a region with its face: programs draw faces of very different sizes
CLEARLY = 2.0  # times that the best face must overlap more than the next one
AS_TURNED = {0: 1, 90: 6, 180: 3, 270: 8}  # degrees that a photo was turned by -> the same as an orientation


class PhotoWithFaces(NamedTuple):
    """A photo to find names for. `boxes`: x1, y1, x2, y2 from 0 to 1 of the upright photo, by face id."""

    path: str
    turn: int
    boxes: dict[int, Box]


@dataclass(slots=True)
class Imported:
    """What became of the names found: faces named, and what the user has to decide, in words."""

    persons: int = 0
    named: dict[int, str] = field(default_factory=dict)  # face id -> name
    paths: dict[int, str] = field(default_factory=dict)  # face id -> its photo
    unmatched: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def import_people(connection: Connection, digikam: Path | None = None) -> Imported:
    """Find and assign the names in the photos' metadata, or in a digiKam database, in an open transaction.

    Raises `PhotoageError` when the digiKam database cannot be read.
    """
    found = Imported()
    photos = list(photos_with_faces(connection))
    folders = FolderNames()
    known = None if digikam is None else read_digikam(digikam, [photo.path for photo in photos])
    for photo in photos:
        if known is not None:
            people = known.get(photo.path, NamedPeople())
        elif is_remote(photo.path):
            continue
        else:
            people = folders.people_of(photo.path)
        if people.regions or people.names:
            match(photo, people, _orientation(photo.path), found)
    found.persons = assign(connection, found)
    return found


def _orientation(path: str) -> int:
    try:
        return stored_orientation(path)
    except DecodeError:
        return 1


def photos_with_faces(connection: Connection) -> Iterator[PhotoWithFaces]:
    """All photos that are there and have faces, by path; of those with pages, the faces of the first."""
    columns = (Photo.path, Photo.turn, Photo.width, Photo.height)
    faces = (
        select(Face.id, Face.x1, Face.y1, Face.x2, Face.y2, *columns)
        .join(Photo, Photo.id == Face.photo_id)
        .where(Photo.status == "done", Face.page == 1)
        .order_by(Photo.path, Face.face_index)
    )
    photo: PhotoWithFaces | None = None
    for face, x1, y1, x2, y2, path, turn, width, height in connection.execute(faces):
        if not width or not height:
            continue
        if photo is None or photo.path != path:
            if photo is not None:
                yield photo
            photo = PhotoWithFaces(path, turn, {})
        photo.boxes[face] = (x1 / width, y1 / height, x2 / width, y2 / height)
    if photo is not None:
        yield photo


def match(photo: PhotoWithFaces, people: NamedPeople, orientation: int, found: Imported) -> None:
    """Give the names that are known of a photo to its faces.

    `orientation`: the EXIF orientation of the file. A name without a place counts if the photo has one face.
    """
    stored = {
        face: as_stored(as_stored(box, AS_TURNED[photo.turn]), orientation)
        for face, box in photo.boxes.items()
    }
    claims: dict[int, set[str]] = defaultdict(set)
    for region in people.regions:
        # Some programs mean the photo as it is shown; where only that fits, so did this one.
        face = _face_at(region.box, stored) or _face_at(region.box, photo.boxes)
        if face is None:
            found.unmatched.append(f"{photo.path}: no face where {region.name} is")
        else:
            claims[face].add(region.name)
    if not people.regions and len(photo.boxes) == 1 and len(set(people.names)) == 1:
        claims[next(iter(photo.boxes))].update(people.names)
    for face, names in claims.items():
        if len(names) > 1:
            found.conflicts.append(f"{photo.path}: one face is called {' and '.join(sorted(names))}")
        else:
            found.named[face] = names.pop()
            found.paths[face] = photo.path


def assign(connection: Connection, found: Imported) -> int:
    """Make persons of the names found, in an open transaction; returns how many persons have them.

    A person that the grouping found takes the name that all named faces in it agree on; else the named faces
    alone go to the person of that name. Faces that the user has given to somebody else, and names that differ
    from one already there, are listed under `conflicts` and left as they are.
    """
    groups = _groups(connection, list(found.named))
    by_name: dict[str, list[int]] = defaultdict(list)
    for face, name in found.named.items():
        try:
            by_name[clean_name(name)].append(face)
        except UsageError as error:
            found.conflicts.append(f"{found.paths[face]}: {error}")
    found.named.clear()  # from here on, the faces that got their name
    persons = {name: number for number, name in connection.execute(select(Person.id, Person.name)) if name}
    votes: dict[int, set[str]] = defaultdict(set)
    for name, faces in by_name.items():
        for face in faces:
            if (group := groups.get(face)) is not None:
                votes[group.person].add(name)
    for name, faces in sorted(by_name.items()):
        free = [face for face in faces if _is_free(face, name, groups, found)]
        if name not in persons:
            unnamed = [
                group.person
                for face in free
                if (group := groups.get(face)) is not None
                and group.name is None
                and votes[group.person] == {name}
            ]
            if unnamed:
                persons[name] = max(set(unnamed), key=unnamed.count)
                name_person(connection, persons[name], name)
        try:
            if name in persons:
                add_faces(connection, persons[name], free, "import")
            elif free:
                persons[name] = new_person(connection, free, name, "import")
            found.named.update(dict.fromkeys(free, name))
        except UsageError as error:
            found.conflicts.append(str(error))
    return len(set(found.named.values()))


class _Group(NamedTuple):
    person: int
    name: str | None
    source: str


def _groups(connection: Connection, faces: list[int]) -> dict[int, _Group]:
    found: dict[int, _Group] = {}
    for some in chunks(faces):
        rows = (
            select(PersonFace.face_id, Person.id, Person.name, PersonFace.source)
            .join(Person, Person.id == PersonFace.person_id)
            .where(PersonFace.face_id.in_(some))
        )
        found |= {row.face_id: _Group(row.id, row.name, row.source) for row in connection.execute(rows)}
    return found


def _is_free(face: int, name: str, groups: dict[int, _Group], found: Imported) -> bool:
    """Whether a face may go to the person of this name."""
    group = groups.get(face)
    if group is None or group.name == name or (group.name is None and group.source != "user"):
        return True
    if group.name is not None:
        found.conflicts.append(f"{found.paths[face]}: a face is called {name}, and here {group.name}")
    else:
        found.conflicts.append(
            f"{found.paths[face]}: a face is called {name}, and was given to #{group.person} by you"
        )
    return False


def _face_at(region: Box, boxes: dict[int, Box]) -> int | None:
    """The face (id) that a region is clearly of."""
    best = sorted(((overlap(region, box), face) for face, box in boxes.items()), reverse=True)[:2]
    if not best or best[0][0] < LEAST_OVERLAP:
        return None
    return None if len(best) > 1 and best[0][0] < CLEARLY * best[1][0] else best[0][1]
