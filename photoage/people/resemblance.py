"""Faces that their dates keep from being found to be somebody, and whom they resemble.

A false date implies a false birth year, by which the grouping tells a face from its own person: it stays
alone, or with others of the kind. Compared as if they had no date, such faces resemble a person with a birth
date more than anybody whom their date allows. That is a reason to look at the date, but none to say who it
is: nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from photoage.people.grouping import FaceSet, Floats, GroupingOptions, Ids, Numbers, Rows, grown

# Measured on FG-NET's people among strangers of LFW, as the options of the grouping are.
LESS = 0.09  # similarity below that of one person: there is the date to look at, not a name to believe
MARGIN = 0.15  # similarity by which persons whom the date allows must be less alike
ALLOWED = 2.5  # standard errors up to which birth years agree
BLOCK = 5_000_000  # similarities that are kept at once
OPTIONS = GroupingOptions()


def resembled_persons(
    faces: FaceSet, births: Mapping[int, tuple[float, float]], options: GroupingOptions = OPTIONS
) -> dict[int, int]:
    """The persons whom faces (rows) resemble in spite of their dates.

    `births`: birth years and their standard errors, by person. Looked at are dated faces that belong to
    nobody, or to a person whom the user has said nothing of and who is not in `births`.
    """
    known = np.array(sorted(set(births) & set(faces.person.tolist())), np.int64)
    number = np.where(faces.person != 0, faces.person, -1 - np.arange(len(faces)))
    numbers, group = np.unique(number, return_inverse=True)  # faces of nobody are a group each
    unexplained = ~np.isin(numbers, known) & ~np.isin(numbers, list(faces.kept))
    rows = np.flatnonzero(unexplained[group] & np.isfinite(faces.born))
    if not (len(known) and len(rows)):
        return {}
    size, mean, growth = _means(faces, group, len(numbers))
    place = np.searchsorted(numbers, known)
    born, error = np.array([births[person] for person in known.tolist()]).T
    excluded = _excluded(faces, rows, known)
    found: dict[int, int] = {}
    step = max(1, BLOCK // len(known))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        own = group[some]
        alike = options.similarity(mean[own] @ mean[place].T, size[own, None], size[None, place])
        alike += options.undated * options.growing * np.abs(growth[own, None] - growth[None, place])
        inside = (excluded[0] >= start) & (excluded[0] < start + len(some))
        alike[excluded[0][inside] - start, excluded[1][inside]] = -np.inf
        errors = np.abs(faces.born[some, None] - born) / np.hypot(faces.born_error[some, None], error)
        allowed = np.where(errors <= ALLOWED, alike, -np.inf).max(axis=1)
        best = alike.argmax(axis=1)
        most = alike[np.arange(len(some)), best]
        sure = (most >= options.least(len(faces)) - LESS) & (most - MARGIN >= allowed)
        found |= dict(zip(some[sure].tolist(), known[best[sure]].tolist(), strict=True))
    return found


def _means(faces: FaceSet, group: Rows, count: int) -> tuple[Numbers, Floats, Floats]:
    """Of each group the number of faces, their mean embedding, and how far they have grown on average."""
    size = np.bincount(group, minlength=count).astype(np.int32)
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(size) - size
    mean = np.add.reduceat(faces.embeddings[order], starts, axis=0, dtype=np.float32) / size[:, None]
    growth = np.bincount(group, grown(faces.age), minlength=count) / size
    return size, mean.astype(np.float32), growth.astype(np.float32)


def _excluded(faces: FaceSet, rows: Rows, known: Ids) -> tuple[Rows, Rows]:
    """Which of the rows (by place) cannot be which of the persons (by place).

    Those of whom another face in their photo is, or from whom the user has told them apart.
    """
    places = {person: place for place, person in enumerate(known.tolist())}
    beside: dict[int, list[int]] = {photo: [] for photo in faces.photo[rows].tolist()}
    for photo, person in zip(faces.photo.tolist(), faces.person.tolist(), strict=True):
        if person in places and photo in beside:
            beside[photo].append(places[person])
    apart: dict[int, list[int]] = {}
    for row, person in faces.apart:
        if person in places:
            apart.setdefault(int(row), []).append(places[person])
    pairs = [
        (number, place)
        for number, row in enumerate(rows.tolist())
        for place in beside[int(faces.photo[row])] + apart.get(row, [])
    ]
    found = np.array(pairs, np.intp).reshape(-1, 2)
    return found[:, 0], found[:, 1]
