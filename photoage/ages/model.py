"""The age model: ResNet-50 with a single-neuron head, its weights, and its predictions."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from photoage.ages.checkpoint import (
    METADATA_KEY,
    CheckpointInfo,
    read_checkpoint_info,
)
from photoage.errors import CheckpointError
from photoage.files import replacing_path


class AgeModel(nn.Module):
    """torchvision ResNet-50 whose last layer is one neuron, in years."""

    def __init__(self) -> None:
        # Imported where it is needed: it takes as long as torch itself, and 8-bit estimates do without.
        from torchvision.models import resnet50

        super().__init__()
        self.backbone = resnet50(weights=None)
        self.backbone.fc = nn.Linear(self.backbone.fc.in_features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (N, 3, S, S) float RGB, normalised; returns (N,) ages in years, float32."""
        return self.features(x)[0]

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ages (N,), pooled features (N, 2048), and the maps of layer2 and layer3 (for distillation)."""
        net = self.backbone
        x = x.contiguous(memory_format=torch.channels_last)  # as convolutions are fastest
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        map2 = net.layer2(net.layer1(x))
        map3 = net.layer3(map2)
        pooled = net.avgpool(net.layer4(map3)).flatten(1)
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.float()
            return net.fc(pooled).squeeze(1), pooled, map2, map3


def normalise(crops: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(N, S, S, 3) uint8 RGB to (N, 3, S, S) float32; `mean` and `std` per channel, of values from 0 to 1."""
    x = crops.permute(0, 3, 1, 2).contiguous().float()
    shift, spread = (torch.tensor(each, device=x.device).view(1, 3, 1, 1) for each in (mean, std))
    return x.mul_(1 / (255 * spread)).sub_(shift / spread)


def load_model(path: Path) -> AgeModel:
    """The network of a checkpoint, float32 on the CPU. Raises `CheckpointError`."""
    _, weights = load_checkpoint(path)
    model = AgeModel()
    model.backbone.load_state_dict(weights)
    return model


def save_checkpoint(path: Path, backbone: nn.Module, info: CheckpointInfo) -> None:
    """Write a checkpoint in half precision, whole or not at all. Raises `PhotoageError`."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with replacing_path(path) as file:
        save_file(weights, file, metadata={METADATA_KEY: json.dumps(asdict(info), sort_keys=True)})


def load_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, torch.Tensor]]:
    """Metadata and float32 weights of a checkpoint. Raises `CheckpointError`."""
    info = read_checkpoint_info(path)
    return info, load_weights(path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Float32 ResNet-50 weights with a one-neuron head from a safetensors file.

    Raises `CheckpointError` when the file is unreadable or the names or shapes differ.
    """
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    expected = AgeModel().backbone.state_dict()
    for name, value in expected.items():
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros_like(value))
        elif name not in weights or weights[name].shape != value.shape:
            raise CheckpointError(f"{path}: weight {name} is missing or has another shape")
    if extra := set(weights) - set(expected):
        raise CheckpointError(f"{path}: unexpected weight {sorted(extra)[0]}")
    return {name: v.float() if v.is_floating_point() else v for name, v in weights.items()}


def initial_model(init: str) -> AgeModel:
    """A model to train: `imagenet` (torchvision's IMAGENET1K_V2), `none` (random) or a file.

    A file is a photoage checkpoint or bare safetensors weights (torchvision's names, one-neuron
    head), or torchvision's own `.pth` state dict. Raises `CheckpointError`.
    """
    model = AgeModel()
    if init == "none":
        return model
    if init == "imagenet":
        from torchvision.models import ResNet50_Weights

        _load_classifier(model, _imagenet_weights(), url=str(ResNet50_Weights.IMAGENET1K_V2))
        return model
    path = Path(init).expanduser()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file (`init` takes imagenet, none or a file)")
    if path.suffix in (".pth", ".pt"):
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path}: not a readable state dict ({error})") from error
        _load_classifier(model, dict(weights), url=str(path))
        return model
    model.backbone.load_state_dict(load_weights(path))
    return model


def _imagenet_weights() -> dict[str, torch.Tensor]:
    """torchvision's IMAGENET1K_V2 classifier, through its cache; the file's sha256 is checked."""
    from torchvision.models import ResNet50_Weights

    url = ResNet50_Weights.IMAGENET1K_V2.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    try:
        if cached.is_file():
            # torch.hub checks only what it downloads itself; the name ends in the sha256's beginning.
            with cached.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith(cached.stem.rsplit("-", 1)[-1]):
                raise CheckpointError(
                    f"{cached}: sha256 {digest[:12]}... is not torchvision's; delete this file"
                )
        with contextlib.redirect_stdout(io.StringIO()):  # torch.hub announces downloads there
            weights = ResNet50_Weights.IMAGENET1K_V2.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{url}: could not be fetched or verified ({error}); fetch it elsewhere and put it in"
            f" {cached.parent}, or use `init` FILE or `init` none"
        ) from error
    return dict(weights)


def _load_classifier(model: AgeModel, weights: dict[str, torch.Tensor], url: str) -> None:
    """Take all but the last layer of a ResNet-50 classifier."""
    weights = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = model.backbone.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{url}: not ResNet-50 weights ({str(error).splitlines()[0]})") from error
    if unexpected or any(not name.startswith("fc.") for name in missing):
        raise CheckpointError(f"{url}: not ResNet-50 weights")
