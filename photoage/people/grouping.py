"""Stored faces to persons: average linkage over nearest neighbours, with ages and dates taking part.

The similarity of two groups of faces is the mean cosine over all pairs of their embeddings, which is the
product of the groups' mean embeddings: no pair need be kept, and any number of faces takes memory in
proportion to their number. Ages take part twice. Birth years that faces imply (date less age) may differ by
what their intervals allow, and a difference beyond counts against the pair; where they agree, faces of
distant ages are let off part of what growing up takes from the cosine. Groups of many faces must be more
alike: were they one person, faces of theirs would have met before. Method: group-average agglomeration
by reciprocal nearest neighbours (Murtagh, The Computer Journal 26(4), 1983), on a graph of nearest
neighbours instead of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from photoage.people.neighbours import Pairs, nearest_pairs

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Numbers = npt.NDArray[np.int32]

FEW = 2_000  # faces; see GroupingOptions.threshold
BLOCK = 65_536  # groups whose embeddings are worked on at once
GROWING = 18.0  # years in which faces do two thirds of their growing
OFTEN = 3  # faces whose dates are not all false
MANY = 4  # faces; see GroupingOptions.many
STAR = 10


@dataclass(frozen=True, slots=True)
class GroupingOptions:
    """What counts as one person. Measured on FG-NET's people among strangers of LFW (docs/people.md)."""

    threshold: float = 0.305  # similarity from which two groups are one person, among up to FEW faces
    per_tenfold: float = 0.03  # more for each tenfold of faces beyond: more strangers, more lookalikes
    per_error: float = 0.03  # less for each standard error by which birth years differ beyond one,
    most_errors: float = 2.0  # ... up to so many
    growing: float = 0.25  # more, times what faces grow between their mean ages, where birth years agree,
    undated: float = 0.6  # ... so much of it where there is none to compare,
    differing: float = 0.3  # ... and so much where they differ: one of the dates may be false
    apart: float = 4.0  # standard errors from which two groups cannot be one person,
    alike: float = 0.4  # ... unless they are so similar that a false date is likelier,
    generation: float = 50.0  # and years from which two groups of OFTEN faces or more cannot,
    same_picture: float = 0.75  # ... unless they are so similar: copies
    alone: float = 0.12  # more for single faces, less so the more faces both groups have
    many: float = 0.045  # more for each doubling of both groups beyond MANY faces: an error costs more,
    most_doublings: float = 2.0  # ... up to so many
    neighbours: int = 24  # nearest neighbours of a face that are looked at
    floor: float = 10.0  # years: the standard error that any number of estimates by one model has in common

    def least(self, faces: int) -> float:
        """The similarity from which two groups are one person, among so many faces."""
        return self.threshold + self.per_tenfold * max(0.0, float(np.log10(max(1, faces) / FEW)))

    def similarity(self, cosine: Floats, size: Numbers, other: Numbers) -> Floats:
        """How alike groups of so many faces are, by the cosines of their mean embeddings alone.

        The shapes are any that fit together.
        """
        alone = self.alone / np.sqrt(size.astype(np.float32) * other)
        doublings = np.log2(np.minimum(size, other) / MANY)
        many = self.many * np.clip(doublings, 0, self.most_doublings)
        return np.asarray(cosine - alone - many, dtype=np.float32)


@dataclass(slots=True, eq=False)
class FaceSet:
    """Faces to group, one row each.

    `embeddings` (N, 512) of length 1. `photo` (N,): ids; two faces of one photo are two persons. `age` (N,)
    in years. `born` and `born_error` (N,): the birth year that age and date imply and its standard error in
    years, NaN without a date. `person` (N,): the person that a face belongs to, 0 for none. `kept`: persons
    that the user has named or corrected: they take faces in, but never become one with each other.
    `birth`: birth years (and standard errors) that the user gave, by person. `apart`: (face, person) pairs
    that the user has separated; `face` is a row. `fresh` (N,): faces that were never grouped.
    """

    embeddings: npt.NDArray[np.float16]
    photo: Ids
    age: Floats
    born: Floats
    born_error: Floats
    person: Ids
    fresh: Bools
    kept: frozenset[int] = frozenset()
    birth: dict[int, tuple[float, float]] = field(default_factory=dict)
    apart: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.embeddings)


