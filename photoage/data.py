"""Datasets, collate functions and DataLoaders. Identity travels with every tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from photoage.augment import augmented_crop
from photoage.dataset import AlignedFaces, labels_of


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Training batch: `crops` (N, S, S, 3) uint8 RGB, `age` (N,) float32, codes (N,) int64."""

    crops: torch.Tensor
    age: torch.Tensor
    gender: torch.Tensor
    ethnicity: torch.Tensor


class TrainingFaces(Dataset[tuple[np.ndarray, int]]):
    """Augmented views of cached frames; an item's key (epoch, index) decides its random draws."""

    def __init__(self, faces: AlignedFaces, size: int, seed: int) -> None:
        self.frames, self.size, self.seed = faces.crops, size, seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:  # type: ignore[override]
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        return augmented_crop(np.asarray(self.frames[index]), self.size, rng), index


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
) -> DataLoader[LabelledBatch]:
    """The batches of one epoch, from batch number `start` on."""
    labels = {name: torch.from_numpy(values) for name, values in labels_of(faces.samples).items()}

    def collate(items: list[tuple[np.ndarray, int]]) -> LabelledBatch:
        rows = torch.tensor([row for _, row in items])
        crops = torch.from_numpy(np.stack([crop for crop, _ in items]))
        return LabelledBatch(crops, labels["age"][rows], labels["gender"][rows], labels["ethnicity"][rows])

    return DataLoader(
        TrainingFaces(faces, size, seed),
        batch_sampler=EpochBatches(len(faces.samples), batch_size, seed, epoch, start),  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context="fork" if workers else None,
    )
