"""What `--prob` buys: precision and recall of questions about ages at several chances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from photoage.ages.intervals import Interval, residual_table
from photoage.database.chances import likely_ranges
from photoage.records import Estimate, FloatArray
from photoage.training.dataset import AlignedFaces, labels_of
from photoage.training.metrics import BoolArray

QUESTIONS = {
    "--min-age 60": (60.0, math.inf),
    "--max-age 12": (-math.inf, 12.0),
    "--min-age 18": (18.0, math.inf),
}
CHANCES = (0.2, 0.5, 0.8, 0.95)


def chance_figures(
    faces: AlignedFaces, estimates: Sequence[Estimate], interval: Interval
) -> list[dict[str, Any]] | None:
    """One entry for each set, question and chance, None when the checkpoint has no residuals.

    `set`, `question`, `prob` (None: the estimate itself lies in the range), `found`, `true` (faces whose age
    does), `precision` and `recall` in percent, None where they have no meaning. UTKFace's whole years
    count as they are written.
    """
    table = residual_table(interval)
    if table is None:
        return None
    labels = labels_of(faces.samples)
    age = np.asarray(labels["age"], dtype=np.float32)
    predicted = np.array([round(estimate.age, 3) for estimate in estimates])
    strata = np.array([estimate.stratum for estimate in estimates])
    sets = np.array([sample.set for sample in faces.samples])
    entries = []
    for name in sorted(set(sets.tolist())):
        rows = sets == name
        for question, (low, high) in QUESTIONS.items():
            true = (age >= low) & (age <= high)
            for chance in (None, *CHANCES):
                if chance is None:
                    found = (predicted >= low) & (predicted <= high)
                else:
                    found = _likely(table, predicted, strata, low, high, chance)
                counts = _counts(found[rows], true[rows])
                entries.append({"set": name, "question": question, "prob": chance, **counts})
    return entries


def _likely(
    table: dict[str, Any], predicted: FloatArray, strata: Any, low: float, high: float, chance: float
) -> BoolArray:
    found = np.zeros(len(predicted), np.bool_)
    for stratum in range(len(table["factors"])):
        for least, most in likely_ranges(table, stratum, low, high, chance):
            found |= (strata == stratum) & (predicted >= least) & (predicted <= most)
    return found


def _counts(found: BoolArray, true: BoolArray) -> dict[str, Any]:
    both = int((found & true).sum())
    precision = round(100 * both / found.sum(), 1) if found.any() else None
    recall = round(100 * both / true.sum(), 1) if true.any() else None
    return {"found": int(found.sum()), "true": int(true.sum()), "precision": precision, "recall": recall}
