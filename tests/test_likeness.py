"""Undated photos told by how alike a face is to the same person's dated ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from databases import Place, opened
from family import begin, direction, photo
from sqlalchemy import delete, select

from photoage.database.changes import changing
from photoage.database.store import Store
from photoage.database.tables import Embedding, Face, Photo
from photoage.people.births import DatedFaces, Floats
from photoage.people.grouping import grown
from photoage.people.likeness import DECAY, NEAREST, Likeness, likeness_score
from photoage.people.names import new_person, set_birth_date
from photoage.people.posterior import KnownFace, PeopleDate, date_photo
from photoage.people.references import Reference
from photoage.people.refresh import refresh_persons
from photoage.people.undated import suggest_dates
from photoage.records import Embeddings

BORN = 1970.0
DATED = np.arange(1972.0, 2010.0, 4)


def likeness(taken: float, dated: Floats = DATED, less: float = 0.0) -> Likeness:
    """What the cosines with dated faces are on average, or all a little less."""
    gap = np.abs(grown(dated - BORN) - grown(np.full(1, taken - BORN)))
    return Likeness(dated, NEAREST * np.exp(-gap / DECAY) - less)


def told(age: float, alike: Likeness | None) -> PeopleDate:
    found = date_photo([KnownFace(1, BORN, BORN, BORN, age, age - 8, age + 8, alike)], 2026.0)
    assert found is not None
    return found


def test_a_face_is_most_likely_of_the_time_of_those_that_it_resembles_most() -> None:
    moments = np.arange(BORN, 2020, 0.1)
    for taken in (1974.0, 1981.0):
        for less in (0.0, 0.1):  # a bad picture is less alike to all of them
            best = moments[likeness_score(likeness(taken, less=less), BORN, moments).argmax()]
            assert abs(best - taken) < 3


def test_likeness_mends_an_age_that_is_wrong() -> None:
    alone = told(16.0, None)
    both = told(16.0, likeness(1980.0))  # ten years old in truth
    assert abs(alone.taken - 1986) < 1
    assert abs(both.taken - 1980) < abs(alone.taken - 1980) / 2
    assert both.high - both.low < alone.high - alone.low


def test_many_faces_of_one_time_tell_little_more_than_some() -> None:
    some = told(12.0, likeness(1980.0, np.repeat(DATED, 2)))
    many = told(12.0, likeness(1980.0, np.repeat(DATED, 50)))
    assert many.high - many.low > 0.7 * (some.high - some.low)


def test_nothing_to_compare_with_changes_nothing() -> None:
    assert told(12.0, Likeness(np.empty(0), np.empty(0))) == told(12.0, None)


def face_at(year: int, noise: int) -> Embeddings:
    """An embedding that turns as the person grows."""
    turn = 2.2 * float(grown(np.full(1, year - BORN))[0])
    vector = np.cos(turn) * direction(1) + np.sin(turn) * direction(2) + 0.5 * direction(100 + noise)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


@pytest.fixture
def grown_up(new_database: Callable[[], Place]) -> Place:
    """A person born in 1970, in ten dated photos and an undated one of 1978, in which they look 16."""
    place = new_database()
    with Store.open(place) as store:
        begin(store)
        for year in (*range(1972, 2012, 4), None):
            path = f"/family/{year}.jpg"
            file, faces, estimates = photo(path, year, ["x"], [year - BORN + 0.5 if year else 16.0])
            vector = face_at(year or 1978, year or 0)
            store.save_many([(file, replace(faces, embeddings=vector[None]), estimates)])
        store.commit()
    with changing(place) as connection:
        faces = connection.scalars(select(Face.id).join(Photo, Photo.id == Face.photo_id)).all()
        set_birth_date(connection, new_person(connection, faces, "Xaver"), "1970")
        refresh_persons(connection)
    return place


def test_undated_photos_are_told_by_likeness_too(grown_up: Place) -> None:
    with opened(grown_up, read_only=True) as engine:
        (found,) = suggest_dates(engine)
        assert abs(found.date.year - 1978) <= 4  # by the age alone: 1986
    with changing(grown_up) as connection:
        connection.execute(delete(Embedding))
    with opened(grown_up, read_only=True) as engine:
        (found,) = suggest_dates(engine)
        assert abs(found.date.year - 1986) <= 2


def test_faces_with_a_false_date_are_not_compared_with() -> None:
    taken = np.array([1980.0, 1990.0, 2024.0])  # the last shows a face of twelve years
    age = np.array([10.0, 20.0, 12.0])
    faces = DatedFaces(taken, np.zeros(3), age, age - 4, age + 4)
    vectors = np.array([direction(seed) for seed in (1, 2, 3)], np.float32)
    reference = Reference(faces, np.arange(3), vectors)
    found = reference.likeness(vectors[1].astype("<f2").tobytes(), BORN)
    assert found.taken.tolist() == [1980.0, 1990.0]
    assert found.cosine[1] == pytest.approx(1.0, abs=0.01)
