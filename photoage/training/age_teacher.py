"""Distillation of another face network: what it sees in a face, and the age that this tells.

The network sees the face as it is, in its own size; the student sees the same view after it was made to look
like an old print or lost its detail, and so learns to see through that. One geometry for both: Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent", CVPR 2022.
Nothing of this module is part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from photoage.errors import CheckpointError, DeviceError
from photoage.records import ImageArray
from photoage.training.distill import onnx_session

LEAST_DEVIATION = 0.05  # of a feature that is hardly ever there: no more than twentyfold
HIDDEN = 256


class AgeTeacher:
    """A face network as an ONNX file.

    Its input is (N, 3, S, S) float32 RGB from 0 to 255, its outputs are features (N, D) each. `size` is S,
    `widths` are the D.
    """

    def __init__(self, path: Path, device: torch.device, threads: int = 2) -> None:
        """Raises `CheckpointError` when the file is no such network, `DeviceError` when a GPU was asked for
        and onnxruntime cannot use it.
        """
        try:
            self._session = onnx_session(str(path), device, threads)
        except DeviceError:
            raise
        except Exception as error:  # onnxruntime raises types of its own
            cause = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: not usable as an age teacher ({cause})") from error
        shapes = [value.shape for value in self._session.get_inputs()]
        features = [value.shape for value in self._session.get_outputs()]
        if len(shapes) != 1 or len(shapes[0]) != 4 or not isinstance(shapes[0][3], int):
            raise CheckpointError(f"{path}: not usable as an age teacher (its input is not N x 3 x S x S)")
        if any(len(shape) != 2 or not isinstance(shape[1], int) for shape in features):
            raise CheckpointError(f"{path}: not usable as an age teacher (an output is not N x D)")
        self.size: int = shapes[0][3]
        self.widths = tuple(int(shape[1]) for shape in features)

    def __call__(self, crops: torch.Tensor | ImageArray) -> list[torch.Tensor]:
        """(N, S, S, 3) uint8 RGB to the features, (N, D) float32 each."""
        x = torch.as_tensor(crops).permute(0, 3, 1, 2).float().cpu().numpy()
        found = self._session.run(None, {self._session.get_inputs()[0].name: np.ascontiguousarray(x)})
        return [torch.from_numpy(value) for value in found]


class AgeTeacherHeads(nn.Module):
    """Layers that compare the student with an age teacher, and one that reads ages from its features."""

    def __init__(self, widths: Sequence[int], pooled: int = 2048) -> None:
        super().__init__()
        self.features = nn.ModuleList(nn.Linear(pooled, width) for width in widths)
        self.age = nn.Sequential(
            nn.Linear(sum(widths), HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, 1)
        )
        for i, width in enumerate(widths):
            self.register_buffer(f"mean{i}", torch.zeros(width))
            self.register_buffer(f"deviation{i}", torch.ones(width))

    def fit_statistics(self, features: Sequence[torch.Tensor]) -> None:
        """Mean and deviation of each feature over some training faces."""
        for i, values in enumerate(features):
            self.get_buffer(f"mean{i}").copy_(values.mean(0))
            self.get_buffer(f"deviation{i}").copy_(values.std(0).clamp(min=LEAST_DEVIATION))

    def forward(
        self, pooled: torch.Tensor, features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How badly `pooled` (N, 2048) of the student tells the features; ages (N,) that these tell."""
        device = pooled.device
        standard = [
            (values.to(device) - self.get_buffer(f"mean{i}")) / self.get_buffer(f"deviation{i}")
            for i, values in enumerate(features)
        ]
        losses = [
            2 * F.smooth_l1_loss(head(pooled), values)
            for head, values in zip(self.features, standard, strict=True)
        ]
        return torch.stack(losses).sum(), self.age(torch.cat(standard, dim=1)).squeeze(1)


def taught_age_loss(age: torch.Tensor, taught: torch.Tensor, huber_years: float) -> torch.Tensor:
    """Smooth L1 between the student's ages and those that the teacher's features tell, (N,) each."""
    return F.smooth_l1_loss(age / 10, taught.detach() / 10, beta=huber_years / 10)
