"""Persons among many faces: time and memory of finding, of a few more photos, of questions, of forgetting.

    python benchmarks/people.py [FACES]            a database of FACES (100,000) synthetic faces
    python benchmarks/people.py --group [FACES]    the grouping alone, of FACES (1,000,000) in memory

Four fifths of the faces are of persons, some of whom have thousands of photos and most a few; the others are
strangers. Embeddings are random, with the cosines that FG-NET's have.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from photoage.database.changes import changing
from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces, iter_faces
from photoage.database.store import Store
from photoage.faces.recogniser import DIMENSIONS
from photoage.people.find import find_persons
from photoage.people.forget import forget_persons
from photoage.people.grouping import FaceSet, group
from photoage.people.undated import implausible_dates
from photoage.records import Detection, Embeddings, Estimate, PhotoDate, PhotoFaces, PhotoFile

SAME = 0.5  # cosine of two faces of one person
BLOCK = 20_000


def persons_of(faces: int, rng: np.random.Generator) -> np.ndarray:
    """Who each face shows: a number below 0 for a stranger."""
    sizes = np.maximum(3, (faces * 0.08 / np.arange(1, faces) ** 1.1).astype(int))
    persons = np.repeat(np.arange(len(sizes)), sizes)[: int(faces * 0.8)]
    who = np.concatenate([persons, -1 - np.arange(faces - len(persons))])
    rng.shuffle(who)
    return who


def embeddings_of(who: np.ndarray, rng: np.random.Generator) -> Embeddings:
    centres = rng.standard_normal((int(who.max()) + 1, DIMENSIONS), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found = np.empty((len(who), DIMENSIONS), np.float16)
    for start in range(0, len(who), BLOCK):
        part = who[start : start + BLOCK]
        noise = rng.standard_normal((len(part), DIMENSIONS), dtype=np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        own = np.sqrt(SAME) * centres[np.maximum(part, 0)] + np.sqrt(1 - SAME) * noise
        vectors = np.where((part >= 0)[:, None], own, noise)
        found[start : start + len(part)] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


@contextmanager
def measured(what: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:40} {seconds:8.1f} s {used:8.1f} s of processor   peak {peak:.2f} GiB", flush=True)


def quality(found: np.ndarray, who: np.ndarray) -> str:
    """Pairwise precision and recall, from the sizes of the overlaps."""
    known = found != 0

    def pairs(*labels: np.ndarray) -> int:
        _, sizes = np.unique(np.stack(labels, axis=1), axis=0, return_counts=True)
        return int((sizes.astype(np.int64) * (sizes - 1) // 2).sum())

    together = pairs(found[known], who[known])
    return f"precision {together / pairs(found[known]):.4f}, recall {together / pairs(who):.4f}"


def grouping(faces: int) -> None:
    rng = np.random.default_rng(0)
    who = persons_of(faces, rng)
    vectors = embeddings_of(who, rng)
    born = (1940 + (who * 7919) % 70 + rng.normal(0, 4, faces)).astype(np.float32)
    data = FaceSet(
        vectors,
        np.arange(faces, dtype=np.int64),
        np.full(faces, 30, np.float32),
        born,
        np.full(faces, 4, np.float32),
        np.zeros(faces, np.int64),
        np.ones(faces, bool),
    )
    with measured(f"grouping {faces:,} faces"):
        found = group(data)
    print(quality(found, who))


def photos(
    who: np.ndarray, vectors: Embeddings, first: int, rng: np.random.Generator
) -> Iterator[tuple[PhotoFile, PhotoFaces, list[Estimate]]]:
    for place, (person, vector) in enumerate(zip(who, vectors, strict=True), first):
        year = int(rng.integers(1980, 2026))
        age = max(0.5, year - (1940 + int(person) * 7919 % 70) + float(rng.normal(0, 4)))
        face = Detection((10.0, 10.0, 110.0, 130.0), np.zeros((5, 2), np.float32), 0.9)
        file = PhotoFile(f"/photos/{place:08}.jpg", place, 1, "", PhotoDate(year, 7, 1), "exif")
        faces = PhotoFaces(f"{place:032x}", 640, 480, (face,), 0, vector[None])
        yield file, faces, [Estimate(age, max(0.0, age - 7), age + 7)]


def store(place: Path, who: np.ndarray, vectors: Embeddings, first: int, rng: np.random.Generator) -> None:
    with Store.open(place) as database:
        database.begin_run(["/photos"], {}, ("d", "d"), ("c", "c"), None, ("r", "r"))
        for start in range(0, len(who), 1000):
            part = slice(start, start + 1000)
            database.save_many(photos(who[part], vectors[part], first + start, rng))
            database.commit()


def library(faces: int) -> None:
    rng = np.random.default_rng(0)
    who = persons_of(faces + 100, rng)
    vectors = embeddings_of(who, rng)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "photoage.db"
        with measured(f"storing {faces:,} faces with embeddings"):
            store(place, who[:faces], vectors[:faces], 0, rng)
        with measured("people find"), changing(place) as connection:
            print(find_persons(connection))
        with measured("100 photos more"):
            store(place, who[faces:], vectors[faces:], faces, rng)
        with measured("people find, 100 new ones"), changing(place) as connection:
            print(find_persons(connection))
        engine = open_database(place, read_only=True)
        for wanted in (FaceFilter(persons=("#1",), max_age=30), FaceFilter(age_source="face", max_age=20)):
            with measured(f"query, {count_faces(engine, wanted):,} faces"):
                assert all(row.age <= 30 for row in iter_faces(engine, wanted))
        with measured("dates --implausible"):
            print(sum(1 for _ in implausible_dates(engine)), "photos")
        engine.dispose()
        with measured("people forget"), changing(place) as connection:
            print(forget_persons(connection))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--group"]:
        grouping(int(arguments[1]) if arguments[1:] else 1_000_000)
    else:
        library(int(arguments[0]) if arguments else 100_000)
