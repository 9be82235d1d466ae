"""Feature-map distillation from a face recogniser, and the auxiliary heads of training.

The teacher (ArcFace MobileFaceNet, `w600k_mbf.onnx`) sees the same crop as the student, so any
augmentation may be used. Method: Romero et al., "FitNets", ICLR 2015; one consistent view for both,
Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022.
Nothing of this module is part of a checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from photoage.ages.predictor import MAX_AGE
from photoage.errors import CheckpointError, DeviceError
from photoage.training.dataset import UNKNOWN
from photoage.training.loaders import LabelledBatch
from photoage.training.networks import onnx_session

TEACHER_SIZE = 112
MAP_TENSORS = ("473", "505")  # (N, 256, 14, 14) and (N, 256, 7, 7) in w600k_mbf's graph
EMBEDDING = 512
AGE_CLASSES = int(MAX_AGE) + 1


class Teacher:
    """ArcFace recogniser that also returns two inner maps."""

    def __init__(self, path: Path, device: torch.device, threads: int = 2) -> None:
        """Raises `CheckpointError` when the file is not the expected recogniser, `DeviceError` when a GPU
        was asked for and onnxruntime cannot use it.
        """
        import onnx

        try:
            graph = onnx.load_model(str(path))
            final = graph.graph.output[0].name
            graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in MAP_TENSORS)
            self.session = onnx_session(graph.SerializeToString(), device, threads)
        except DeviceError:
            raise
        except Exception as error:  # protobuf and onnxruntime raise their own types
            cause = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: not usable as a teacher ({cause})") from error
        self.device = device
        self.input = self.session.get_inputs()[0].name
        self.outputs = [*MAP_TENSORS, final]
        self.statistics: dict[str, torch.Tensor] = {}

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        """(N, S, S, 3) uint8 RGB to [map 14x14, map 7x7, embedding (N, 512)], float32."""
        x = crops.to(self.device).permute(0, 3, 1, 2).float()
        if x.shape[-1] != TEACHER_SIZE:
            x = F.interpolate(x, size=(TEACHER_SIZE, TEACHER_SIZE), mode="bilinear", antialias=True)
        feed = ((x - 127.5) / 127.5).cpu().numpy()
        outputs = self.session.run(self.outputs, {self.input: np.ascontiguousarray(feed)})
        return [torch.from_numpy(value).to(self.device) for value in outputs]

    def fit_statistics(self, crops: torch.Tensor) -> None:
        """Per-channel mean and deviation of the maps over some plain training crops."""
        for name, value in zip(MAP_TENSORS, self(crops), strict=False):
            self.statistics[f"{name}.mean"] = value.mean(dim=(0, 2, 3), keepdim=True)
            self.statistics[f"{name}.std"] = value.std(dim=(0, 2, 3), keepdim=True) + 1e-5

    def targets(self, crops: torch.Tensor) -> list[torch.Tensor]:
        """Standardised maps and the embedding for a batch."""
        *maps, embedding = self(crops)
        standard = [
            (value - self.statistics[f"{name}.mean"]) / self.statistics[f"{name}.std"]
            for name, value in zip(MAP_TENSORS, maps, strict=True)
        ]
        return [*standard, embedding]


class AuxiliaryHeads(nn.Module):
    """Heads that shape the features during training and are then dropped; all in float32."""

    def __init__(self, width: int = 2048) -> None:
        super().__init__()
        self.distribution = nn.Linear(width, AGE_CLASSES)
        self.gender = nn.Linear(width, 2)
        self.ethnicity = nn.Linear(width, 5)
        self.map2 = nn.Conv2d(512, 256, 1)
        self.map3 = nn.Conv2d(1024, 256, 1)
        self.embedding = nn.Linear(width, EMBEDDING)

    def label_loss(self, pooled: torch.Tensor, batch: LabelledBatch, sigma: float) -> torch.Tensor:
        """Age distribution (Gaussian of `sigma` years, wider for a range of ages; Gao et al., "Deep label
        distribution learning", IEEE TIP 2017), and gender and ethnicity where they are known."""
        years = torch.arange(AGE_CLASSES, device=pooled.device, dtype=torch.float32)
        middle = (batch.low + batch.high) / 2
        variance = sigma**2 + (batch.high - batch.low) ** 2 / 12
        target = F.softmax(-((years - middle[:, None]) ** 2) / (2 * variance[:, None]), dim=1)
        return (
            0.3 * F.cross_entropy(self.distribution(pooled), target)
            + 0.2 * _known_codes_loss(self.gender(pooled), batch.gender)
            + 0.2 * _known_codes_loss(self.ethnicity(pooled), batch.ethnicity)
        )

    def distillation_loss(
        self, pooled: torch.Tensor, map2: torch.Tensor, map3: torch.Tensor, targets: list[torch.Tensor]
    ) -> torch.Tensor:
        """Mean squared error on both maps and cosine distance on the embedding."""
        loss = torch.zeros((), device=pooled.device)
        for weight, head, student, target in (
            (0.7, self.map2, map2, targets[0]),
            (1.0, self.map3, map3, targets[1]),
        ):
            mapped = head(student.float())
            if mapped.shape[-1] != target.shape[-1]:
                mapped = F.interpolate(mapped, size=target.shape[-2:], mode="bilinear")
            loss = loss + weight * F.mse_loss(mapped, target)
        return loss + 0.5 * (1 - F.cosine_similarity(self.embedding(pooled), targets[2]).mean())


def _known_codes_loss(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the faces whose code is known; 0, not NaN, when it is of none."""
    loss = F.cross_entropy(logits, codes, ignore_index=UNKNOWN, label_smoothing=0.1, reduction="sum")
    return loss / (codes != UNKNOWN).sum().clamp(min=1)
