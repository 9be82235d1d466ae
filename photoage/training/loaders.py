"""Datasets, collate functions and DataLoaders. Identity travels with every tensor."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from photoage.records import ImageArray
from photoage.training.augment import augmented_crop
from photoage.training.dataset import AlignedFaces, labels_of


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Training batch: `crops` (N, S, S, 3) uint8 RGB, `age` (N,) float32, codes (N,) int64."""

    crops: torch.Tensor
    age: torch.Tensor
    gender: torch.Tensor
    ethnicity: torch.Tensor

    def pin_memory(self) -> LabelledBatch:
        """Called by the DataLoader, so that the copy to a GPU can be asynchronous."""
        return LabelledBatch(*(tensor.pin_memory() for tensor in self._tensors()))

    def to(self, device: torch.device) -> LabelledBatch:
        if device.type == "cpu":
            return self
        return LabelledBatch(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return self.crops, self.age, self.gender, self.ethnicity


class TrainingFaces(Dataset[LabelledBatch]):
    """Augmented views of cached frames; an item's key (epoch, index) decides its random draws."""

    def __init__(self, faces: AlignedFaces, size: int, seed: int) -> None:
        self.frames, self.size, self.seed = faces.crops, size, seed
        labels = labels_of(faces.samples)
        self.age, self.gender, self.ethnicity = labels["age"], labels["gender"], labels["ethnicity"]

    def __len__(self) -> int:
        return len(self.frames)

    def view(self, epoch: int, index: int) -> ImageArray:
        rng = np.random.default_rng((self.seed, epoch, index))
        return augmented_crop(self.frames[index], self.size, rng)

    def __getitems__(self, keys: list[tuple[int, int]]) -> LabelledBatch:
        """A whole batch at once, as the DataLoader asks for it when this method exists."""
        crops = np.stack([self.view(epoch, index) for epoch, index in keys])
        rows = [index for _, index in keys]
        return LabelledBatch(
            torch.from_numpy(crops),
            torch.from_numpy(self.age[rows]),
            torch.from_numpy(self.gender[rows]),
            torch.from_numpy(self.ethnicity[rows]),
        )


class EpochBatches:
    """Batch sampler over (epoch, index) keys that can begin in the middle of an epoch.

    The order depends on (seed, epoch) alone, so a resumed run sees exactly the batches that an
    unbroken one would have seen. The last, incomplete batch is left out: batch norm wants full ones.
    """

    def __init__(self, count: int, batch_size: int, seed: int, epoch: int, start: int = 0) -> None:
        self.steps = count // batch_size
        self.batch_size, self.epoch, self.start = batch_size, epoch, start
        self.order = np.random.default_rng((seed, epoch)).permutation(count)

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.steps):
            rows = self.order[step * self.batch_size : (step + 1) * self.batch_size]
            yield [(self.epoch, int(row)) for row in rows]


def training_loader(
    faces: AlignedFaces,
    *,
    size: int,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    workers: int = 1,
    pin_memory: bool = False,
) -> Iterable[LabelledBatch]:
    """The batches of one epoch, from batch number `start` on."""
    # OpenCV's own threads do not survive a fork, and a worker that then wants them waits for ever.
    cv2.setNumThreads(1)
    return DataLoader(
        TrainingFaces(faces, size, seed),
        batch_sampler=EpochBatches(len(faces.samples), batch_size, seed, epoch, start),
        collate_fn=_as_is,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        # Starts at once, with the frames in place; elsewhere forking is not possible or not safe.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def _as_is(batch: Any) -> Any:
    return batch  # `__getitems__` has collated it


def _start_worker(number: int) -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