def group(faces: FaceSet, options: GroupingOptions = GroupingOptions()) -> Ids:
    """The person of each face, (N,): an id that `faces.person` has, 0 for none, or a new one below 0.

    Faces stay with the person that they have; where two persons prove to be one, the one that the user
    knows, else the larger, keeps its id. A new person has at least two faces. Only fresh faces and the
    groups that they join are looked at, so that a few new ones among many take little time.
    """
    if len(faces) == 0:
        return np.empty(0, np.int64)
    groups = _Groups(faces, options)
    wanted = np.unique(groups.label[np.flatnonzero(faces.fresh)]).astype(np.intp)
    while len(wanted):
        live = np.flatnonzero(groups.size > 0)
        place = np.full(len(groups.size), -1)
        place[live] = np.arange(len(live))
        everything = len(wanted) == len(live)
        least = groups.threshold - options.growing
        if everything and len(live) == len(faces):
            least += options.alone
        pairs = nearest_pairs(
            groups.directions(live),
            None if everything else place[wanted],
            options.neighbours,
            least,
        )
        wanted = groups.agglomerate(live[pairs].astype(np.int32))
    return groups.persons()


class _Groups:
    """Groups of faces, each under the number of one of its faces; the others have size 0."""

    def __init__(self, faces: FaceSet, options: GroupingOptions) -> None:
        count = len(faces)
        self._faces, self._options = faces, options
        self.threshold = options.least(count)
        self.label = np.arange(count, dtype=np.int32)
        self.size = np.ones(count, np.int32)
        self._mean = faces.embeddings.astype(np.float16)
        known = np.isfinite(faces.born) & np.isfinite(faces.born_error)
        self._weight = np.where(known, 1 / np.square(np.where(known, faces.born_error, 1)), 0).astype(
            np.float32
        )
        self._born = np.where(known, faces.born, 0).astype(np.float64)
        self._grown = grown(faces.age).astype(np.float64)
        self._certain = np.full(count, np.nan, np.float32)  # standard errors of birth dates that are given
        self._kept = np.zeros(count, bool)
        self._apart = _pairs_within(faces.photo)
        self._start()

    def _start(self) -> None:
        """Every person that there is becomes a group."""
        faces = self._faces
        rows = np.flatnonzero(faces.person)
        ids, first, inverse = np.unique(faces.person[rows], return_index=True, return_inverse=True)
        heads = rows[first]
        place = dict(zip(ids.tolist(), heads.tolist(), strict=True))
        self._join(rows.astype(np.int32), heads[inverse].astype(np.int32))
        for person in faces.kept:
            if person in place:
                self._kept[place[person]] = True
        for person, (born, error) in faces.birth.items():
            if person in place:
                head = place[person]
                self._born[head], self._weight[head], self._certain[head] = born, 1.0, error
        more = [(row, place[person]) for row, person in faces.apart if person in place]
        self._apart = np.concatenate([self._apart, np.array(more, np.int32).reshape(-1, 2)])

    def directions(self, groups: Rows) -> npt.NDArray[np.float16]:
        """The mean embeddings of groups, scaled to length 1."""
        if (self.size[groups] == 1).all():
            return self._mean[groups]
        means = np.empty((len(groups), self._mean.shape[1]), np.float16)
        for start in range(0, len(groups), BLOCK):
            part = self._mean[groups[start : start + BLOCK]].astype(np.float32)
            length = np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6)
            means[start : start + len(part)] = part / length
        return means

    def agglomerate(self, pairs: Pairs) -> Rows:
        """Join groups along these pairs until no pair is similar enough; the groups that have grown."""
        grown = np.zeros(len(self.size), bool)
        scores = self._scores(pairs)
        while len(pairs):
            near = scores >= self.threshold
            pairs, scores = pairs[near], scores[near]
            chosen, small, large = self._proposals(pairs, scores)
            refused, waiting = self._conflicts(small, large, scores[chosen])
            joined = ~(refused | waiting)
            self._join(small[joined], large[joined])
            grown[small[joined]], grown[large[joined]] = False, True
            left = np.ones(len(pairs), bool)
            left[chosen[refused]] = False
            pairs, scores = self._relabelled(pairs[left], scores[left], np.unique(large[joined]))
        return np.flatnonzero(grown)

    def _proposals(self, pairs: Pairs, scores: Floats) -> tuple[Rows, Numbers, Numbers]:
        """Places of pairs to join now, with the group of each that ends and the one that it becomes part of.

        Those are the pairs that are the best of both their groups, whose order does not matter, and small
        groups whose best is a group STAR times as large, which they hardly change: else a person with
        thousands of photos would take in one after the other.
        """
        best = np.full(len(self.size), -np.inf, np.float32)
        for side in (0, 1):
            np.maximum.at(best, pairs[:, side], scores)
        last = np.full(len(self.size), -1)  # of equal ones the last
        for side in (0, 1):
            equal = np.flatnonzero(scores == best[pairs[:, side]])
            np.maximum.at(last, pairs[equal, side], equal)
        # The user's persons stay, else the larger ones.
        weight = self.size[pairs] + self._kept[pairs] * np.int64(2**40)
        first = weight[:, 0] > weight[:, 1]
        small, large = np.where(first, pairs[:, ::-1].T, pairs.T)
        place = np.arange(len(pairs))
        mutual = (last[small] == place) & (last[large] == place)
        star = (last[small] == place) & (self.size[large] >= STAR * self.size[small].astype(np.int64))
        ends = np.zeros(len(self.size), bool)
        ends[small[mutual]] = True
        chosen = np.flatnonzero(mutual | (star & ~ends[large]))
        ends[small[chosen]] = True
        chosen = chosen[~ends[large[chosen]]]
        return chosen, small[chosen], large[chosen]

    def _conflicts(self, small: Numbers, large: Numbers, scores: Floats) -> tuple[Bools, Bools]:
        """Which proposals join two faces of one photo, or what the user has told apart: never, or not yet."""
        target = np.arange(len(self.size), dtype=np.int32)
        target[small] = large
        score = np.full(len(self.size), np.inf, np.float32)
        score[small] = scores
        self._apart = self.label[self._apart]
        a, b = self._apart[(target[self._apart[:, 0]] == target[self._apart[:, 1]])].T
        a, b = a[a != b], b[a != b]
        never = (a == target[a]) | (b == target[b])
        refused = np.zeros(len(self.size), bool)
        refused[np.where(a == target[a], b, a)[never]] = True
        waiting = np.zeros(len(self.size), bool)
        waiting[np.where(score[a] <= score[b], a, b)[~never]] = True
        both_kept = self._kept[small] & self._kept[large]
        return refused[small] | both_kept, waiting[small]

    def _relabelled(self, pairs: Pairs, scores: Floats, changed: Numbers) -> tuple[Pairs, Floats]:
        """The pairs of the groups that there are now; those of changed groups once, and scored anew."""
        count = len(self.size)
        pairs = np.sort(self.label[pairs], axis=1)
        dirty = np.isin(pairs, changed).any(axis=1)
        a, b = pairs[dirty].T
        keys = np.unique((a.astype(np.int64) * count + b)[a != b])
        again = np.stack([keys // count, keys % count], axis=1).astype(np.int32)
        return np.concatenate([pairs[~dirty], again]), np.concatenate([scores[~dirty], self._scores(again)])

    def _scores(self, pairs: Pairs) -> Floats:
        """How much the groups of each pair look like one person; -inf where they cannot be one."""
        scores = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), BLOCK):
            a, b = pairs[start : start + BLOCK].T
            cosine = np.einsum("ij,ij->i", self._mean[a].astype(np.float32), self._mean[b].astype(np.float32))
            similarity = self._options.similarity(cosine, self.size[a], self.size[b])
            scores[start : start + len(a)] = similarity + self._by_age(a, b, cosine)
        return scores

    def _by_age(self, a: Numbers, b: Numbers, cosine: Floats) -> Floats:
        options = self._options
        dated = (self._weight[a] > 0) & (self._weight[b] > 0)
        error = np.sqrt(np.square(self._error(a)) + np.square(self._error(b)))
        errors = np.abs(self._born[a] - self._born[b]) / error
        growing = options.growing * np.abs(self._grown[a] - self._grown[b])
        less = options.per_error * np.clip(errors - 1, 0, options.most_errors)
        often = np.minimum(self.size[a], self.size[b]) >= OFTEN
        generation = often & (np.abs(self._born[a] - self._born[b]) > options.generation)
        apart = (errors > options.apart) & (cosine < options.alike)
        apart |= generation & (cosine < options.same_picture)
        share = np.where(errors <= 1, 1, options.differing)
        by_birth = np.where(apart, -np.inf, growing * share - less)
        return np.where(dated, by_birth, options.undated * growing).astype(np.float32)

    def _error(self, groups: Numbers) -> Floats:
        """Standard errors of groups' birth years."""
        weight = np.maximum(self._weight[groups], 1e-6)
        fitted = np.sqrt(1 / weight + (self._options.floor * (1 - 1 / self.size[groups])) ** 2)
        given = self._certain[groups]
        return np.where(np.isnan(given), fitted, given).astype(np.float32)

    def _join(self, small: Numbers, large: Numbers) -> None:
        """Make each of the groups `small` part of the group beside it in `large`."""
        order = np.argsort(large, kind="stable")
        for start in range(0, len(order), BLOCK):
            part = order[start : start + BLOCK]
            part = part[small[part] != large[part]]
            if len(part):
                self._absorb(small[part], large[part])
        target = np.arange(len(self.size), dtype=np.int32)
        target[small] = large
        self.label = target[self.label]

    def _absorb(self, small: Numbers, large: Numbers) -> None:
        heads, starts = np.unique(large, return_index=True)  # `large` is sorted
        share = self.size[small].astype(np.float64)
        own = self.size[heads].astype(np.float64)
        total = own + np.add.reduceat(share, starts)

        def mean(values: npt.NDArray[Any], weights: npt.NDArray[Any], before: npt.NDArray[Any]) -> Any:
            more = np.add.reduceat((values[small].T * weights).T, starts)
            return (values[heads].T * before).T + more

        self._mean[heads] = mean(self._mean, share.astype(np.float32), own.astype(np.float32)) / total[
            :, None
        ].astype(np.float32)
        self._grown[heads] = mean(self._grown, share, own) / total
        weights, before = self._weight[small].astype(np.float64), self._weight[heads].astype(np.float64)
        weight = before + np.add.reduceat(weights, starts)
        born = mean(self._born, weights, before) / np.maximum(weight, 1e-12)
        given = ~np.isnan(self._certain[heads])
        self._born[heads] = np.where(given, self._born[heads], born)
        self._weight[heads] = weight
        self.size[heads] = total
        self.size[small] = 0

    def persons(self) -> Ids:
        """The person of each face; see `group`."""
        found = np.zeros(len(self.size), np.int64)
        heads = np.flatnonzero(self.size > 1)
        found[heads] = -np.arange(1, len(heads) + 1)
        rows = np.flatnonzero(self._faces.person)
        pairs, faces = np.unique(
            np.stack([self.label[rows], self._faces.person[rows]], axis=1), axis=0, return_counts=True
        )
        kept = np.isin(pairs[:, 1], list(self._faces.kept))
        order = np.lexsort((-pairs[:, 1], faces, kept))  # of equal ones the older
        found[pairs[order, 0]] = pairs[order, 1]
        return found[self.label]


def grown(age: Floats) -> Floats:
    """How far faces of these ages (N,), in years, have grown: from 0 at birth to 1.

    Embeddings of one person lose similarity in proportion to the difference.
    """
    return np.asarray(1 - np.exp(-age / GROWING), dtype=np.float32)


def _pairs_within(photo: Ids) -> Pairs:
    """Every two rows of one photo."""
    order = np.argsort(photo, kind="stable")
    same = photo[order]
    found = [np.empty((0, 2), np.int32)]
    for step in range(1, len(photo)):
        equal = np.flatnonzero(same[step:] == same[:-step])
        if not len(equal):
            break
        found.append(np.stack([order[equal], order[equal + step]], axis=1).astype(np.int32))
    return np.concatenate(found)
