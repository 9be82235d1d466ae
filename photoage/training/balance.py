"""Estimates of a set that are right on average in every decade of age.

Where a face tells little, the best guess lies near the middle of all faces: the young come out too old, the
old too young. Each decade of a balanced set has a price, which grows while its faces are estimated too old,
and falls while they are estimated too young; the loss charges it for each year of an estimate.

Method: a Lagrange multiplier for each constraint, raised by how far it is violated, as in Cotter et al.,
"Optimization with Non-Differentiable Constraints with Applications to Fairness, Recall, Churn, and Other
Goals", JMLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from photoage.ages.predictor import MAX_AGE
from photoage.training.dataset import Sample

NO_GROUP = -1
DECADES = int(MAX_AGE) // 10 + 1
MEMORY = 0.03  # share of the latest face in the mean error of its group
RATE = 1e-3  # of the price, for each face and year of mean error
MOST = 0.8  # of the price; a label far off counts 1


def balance_groups(samples: Sequence[Sample], balanced: Sequence[str]) -> npt.NDArray[np.int64]:
    """(N,) a number for each set and decade of age among the `balanced` sets, NO_GROUP for other samples."""
    place = {name: number for number, name in enumerate(balanced)}
    groups = [
        place[sample.set] * DECADES + int(min(sample.age, MAX_AGE) // 10) if sample.set in place else NO_GROUP
        for sample in samples
    ]
    return np.array(groups, np.int64)


class Balance(nn.Module):
    """Mean errors in years and prices of all groups, both (G,) float32."""

    error: torch.Tensor
    price: torch.Tensor

    def __init__(self, sets: int) -> None:
        super().__init__()
        self.register_buffer("error", torch.zeros(sets * DECADES))
        self.register_buffer("price", torch.zeros(sets * DECADES))

    def forward(
        self, age: torch.Tensor, low: torch.Tensor, high: torch.Tensor, group: torch.Tensor
    ) -> torch.Tensor:
        """What a batch pays, after prices have followed its errors; all (N,), ages in years.

        An age from `low` to `high` has no error.
        """
        known = group != NO_GROUP
        age, low, high, group = age[known], low[known], high[known], group[known]
        self._follow((F.relu(age - high) - F.relu(low - age)).detach(), group)
        return (self.price[group] * age / 10).sum() / len(known)

    @torch.no_grad()
    def _follow(self, errors: torch.Tensor, group: torch.Tensor) -> None:
        count = torch.zeros_like(self.error).index_add_(0, group, torch.ones_like(errors))
        total = torch.zeros_like(self.error).index_add_(0, group, errors)
        mean = total / count.clamp(min=1)
        self.error += (MEMORY * count).clamp(max=1) * (mean - self.error)
        self.price += RATE * count * self.error
        self.price.clamp_(-MOST, MOST)
