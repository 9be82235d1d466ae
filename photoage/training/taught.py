"""What age teachers see in the training faces, and the ages that this tells.

Each teacher looks once at every face, upright and undamaged, and at its mirror image. The student sees views
that are turned, look like old prints or have lost their detail, and learns to tell the features all the same.

The taught age of a face comes from a small network that has learnt ages from the features of other people's
faces, never of this person's: a label that is wrong does not come back as the truth. Cross-fitting, as in
Wolpert, "Stacked generalization", Neural Networks 1992. What such ages of a set are wrong by on average is
taken off them: on old prints, say, everybody looks older.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from photoage.ages.predictor import MAX_AGE
from photoage.errors import DataError
from photoage.faces.align import warp
from photoage.files import replacing_path
from photoage.records import FloatArray
from photoage.training.age_teacher import AgeTeacher
from photoage.training.augment import plain_geometry
from photoage.training.config import TrainConfig
from photoage.training.dataset import AlignedFaces, Sample, labels_of

LEAST_DEVIATION = 0.02  # of a feature that is hardly ever there
MAX_DEVIATIONS = 5.0  # a standardised feature is clipped there
FOLDS = 4
ROUNDS = 3  # each with other folds; the mean of three tells ages a tenth of a year better than one
PASSES = 25  # over the faces, while ages are learnt from features
LEARNT_BY_LABEL, LEARNT_BY_TEACHER = 5.0, 13.0  # years: taught ages of babies are two years too high
BATCH = 192
HIDDEN = 512
NEAR, NEAR_SHARE = 2.5, 0.12  # years, or share of the age, within which a set's faces are wrong alike
DOUBTED_FACES = 8.0  # with so many of them, half of what they are wrong by is believed
RATE, DECAY = 1e-3, 0.05  # of AdamW
LOOK_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class TaughtFaces:
    """What teachers say of N faces.

    `features` (2, N, D) float16 of all teachers side by side, standardised: of the faces, and of their mirror
    images; `widths` of each teacher's outputs, which sum to D; `ages` (N,) float32 in years.
    """

    features: npt.NDArray[np.float16]
    widths: tuple[int, ...]
    ages: FloatArray

    def save(self, path: Path) -> None:
        """Write all to one file, whole or not at all. Raises `PhotoageError`."""
        with replacing_path(path) as partial, partial.open("wb") as file:
            np.savez(file, features=self.features, widths=np.array(self.widths), ages=self.ages)


def no_teacher(count: int) -> TaughtFaces:
    """Of so many faces, where nobody teaches: no features."""
    return TaughtFaces(np.empty((2, count, 0), np.float16), (), np.zeros(count, np.float32))


def load_taught(path: Path) -> TaughtFaces | None:
    """What `save` has written; None when there is no such file, or no readable one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return TaughtFaces(file["features"], tuple(map(int, file["widths"])), file["ages"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def teach(
    faces: AlignedFaces,
    weights: npt.NDArray[np.float64],
    teachers: Sequence[AgeTeacher],
    config: TrainConfig,
) -> TaughtFaces:
    """Ask the teachers about all training frames; `weights` (N,) as faces are drawn while training.

    Raises `DataError` when all faces are of one person.
    """
    seen = [
        np.concatenate([_look(teacher, faces, mirrored) for teacher in teachers], axis=1)
        for mirrored in (False, True)
    ]
    mean, deviation = seen[0].mean(axis=0), np.maximum(seen[0].std(axis=0), LEAST_DEVIATION)
    standard = [((part - mean) / deviation).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS) for part in seen]
    features = np.stack([part.astype(np.float16) for part in standard])
    widths = tuple(width for teacher in teachers for width in teacher.widths)
    return TaughtFaces(features, widths, _taught_ages(features, faces.samples, weights, config))


def _look(teacher: AgeTeacher, faces: AlignedFaces, mirrored: bool) -> FloatArray:
    geometry = plain_geometry(teacher.size, mirrored)
    found = []
    for start in range(0, len(faces.samples), LOOK_BATCH):
        rows = range(start, min(start + LOOK_BATCH, len(faces.samples)))
        found.append(teacher(np.stack([warp(faces.crops[row], geometry, teacher.size) for row in rows])))
    return np.concatenate(found)


def _taught_ages(
    features: npt.NDArray[np.float16],
    samples: Sequence[Sample],
    weights: npt.NDArray[np.float64],
    config: TrainConfig,
) -> FloatArray:
    """(N,) ages in years, each told by networks that have seen no face of this person."""
    people = [f"{sample.set}/{sample.person}" if sample.person else sample.key for sample in samples]
    _, person = np.unique(people, return_inverse=True)
    if person.max(initial=0) == 0:
        raise DataError("all training faces are of one person: nothing to teach ages with")
    ages = np.zeros(len(samples), np.float32)
    for turn in range(ROUNDS):
        fold = np.random.default_rng((config.seed, turn)).permutation(person.max() + 1)[person] % FOLDS
        for number in np.unique(fold):
            held = fold == number
            seed = config.seed + turn * FOLDS + int(number)
            learner = _learn_ages(features, samples, np.where(held, 0.0, weights), replace(config, seed=seed))
            ages[held] += np.mean([_told(learner, part[held]) for part in features], axis=0) / ROUNDS
    return _right_on_average(ages, samples, config)


def _right_on_average(ages: FloatArray, samples: Sequence[Sample], config: TrainConfig) -> FloatArray:
    """Taught ages (N,) without the mean error of those of the same set and about the same taught age."""
    sets = np.array([sample.set for sample in samples])
    most = 2 * config.huber_years  # of one face: labels are noisy
    error = (ages - labels_of(samples)["age"]).clip(-most, most)
    grid = np.arange(MAX_AGE + 1)[:, None]
    width = np.maximum(NEAR, NEAR_SHARE * grid)
    moved = ages.copy()
    for name in np.unique(sets):
        rows = sets == name
        near = np.exp(-(((ages[rows] - grid) / width) ** 2) / 2)
        # Where no face is near, weights are next to nothing, and nothing is known.
        total = near.sum(axis=1) + 1e-9
        faces = total**2 / (near**2).sum(axis=1).clip(1e-9)
        mean_error = near @ error[rows] / total * faces / (faces + DOUBTED_FACES)
        moved[rows] -= np.interp(ages[rows], grid[:, 0], mean_error)
    return moved.clip(0, MAX_AGE)


class _AgeLearner(nn.Module):
    """Features to the mean of a distribution over ages."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(width, HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(HIDDEN, int(MAX_AGE) + 1),
        )
        self.register_buffer("years", torch.arange(MAX_AGE + 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D) to ages (N,)."""
        chances = F.softmax(self.layers(features), dim=1)
        return torch.mv(chances, self.get_buffer("years"))


def _learn_ages(
    features: npt.NDArray[np.float16],
    samples: Sequence[Sample],
    weights: npt.NDArray[np.float64],
    config: TrainConfig,
) -> _AgeLearner:
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    learner = _AgeLearner(features.shape[2]).train()
    steps = math.ceil(PASSES * len(samples) / BATCH)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    labels = labels_of(samples)
    noisy = np.array([sample.set in config.noisy for sample in samples])
    chances = weights / weights.sum()
    for _ in range(steps):
        rows = rng.choice(len(samples), BATCH, p=chances)
        age = learner(torch.from_numpy(features[rng.integers(0, 2, BATCH), rows]).float())
        low, high, doubted = (torch.from_numpy(each[rows]) for each in (labels["low"], labels["high"], noisy))
        loss = age_loss(age, low, high, doubted, config)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return learner.eval()


@torch.inference_mode()
def _told(learner: _AgeLearner, features: npt.NDArray[np.float16]) -> FloatArray:
    return np.asarray(learner(torch.from_numpy(features).float()).numpy())


def age_loss(
    age: torch.Tensor, low: torch.Tensor, high: torch.Tensor, noisy: torch.Tensor, config: TrainConfig
) -> torch.Tensor:
    """Smooth L1 of how far each age lies outside of what its label allows, all (N,): nothing inside a range.

    Beyond `huber_years` it grows linearly. A noisy face that is further off than `noisy_years` is taken for
    somebody else's and teaches nothing.
    """
    outside = F.relu(low - age) + F.relu(age - high)
    outside = torch.where(noisy, outside.clamp(max=config.noisy_years), outside)
    return F.smooth_l1_loss(outside / 10, torch.zeros_like(outside), beta=config.huber_years / 10)


def taught_share(age: FloatArray) -> FloatArray:
    """How much the taught ages of faces count, from 0 to 1, by their labels; both (N,)."""
    return ((age - LEARNT_BY_LABEL) / (LEARNT_BY_TEACHER - LEARNT_BY_LABEL)).clip(0, 1).astype(np.float32)


def taught_age_loss(
    age: torch.Tensor, taught: torch.Tensor, weight: torch.Tensor, config: TrainConfig
) -> torch.Tensor:
    """Smooth L1 between the student's ages and the taught ones, each with its weight, all (N,)."""
    apart = F.smooth_l1_loss(age / 10, taught / 10, beta=config.huber_years / 10, reduction="none")
    return (apart * weight).mean()


def feature_loss(told: torch.Tensor, features: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """How badly the student tells (N, D) features: smooth L1, each output of a teacher counting alike."""
    apart = F.smooth_l1_loss(told, features.float(), reduction="none").mean(dim=0)
    return 2 * torch.stack([part.mean() for part in torch.split(apart, list(widths))]).sum()
