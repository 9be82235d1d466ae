"""Aligned faces with their labels to training batches: the data set, its sampler and the DataLoader."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from photoage.records import ImageArray
from photoage.training.augment import augmented_crop, is_mirrored, random_geometry
from photoage.training.balance import balance_groups
from photoage.training.config import TrainConfig
from photoage.training.dataset import AlignedFaces, labels_of
from photoage.training.prints import old_print
from photoage.training.taught import TaughtFaces, no_teacher, taught_share

Key = tuple[int, int, int]  # epoch, step, row: what decides the random draws of a view


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Training batch: `crops` (N, S, S, 3) uint8 RGB; `features` (N, D) float16, what age teachers see,
    D = 0 without them; the rest (N,).

    `low` and `high` float32, the lowest and highest age in years that a face may have; `gender` and
    `ethnicity` int64 codes; `noisy` bool, whether the label may be another person's; `group` int64, of those
    that are balanced; `taught` float32, the age in years that the features tell, and `taught_weight` float32
    of it in the loss.
    """

    crops: torch.Tensor
    features: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    gender: torch.Tensor
    ethnicity: torch.Tensor
    noisy: torch.Tensor
    group: torch.Tensor
    taught: torch.Tensor
    taught_weight: torch.Tensor

    def pin_memory(self) -> LabelledBatch:
        """Called by the DataLoader, so that the copy to a GPU can be asynchronous."""
        return self._each(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> LabelledBatch:
        if device.type == "cpu":
            return self
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> LabelledBatch:
        return LabelledBatch(*(change(getattr(self, field.name)) for field in fields(self)))


class TrainingFaces(Dataset[LabelledBatch]):
    """Augmented views of cached frames; an item's key decides its random draws."""

    def __init__(
        self, faces: AlignedFaces, config: TrainConfig, size: int, taught: TaughtFaces | None = None
    ) -> None:
        self.frames, self.size, self.seed = faces.crops, size, config.seed
        self.taught = taught or no_teacher(len(faces.samples))
        self.labels = labels_of(faces.samples)
        prints, weights, noisy = dict(config.prints), dict(config.taught), set(config.noisy)
        sets = [sample.set for sample in faces.samples]
        self.print_share = np.array([prints.get(name, config.print_share) for name in sets])
        by_set = np.array([weights.get(name, config.taught_weight) for name in sets], np.float32)
        self.taught_weight = by_set * taught_share(self.labels["age"])
        self.noisy = np.array([name in noisy for name in sets])
        self.group = balance_groups(faces.samples, config.balanced)

    def __len__(self) -> int:
        return len(self.frames)

    def view(self, key: Key) -> tuple[ImageArray, bool]:
        """What the student sees of a face, and whether that is mirrored."""
        rng, row = np.random.default_rng((self.seed, *key)), key[2]
        is_print = rng.random() < self.print_share[row]
        frame, geometry = self.frames[row], random_geometry(self.size, rng)
        crop = augmented_crop(frame, geometry, self.size, rng)
        return (old_print(crop, rng) if is_print else crop), is_mirrored(geometry)

    def __getitems__(self, keys: list[Key]) -> LabelledBatch:
        """A whole batch at once, as the DataLoader asks for it when this method exists."""
        crops, mirrored = map(np.stack, zip(*map(self.view, keys), strict=True))
        rows = [row for _, _, row in keys]
        labels = (self.labels[name][rows] for name in ("low", "high", "gender", "ethnicity"))
        features = self.taught.features[mirrored.astype(np.intp), rows]
        known = (self.noisy, self.group, self.taught.ages, self.taught_weight)
        arrays = (*labels, *(each[rows] for each in known))
        return LabelledBatch(*map(torch.from_numpy, (crops, features, *arrays)))


class EpochBatches:
    """Batch sampler over keys that can begin in the middle of an epoch.

    An epoch has as many batches as the faces fill. Each is drawn anew with the given weights, no face
    twice in it, from (seed, epoch, step) alone: a resumed run sees exactly the batches that an unbroken
    one would have seen.
    """

    def __init__(
        self, weights: npt.NDArray[np.float64], batch_size: int, seed: int, epoch: int, start: int = 0
    ) -> None:
        self.weights, self.steps = weights, len(weights) // batch_size
        self.batch_size, self.seed, self.epoch, self.start = batch_size, seed, epoch, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.steps):
            rng = np.random.default_rng((self.seed, self.epoch, step))
            rows = rng.choice(len(self.weights), self.batch_size, replace=False, p=self.weights)
            yield [(self.epoch, step, int(row)) for row in rows]


def training_loader(
    faces: AlignedFaces,
    weights: npt.NDArray[np.float64],
    config: TrainConfig,
    *,
    size: int,
    taught: TaughtFaces | None = None,
    epoch: int,
    start: int = 0,
    pin_memory: bool = False,
) -> Iterable[LabelledBatch]:
    """The batches of one epoch, from batch number `start` on."""
    # OpenCV's own threads do not survive a fork, and a worker that then wants them waits for ever.
    cv2.setNumThreads(1)
    return DataLoader(
        TrainingFaces(faces, config, size, taught),
        batch_sampler=EpochBatches(weights, config.batch_size, config.seed, epoch, start),
        collate_fn=_as_is,
        num_workers=config.workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        # Starts at once, with the frames in place; elsewhere forking is not possible or not safe.
        multiprocessing_context="fork" if config.workers and sys.platform == "linux" else None,
    )


def _as_is(batch: Any) -> Any:
    return batch  # `__getitems__` has collated it


def _start_worker(number: int) -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
