"""A family in a database: synthetic embeddings, real dates, and ages as a model might see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from databases import CHECKPOINT, DETECTOR, Place, opened
from sqlalchemy import Connection, select

from photoage.database.changes import changing
from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.database.store import Store
from photoage.database.tables import Face, PersonFace, Photo
from photoage.faces.recogniser import DIMENSIONS
from photoage.people.find import FoundPersons, find_persons
from photoage.people.grouping import FaceSet
from photoage.people.names import name_person
from photoage.people.refresh import refresh_persons
from photoage.records import Detection, Estimate, PhotoDate, PhotoFaces, PhotoFile

RECOGNISER = ("arc", "e" * 64)
SAME = 0.55  # cosine of two faces of one person
# Birth years, and the years of their photos; Anna and Berta are together in those of both.
FAMILY = {"anna": 1950, "berta": 1980, "carl": 1952}
YEARS = {
    "anna": range(1954, 2014, 5), "berta": range(1984, 2014, 5), "carl": range(1960, 2012, 4)
}  # fmt: skip
ERRORS = (1.5, -2.0, 0.5, 2.5, -1.0, -0.5)  # of the estimates, in turn


def direction(seed: int) -> npt.NDArray[np.float64]:
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return vector / np.linalg.norm(vector)


def embedding(person: str, photo: int) -> npt.NDArray[np.float16]:
    """One of a person's embeddings; those of two persons are nearly at right angles."""
    own = direction(sum(map(ord, person)) * 1000)
    vector = np.sqrt(SAME) * own + np.sqrt(1 - SAME) * direction(hash_of(person, photo))
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def faces_of(
    who: list[int], same: float = 0.55, born: dict[int, float] | None = None, seed: int = 0
) -> FaceSet:
    """One face for each entry, of the person that it names, each in a photo of its own."""
    number = len(who)
    noise = np.array([direction(seed + 100_000 + i) for i in range(number)])
    vectors = np.sqrt(same) * np.array([direction(seed + i) for i in who]) + np.sqrt(1 - same) * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    years = np.array([born[i] if born else np.nan for i in who], np.float32)
    return FaceSet(
        vectors.astype(np.float16),
        np.arange(number, dtype=np.int64),
        np.full(number, 30, np.float32),
        years,
        np.full(number, 4, np.float32),
        np.zeros(number, np.int64),
        np.ones(number, bool),
    )


def hash_of(person: str, photo: int) -> int:
    return sum(map(ord, person)) * 100_000 + photo


def face(place: int) -> Detection:
    x = 10.0 + 100 * place
    return Detection((x, 20.0, x + 80, 120.0), np.zeros((5, 2), np.float32), 0.9)


def path_of(year: int, person: str = "") -> str:
    return f"/family/{year}{person and '-' + person}.jpg"


def photo(
    path: str,
    year: int | None,
    people: Sequence[str],
    ages: Sequence[float] | None = None,
    with_people: bool = True,
) -> tuple[PhotoFile, PhotoFaces, list[Estimate]]:
    """What a scan with --people stores of a photo of these people, taken in the middle of a year."""
    taken = None if year is None else PhotoDate(year, 7, 1)
    number = year or 0
    if ages is None:
        assert year is not None
        ages = [
            max(0.5, year + 0.5 - FAMILY.get(name, 1960) - 0.5 + ERRORS[(number + i) % len(ERRORS)])
            for i, name in enumerate(people)
        ]
    estimates = [Estimate(age, max(0.0, age - 3 - age / 10), age + 3 + age / 10) for age in ages]
    vectors = np.array([embedding(name, number) for name in people]) if with_people else None
    file = PhotoFile(path, 1000 + sum(map(ord, path)), 1, "", taken, taken and "exif")
    found = tuple(face(place) for place in range(len(people)))
    return file, PhotoFaces(path, 640, 480, found, 0, vectors), estimates


def family_photos() -> list[tuple[PhotoFile, PhotoFaces, list[Estimate]]]:
    years: dict[int, list[str]] = {}
    for name in ("anna", "berta"):
        for year in YEARS[name]:
            years.setdefault(year, []).append(name)
    photos = [photo(path_of(year), year, people) for year, people in years.items()]
    photos += [photo(path_of(year, "carl"), year, ["carl"]) for year in YEARS["carl"]]
    photos += [photo(path_of(year, "stranger"), year, [f"stranger {year}"]) for year in range(1990, 2000)]
    return photos


def begin(store: Store, checkpoint: tuple[str, str] = CHECKPOINT) -> int:
    return store.begin_run(["/family"], {}, DETECTOR, checkpoint, None, RECOGNISER)


def store_family(place: Place) -> None:
    with Store.open(place) as store:
        begin(store)
        store.save_many(family_photos())
        store.commit()


def persons_of(place: Place) -> dict[str, set[str]]:
    """Who is on the photos: the paths, with the number of the face, of every person."""
    found: dict[str, set[str]] = {}
    with opened(place, read_only=True) as engine:
        for row in iter_faces(engine, FaceFilter()):
            if row.person is not None:
                found.setdefault(row.person, set()).add(f"{Path(row.path).stem}#{row.face_index}")
    return found


def find(place: Place, *, anew: bool = False) -> FoundPersons:
    with changing(place) as connection:
        return find_persons(connection, anew=anew)


def rows(place: Place, **wanted: object) -> list[FaceRow]:
    with opened(place, read_only=True) as engine:
        return list(iter_faces(engine, FaceFilter(**wanted)))  # type: ignore[arg-type]


def number_of(connection: Connection, name: str) -> int:
    """The person who was found to be on the first photo of somebody of the family."""
    year = YEARS[name][0]
    path, place = path_of(year, "carl" if name == "carl" else ""), int(name == "berta")
    face = select(Face.id).join(Photo).where(Photo.path == path, Face.face_index == place).scalar_subquery()
    return connection.execute(select(PersonFace.person_id).where(PersonFace.face_id == face)).scalar_one()


def expected() -> dict[str, set[str]]:
    faces = {
        "Anna": {f"{year}#0" for year in YEARS["anna"]},
        "Berta": {f"{year}#{int(year in YEARS['anna'])}" for year in YEARS["berta"]},
        "Carl": {f"{year}-carl#0" for year in YEARS["carl"]},
    }
    return faces


def name_family(place: Place) -> None:
    """Store the family, find its persons and name them."""
    store_family(place)
    find(place)
    with changing(place) as connection:
        for each in FAMILY:
            name_person(connection, number_of(connection, each), each.title())
        refresh_persons(connection)
