"""The scan's DataLoader: photos as they come from the workers, grouped into batches of crops."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from photoage.faces.read import ReadPhoto
from photoage.pool import Outcome

MAX_PHOTOS = 64  # photos in a chunk, so that faceless photos are stored soon as well
MAX_SECONDS = 2.0


@dataclass(frozen=True)
class PhotoChunk:
    """Some finished photos and the crops of all their faces, in the same order.

    `crops` (N, S, S, 3) uint8 RGB, N = the sum of faces over `outcomes`; a failed photo has none.
    """

    outcomes: list[Outcome[Any, ReadPhoto]]
    crops: torch.Tensor

    def pin_memory(self) -> PhotoChunk:
        """Called by the DataLoader, so that the copy to a GPU can be asynchronous."""
        return replace(self, crops=self.crops.pin_memory())


class PhotoChunks(IterableDataset[PhotoChunk]):
    """Groups photos until their faces fill a batch; a photo's faces are never separated.

    A None among `outcomes` says that no photo came for a while: those that are there are a chunk then, even
    if there is none.
    """

    def __init__(
        self, outcomes: Iterable[Outcome[Any, ReadPhoto] | None], batch_size: int, crop_size: int
    ) -> None:
        self.outcomes, self.batch_size, self.crop_size = outcomes, batch_size, crop_size

    def __iter__(self) -> Iterator[PhotoChunk]:
        group: list[Outcome[Any, ReadPhoto]] = []
        faces, since = 0, time.monotonic()
        for outcome in self.outcomes:
            if outcome is not None:
                group.append(outcome)
                faces += len(outcome.value.crops) if outcome.value else 0
            late = outcome is None or time.monotonic() - since > MAX_SECONDS
            if faces >= self.batch_size or len(group) >= MAX_PHOTOS or late:
                yield self._chunk(group)
                group, faces, since = [], 0, time.monotonic()
        if group:
            yield self._chunk(group)

    def _chunk(self, group: list[Outcome[Any, ReadPhoto]]) -> PhotoChunk:
        empty = np.empty((0, self.crop_size, self.crop_size, 3), dtype=np.uint8)
        crops = np.concatenate([empty, *(outcome.value.crops for outcome in group if outcome.value)])
        return PhotoChunk(group, torch.from_numpy(crops))


def chunk_loader(
    outcomes: Iterable[Outcome[Any, ReadPhoto] | None], *, batch_size: int, crop_size: int, pin_memory: bool
) -> Iterable[PhotoChunk]:
    """Chunks in pinned memory where a GPU will read them.

    No loader processes: a DataLoader ends when one of them dies, and the photos are already read by
    a pool that survives that.
    """
    return DataLoader(
        PhotoChunks(outcomes, batch_size, crop_size),
        batch_size=None,
        num_workers=0,
        pin_memory=pin_memory,
    )
