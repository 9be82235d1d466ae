"""Embeddings to persons, without a database."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from family import faces_of

from photoage.people import neighbours
from photoage.people.grouping import FaceSet, Ids, group
from photoage.people.neighbours import nearest_pairs


def same_as(found: Ids, who: list[int]) -> bool:
    """Whether faces have one person exactly where `who` says so; a person of one face has none."""
    expected = {person for person in who if who.count(person) > 1}
    labels = {
        person: {int(found[i]) for i, other in enumerate(who) if other == person} for person in set(who)
    }
    known = [labels[person] for person in expected]
    return (
        all(len(label) == 1 and 0 not in label for label in known)
        and len(set.union(*known)) == len(known)
        and all(labels[person] == {0} for person in set(who) - expected)
    )


def test_faces_of_one_person_are_found_to_be_one_and_strangers_nobody() -> None:
    who = [1] * 10 + [2] * 5 + [3] * 3 + list(range(10, 60))
    assert same_as(group(faces_of(who)), who)


def test_no_face_is_no_person() -> None:
    assert group(_some(faces_of([1]), slice(0))).shape == (0,)


def test_an_index_of_nearest_neighbours_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    who = [1] * 10 + [2] * 5 + [3] * 3 + list(range(10, 60))
    exactly = group(faces_of(who))
    monkeypatch.setattr(neighbours, "EXACT", 1)
    assert same_as(group(faces_of(who)), who)
    assert (group(faces_of(who)) == exactly).all()


def test_nearest_pairs_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = faces_of([1] * 20 + list(range(10, 50))).embeddings
    whole = nearest_pairs(vectors, None, 5, 0.0)
    monkeypatch.setattr(neighbours, "EXACT", 61)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert (nearest_pairs(vectors, None, 5, 0.0) == whole).all()
    some = nearest_pairs(vectors, np.array([3, 50]), 5, 0.0)
    assert len(some) >= 5
    assert (np.isin(some, [3, 50]).any(axis=1)).all()


def test_a_few_new_faces_among_many_need_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = faces_of([1] * 20 + list(range(10, 50))).embeddings
    few = np.array([3, 7, 50])
    exactly = nearest_pairs(vectors, few, 5, 0.0)
    monkeypatch.setattr(neighbours, "EXACT", 5)
    monkeypatch.setattr(neighbours, "_indexed", lambda *_: pytest.fail("all faces were indexed"))
    assert (nearest_pairs(vectors, few, 5, 0.0) == exactly).all()


def test_two_faces_of_one_photo_are_two_persons() -> None:
    faces = faces_of([1] * 6)
    faces.photo[:2] = 0
    found = group(faces)
    assert found[0] != found[1]
    assert len(set(found.tolist())) == 2


def test_birth_years_far_apart_are_two_persons() -> None:
    who = [1] * 4 + [2] * 4
    faces = faces_of([1] * 8, same=0.5)
    assert len(set(group(faces).tolist())) == 1
    faces.born = np.array([1950] * 4 + [2015] * 4, np.float32)
    assert same_as(group(faces), who)


def test_copies_of_one_picture_are_one_person_whatever_their_dates() -> None:
    faces = faces_of([1] * 2, same=0.95)
    faces.born = np.array([1950, 2015], np.float32)
    assert len(set(group(faces).tolist())) == 1


def test_new_faces_join_the_persons_that_there_are() -> None:
    who = [1] * 8 + [2] * 8 + [3] * 2
    faces = faces_of(who)
    first = _some(faces, slice(0, 12))
    found = group(first)
    numbers = {label: 7 + i for i, label in enumerate(sorted({*found.tolist()} - {0}))}
    known = np.array([numbers[label] for label in found.tolist()] + [0] * 6)
    again = replace(faces, person=known, fresh=np.arange(18) >= 12)
    result = group(again)
    assert (result[:12] == known[:12]).all()
    assert same_as(result, who)
    assert (result[16:] < 0).all()


def test_what_was_grouped_before_is_left_alone() -> None:
    faces = faces_of([1] * 6)
    faces.fresh[:] = False
    assert (group(faces) == 0).all()


def test_persons_of_the_user_stay_two_but_take_faces_in() -> None:
    faces = faces_of([1] * 9)
    faces.person[:3], faces.person[3:6] = 5, 6
    found = group(replace(faces, kept=frozenset({5, 6})))
    assert (found[:3] == 5).all()
    assert (found[3:6] == 6).all()
    assert set(found[6:].tolist()) <= {5, 6}
    assert len(set(group(faces).tolist())) == 1  # two that were only found are one


def test_a_person_of_the_user_is_who_is_left_of_two() -> None:
    faces = faces_of([1] * 9)
    faces.person[:2], faces.person[2:9] = 5, 6
    faces.fresh[:] = True
    assert (group(replace(faces, kept=frozenset({5}))) == 5).all()
    assert (group(faces) == 6).all()  # else it is the larger one


def test_a_face_that_the_user_took_away_never_comes_back() -> None:
    faces = faces_of([1] * 6)
    faces.person[:5] = 5
    assert group(faces)[5] == 5
    assert group(replace(faces, apart=[(5, 5)]))[5] != 5


def test_many_faces_of_one_person_are_one_person() -> None:
    who = [1] * 400 + [2] * 300 + list(range(10, 100))
    assert same_as(group(faces_of(who, same=0.5)), who)


def _some(faces: FaceSet, rows: slice) -> FaceSet:
    columns = ("embeddings", "photo", "age", "born", "born_error", "person", "fresh")
    return FaceSet(*(getattr(faces, name)[rows] for name in columns))
