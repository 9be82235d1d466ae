"""Faces that a false date keeps from their person."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from databases import Place, opened
from family import FAMILY, begin, direction, faces_of, find, persons_of, photo
from small_library import runner

from photoage.database.store import Store
from photoage.people.grouping import FaceSet, group
from photoage.people.resemblance import resembled_persons
from photoage.people.undated import implausible_dates, suggest_dates

PERSON, STRAY = 7, 8  # a person's number, and the row of the first face that is not found to be them
FIELDS = ("age", "born", "born_error", "person", "fresh")
SAME = 0.34  # cosine of two of their faces: no more than two of one person who looks different every time


def strayed(stray: int = 1, strangers: int = 20) -> FaceSet:
    """Eight faces of a person born in 1950, others of theirs with a false date, and strangers."""
    who = [1] * (STRAY + stray) + list(range(10, 10 + strangers))
    faces = faces_of(who, SAME)
    faces.born[:] = 1950
    faces.born[STRAY : STRAY + stray] = 2015
    faces.person[:STRAY] = PERSON
    faces.fresh[:STRAY] = False
    return faces


def resembled(faces: FaceSet) -> dict[int, int]:
    return resembled_persons(faces, {PERSON: (1950.0, 1.0)})


def test_a_face_with_a_false_date_resembles_the_person_that_it_is_kept_from() -> None:
    faces = strayed()
    assert group(faces)[STRAY] == 0
    assert resembled(faces) == {STRAY: PERSON}
    faces.born[STRAY] = 1950
    assert group(faces)[STRAY] == PERSON  # without the false date it is theirs


def test_faces_that_share_a_false_date_resemble_the_person_together() -> None:
    faces = strayed(2)
    faces.person[STRAY : STRAY + 2] = 5  # a person of their own, whom no birth date was fitted to
    assert resembled(faces) == {STRAY: PERSON, STRAY + 1: PERSON}
    assert resembled(replace(faces, kept=frozenset({5}))) == {}  # the user has said that they are somebody
    assert resembled_persons(faces, {PERSON: (1950.0, 1.0), 5: (2015.0, 1.0)}) == {}


def test_a_face_that_resembles_somebody_whom_its_date_allows_is_no_reason() -> None:
    faces = strayed(strangers=0)
    other = faces_of([1] * STRAY, SAME, seed=0)
    other.embeddings = np.roll(faces.embeddings[:STRAY], 1, axis=0)  # as like as the person
    other.person[:] = 6
    both = FaceSet(
        np.concatenate([faces.embeddings, other.embeddings]),
        np.arange(2 * STRAY + 1, dtype=np.int64),
        *(np.concatenate([getattr(faces, name), getattr(other, name)]) for name in FIELDS),
    )
    births = {PERSON: (1950.0, 1.0), 6: (1900.0, 1.0)}
    assert resembled_persons(both, births) != {}
    assert resembled_persons(both, {**births, 6: (2014.0, 1.0)}) == {}


def test_who_is_in_the_photo_already_or_was_told_apart_is_not_resembled() -> None:
    faces = strayed()
    assert resembled(replace(faces, apart=[(STRAY, PERSON)])) == {}
    faces.photo[STRAY] = faces.photo[0]
    assert resembled(faces) == {}


def test_undated_faces_and_strangers_resemble_nobody() -> None:
    faces = strayed()
    faces.born[STRAY:] = np.nan
    assert resembled(faces) == {}
    assert resembled_persons(faces, {}) == {}


@pytest.fixture
def scanned(named: Place) -> Place:
    """The family, and a picture of Berta as a child that bears the date of its scan."""
    file, faces, estimates = photo("/family/scan.jpg", 2024, ["berta", "stranger 1"], ages=[5.0, 30.0])
    own, noise = direction(sum(map(ord, "berta")) * 1000), direction(5)
    vectors = np.array([np.sqrt(0.2) * own + np.sqrt(0.8) * noise, direction(6)], np.float16)
    with Store.open(named) as store:
        begin(store)
        store.save_many([(file, replace(faces, embeddings=vectors), estimates)])
        store.commit()
    find(named)
    return named


def test_a_date_that_keeps_a_face_from_its_person_is_implausible(scanned: Place) -> None:
    assert "scan#0" not in persons_of(scanned)["Berta"]
    with opened(scanned, read_only=True) as engine:
        (found,) = implausible_dates(engine)
        assert found.path == "/family/scan.jpg"
        assert abs(found.date.year - FAMILY["berta"] - 5) <= 3
        assert found.persons == found.resembling == ("Berta",)
        assert list(implausible_dates(engine, path_glob="/elsewhere/*")) == []
        assert list(suggest_dates(engine)) == []


def test_the_command_says_that_a_person_is_only_resembled(scanned: Place) -> None:
    run = runner(scanned)
    assert "by Berta?  instead of 2024-07-01" in run("dates", "--implausible").stdout
    (found,) = json.loads(run("dates", "--implausible", "--json").stdout)
    assert found["persons"] == found["resembling"] == ["Berta"]


def test_without_embeddings_there_is_nothing_to_compare(scanned: Place) -> None:
    runner(scanned)("people", "forget")
    with opened(scanned, read_only=True) as engine:
        assert list(implausible_dates(engine)) == []
