"""The choices of a training run and what it reports; readable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Schedule = tuple[tuple[int, int], ...]  # (crop size in pixels, epochs), in order


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of a training run; ages and sigma in years."""

    name: str = "photoage-resnet50"
    init: str = "imagenet"
    teacher: str | None = None
    schedule: Schedule = ((112, 9), (128, 3))
    batch_size: int = 96
    lr: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 150
    huber_years: float = 3.0  # errors beyond this count linearly: labels are noisy
    label_sigma: float = 3.0
    distill_until: float = 0.85  # share of the run after which the teacher is silent
    ema: float = 0.998
    seed: int = 0
    workers: int = 1
    save_every: int = 100  # steps between resumable states
    log_every: int = 20

    @property
    def epochs(self) -> int:
        return sum(count for _, count in self.schedule)

    def size_at(self, epoch: int) -> int:
        for size, count in self.schedule:
            if epoch < count:
                return size
            epoch -= count
        return self.schedule[-1][0]


@dataclass(frozen=True)
class TrainProgress:
    """What a caller may want to show after some steps, or after an epoch's validation."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    validation: dict[str, Any] | None = None


def scaled_schedule(schedule: Schedule, epochs: int) -> Schedule:
    """The same crop sizes in about the same proportions over another number of epochs.

    Sizes that get no epoch are left out.
    """
    total = sum(count for _, count in schedule)
    ends = [0]
    for _, count in schedule:
        ends.append(ends[-1] + count)
    # Rounding the ends half up gives the earlier, cheaper size the odd epoch.
    scaled = [(2 * end * epochs + total) // (2 * total) for end in ends]
    parts = ((size, b - a) for (size, _), (a, b) in zip(schedule, pairwise(scaled), strict=True))
    return tuple((size, count) for size, count in parts if count > 0)
