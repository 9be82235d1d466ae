"""Aligned faces with their labels to training batches: the data set, its sampler and the DataLoader."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from photoage.faces.align import warp
from photoage.records import ImageArray
from photoage.training.augment import augmented_crop, random_geometry, resized
from photoage.training.config import TrainConfig
from photoage.training.dataset import AlignedFaces, labels_of
from photoage.training.prints import old_print

Key = tuple[int, int, int]  # epoch, step, row: what decides the random draws of a view


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Training batch: `crops` (N, S, S, 3) uint8 RGB; `plain` the same views undamaged, (N, T, T, 3) uint8
    RGB in the size that an age teacher wants, T = 0 without one; the rest (N,).

    `low` and `high` float32, the lowest and highest age in years that a face may have; `gender` and
    `ethnicity` int64 codes; `noisy` bool, whether the label may be another person's.
    """

    crops: torch.Tensor
    plain: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    gender: torch.Tensor
    ethnicity: torch.Tensor
    noisy: torch.Tensor

    def pin_memory(self) -> LabelledBatch:
        """Called by the DataLoader, so that the copy to a GPU can be asynchronous."""
        return LabelledBatch(*(tensor.pin_memory() for tensor in self._tensors()))

    def to(self, device: torch.device) -> LabelledBatch:
        if device.type == "cpu":
            return self
        return LabelledBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return self.crops, self.plain, self.low, self.high, self.gender, self.ethnicity, self.noisy


class TrainingFaces(Dataset[LabelledBatch]):
    """Augmented views of cached frames; an item's key decides its random draws."""

    def __init__(self, faces: AlignedFaces, config: TrainConfig, size: int, plain_size: int = 0) -> None:
        self.frames, self.size, self.seed = faces.crops, size, config.seed
        self.plain_size = plain_size
        self.labels = labels_of(faces.samples)
        prints, noisy = dict(config.prints), set(config.noisy)
        sets = [sample.set for sample in faces.samples]
        self.print_share = np.array([prints.get(name, config.print_share) for name in sets])
        self.noisy = np.array([name in noisy for name in sets])

    def __len__(self) -> int:
        return len(self.frames)

    def views(self, key: Key) -> tuple[ImageArray, ImageArray]:
        """What the student sees of a face, and what an age teacher sees."""
        rng, row = np.random.default_rng((self.seed, *key)), key[2]
        is_print = rng.random() < self.print_share[row]
        frame, geometry = self.frames[row], random_geometry(self.size, rng)
        crop = augmented_crop(frame, geometry, self.size, rng)
        plain = np.empty((0, 0, 3), np.uint8)
        if self.plain_size:
            plain = warp(frame, resized(geometry, self.size, self.plain_size), self.plain_size)
        return (old_print(crop, rng) if is_print else crop), plain

    def __getitems__(self, keys: list[Key]) -> LabelledBatch:
        """A whole batch at once, as the DataLoader asks for it when this method exists."""
        crops, plain = map(np.stack, zip(*map(self.views, keys), strict=True))
        rows = [row for _, _, row in keys]
        labels = (self.labels[name][rows] for name in ("low", "high", "gender", "ethnicity"))
        return LabelledBatch(*map(torch.from_numpy, (crops, plain, *labels, self.noisy[rows])))


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
    plain_size: int = 0,
    epoch: int,
    start: int = 0,
    pin_memory: bool = False,
) -> Iterable[LabelledBatch]:
    """The batches of one epoch, from batch number `start` on; `plain_size` as in `LabelledBatch`."""
    # OpenCV's own threads do not survive a fork, and a worker that then wants them waits for ever.
    cv2.setNumThreads(1)
    return DataLoader(
        TrainingFaces(faces, config, size, plain_size),
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
