"""How often a training face is drawn: sets and rare ages get their share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from photoage.errors import UsageError
from photoage.training.dataset import Sample

# Ages are counted in bins that begin here; fine enough where faces change fast.
BIN_STARTS = (3, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80)


def check_sets(named: Iterable[str], sets: Iterable[str]) -> None:
    """Raises `UsageError` when one of the `named` is not among the `sets` of the training photos."""
    known = set(sets)
    if unknown := sorted(set(named) - known):
        raise UsageError(f"no training photo is of the set {unknown[0]!r} (sets: {', '.join(sorted(known))})")


def set_shares(counts: Mapping[str, int], given: Mapping[str, float]) -> dict[str, float]:
    """The share of the draws that each set gets; they sum to 1.

    `counts` are the faces of each set. Sets that are not in `given` divide what is left in proportion to
    the square root of their faces: small sets are seen more often, but do not take over. Raises
    `UsageError`.
    """
    check_sets(given, counts)
    total = sum(given.values())
    if total > 1 + 1e-9:
        raise UsageError(f"the shares of the sets sum to {total:g}, which is above 1")
    rest = {name: count**0.5 for name, count in counts.items() if name not in given}
    scale = (1 - total) / sum(rest.values()) if rest else 0.0
    shares = {name: given.get(name, rest.get(name, 0.0) * scale) for name in counts}
    whole = sum(shares.values())
    if whole <= 0:
        raise UsageError("the shares of all sets are 0")
    return {name: share / whole for name, share in shares.items()}


def draw_weights(
    samples: Sequence[Sample], shares: Mapping[str, float], rare_ages: float
) -> npt.NDArray[np.float64]:
    """(N,) how probably each face is drawn next; they sum to 1.

    Within a set, a face in an age bin of n faces counts n to the power of -`rare_ages`: 0 draws all faces
    alike, 1 all bins.
    """
    given = set_shares(Counter(sample.set for sample in samples), shares)
    bins = np.digitize([sample.age for sample in samples], BIN_STARTS)
    sets = np.array([sample.set for sample in samples])
    weights = np.zeros(len(samples))
    for name, share in given.items():
        rows = np.flatnonzero(sets == name)
        counts = np.bincount(bins[rows], minlength=len(BIN_STARTS) + 1)
        own = counts[bins[rows]].astype(np.float64) ** -rare_ages
        weights[rows] = share * own / own.sum()
    return weights
