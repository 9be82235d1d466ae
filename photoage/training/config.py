"""The choices of a training run and what it reports; readable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# The parts of a ResNet-50 that can stay as they are, in order.
FREEZABLE = ("conv1", "bn1", "layer1", "layer2", "layer3")
Schedule = tuple[tuple[int, int], ...]  # (crop size in pixels, epochs), in order


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of a training run; ages and errors in years.

    Values by set are pairs of its name and the value.
    """

    name: str = "photoage-resnet50"
    init: str = "imagenet"
    teacher: str | None = None
    age_teachers: tuple[str, ...] = ()  # files; `recogniser` is the one that photoage comes with
    freeze: str | None = None  # the layer up to which, from the first on, nothing is trained
    schedule: Schedule = ((112, 8),)
    batch_size: int = 96
    lr: float = 3e-4
    weight_decay: float = 0.05
    warmup_steps: int = 100
    shares: tuple[tuple[str, float], ...] = ()  # of the draws; sampling.py says what other sets get
    rare_ages: float = 0.35  # how much oftener faces of rare ages are drawn, see sampling.py
    print_share: float = 0.35  # of the views that look like old prints
    prints: tuple[tuple[str, float], ...] = ()  # the same by set
    balanced: tuple[str, ...] = ()  # sets to be right on average in every decade, see balance.py
    noisy: tuple[str, ...] = ()  # sets in which some photos may show somebody else
    huber_years: float = 3.0  # errors beyond this count linearly: labels are noisy
    noisy_years: float = 15.0  # errors beyond this teach nothing in a noisy set
    label_sigma: float = 3.0
    distill_weight: float = 0.7
    distill_until: float = 0.7  # share of the run after which the teacher is not asked any more
    features_weight: float = 1.0  # of the features of the age teachers,
    taught_weight: float = 1.0  # ... and of the ages that they tell
    taught: tuple[tuple[str, float], ...] = ()  # the same by set
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
