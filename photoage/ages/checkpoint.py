"""What a checkpoint file says about itself, readable without torch.

A checkpoint is one safetensors file: the weights under torchvision's names, half precision, and a
JSON document under the metadata key `photoage`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from photoage.ages.intervals import Interval
from photoage.errors import CheckpointError
from photoage.records import TEMPLATE_VERSION

ARCHITECTURE = "torchvision.resnet50/fc=1"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
METADATA_KEY = "photoage"


@dataclass(frozen=True)
class CheckpointInfo:
    """Everything about a checkpoint that is not a weight."""

    name: str
    crop_size: int
    interval: Interval
    flip_average: bool = False
    architecture: str = ARCHITECTURE
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    template: str = TEMPLATE_VERSION
    init: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    licence: str = "non-commercial research only (derived from UTKFace and InsightFace models)"


def int8_path(checkpoint: Path) -> Path:
    """Where the 8-bit form of a checkpoint is, if it has one: beside it."""
    return checkpoint.with_suffix(".int8.onnx")


def read_checkpoint_info(path: Path) -> CheckpointInfo:
    """Only the metadata of a checkpoint. Raises `CheckpointError`."""
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error
    if text is None:
        raise CheckpointError(f"{path}: not a photoage checkpoint (no metadata)")
    try:
        raw = json.loads(text)
        raw["interval"] = Interval.from_json(raw["interval"])
        raw["mean"], raw["std"] = tuple(raw["mean"]), tuple(raw["std"])
        info = CheckpointInfo(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: malformed checkpoint metadata ({error})") from error
    if info.architecture != ARCHITECTURE:
        raise CheckpointError(f"{path}: architecture {info.architecture} is not {ARCHITECTURE}")
    if info.template != TEMPLATE_VERSION:
        raise CheckpointError(f"{path}: made for alignment {info.template}, not {TEMPLATE_VERSION}")
    return info
