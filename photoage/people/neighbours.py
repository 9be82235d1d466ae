"""The nearest embeddings of each face: exactly among few, by an index among many."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]  # (N, D), each of length 1
Pairs = npt.NDArray[np.int32]  # (P, 2), the smaller number first, each pair once

EXACT = 12_000  # vectors that are compared with all others faster than an index of those can be built
EXPANSION = 64  # candidates while building an index; usearch's 128 takes 1.5 times as long to find no more
BLOCK = 2_048  # rows compared at once, with EXACT others: 100 MB of similarities


def nearest_pairs(vectors: Vectors, wanted: npt.NDArray[np.intp] | None, count: int, least: float) -> Pairs:
    """Pairs of vectors of which one is among the `count` nearest of the other.

    `vectors` (N, D) of length 1. `wanted` (M,): only pairs that hold one of these rows; None for all.
    `least`: pairs of a lower cosine are left out. Memory beyond `vectors`: with an index some 800 bytes for
    each of them, as it keeps them in 8 bits.
    """
    if wanted is not None and len(wanted) == 0:
        return np.empty((0, 2), np.int32)
    rows = np.arange(len(vectors)) if wanted is None else wanted
    look = _compared if len(rows) <= EXACT else _indexed
    found = look(vectors, rows, count, least)
    pairs = np.sort(found, axis=1)
    keys = np.unique(pairs[:, 0].astype(np.int64) * len(vectors) + pairs[:, 1])
    return np.stack([keys // len(vectors), keys % len(vectors)], axis=1).astype(np.int32)


def _compared(vectors: Vectors, rows: npt.NDArray[np.intp], count: int, least: float) -> Pairs:
    found = [np.empty((0, 2), np.int32)]
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        own = vectors[block].astype(np.float32)
        cosines, others = [], []
        for first in range(0, len(vectors), EXACT):
            part = own @ vectors[first : first + EXACT].astype(np.float32).T
            inside = (block >= first) & (block < first + EXACT)
            part[inside, block[inside] - first] = -2.0  # a face is no neighbour of itself
            kept = np.argpartition(part, -min(count, part.shape[1]), axis=1)[:, -count:]
            cosines.append(np.take_along_axis(part, kept, axis=1))
            others.append(kept + first)
        best, names = np.hstack(cosines), np.hstack(others)
        kept = np.argpartition(best, -min(count, best.shape[1]), axis=1)[:, -count:]
        row, place = np.nonzero(np.take_along_axis(best, kept, axis=1) >= least)
        found.append(np.stack([block[row], names[row, kept[row, place]]], axis=1).astype(np.int32))
    return np.concatenate(found)


def _indexed(vectors: Vectors, rows: npt.NDArray[np.intp], count: int, least: float) -> Pairs:
    """The nearest, nearly always, by usearch's graph (HNSW; Malkov and Yashunin, IEEE TPAMI, 2020)."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8", expansion_add=EXPANSION)
    for start in range(0, len(vectors), 50_000):
        some = vectors[start : start + 50_000].astype(np.float32)
        index.add(np.arange(start, start + len(some), dtype=np.uint64), some)
    found = []
    for start in range(0, len(rows), 10_000):
        block = rows[start : start + 10_000]
        matches: Any = index.search(vectors[block].astype(np.float32), count + 1)
        keys = np.asarray(matches.keys).astype(np.int64)
        near = (np.asarray(matches.distances) <= 1 - least) & (keys != block[:, None])
        near &= np.arange(count + 1)[None] < np.asarray(matches.counts)[:, None]
        row, place = np.nonzero(near)
        found.append(np.stack([block[row], keys[row, place]], axis=1))
    return np.concatenate(found).astype(np.int32)
