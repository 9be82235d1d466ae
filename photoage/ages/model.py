"""The age model: ResNet-50 with a single-neuron head, its weights, and its predictions."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from photoage.ages.checkpoint import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    METADATA_KEY,
    CheckpointInfo,
    Interval,
    int8_path,
    read_checkpoint_info,
)
from photoage.ages.int8 import Int8Model
from photoage.digest import file_sha256
from photoage.errors import CheckpointError, DeviceError
from photoage.records import Estimate
from photoage.training.metrics import interval_bounds

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AgeModel",
    "CheckpointInfo",
    "Interval",
    "Predictor",
    "autocast_dtype",
    "choose_device",
    "initial_model",
    "load_checkpoint",
    "load_model",
    "load_weights",
    "normalise",
    "read_checkpoint_info",
    "save_checkpoint",
]

MAX_AGE = 116.0


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


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` to a device; raises `DeviceError` when CUDA is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available to PyTorch (see `photoage doctor`)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision that pays on this device, or None to stay in float32.

    On a CPU without bf16 arithmetic, bf16 is emulated and several times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else None


PRECISIONS = ("auto", "int8", "half", "float")


class Predictor:
    """A loaded checkpoint on a device, ready to estimate batches of crops."""

    def __init__(
        self, path: Path, device: torch.device, precision: str = "auto", threads: int | None = None
    ) -> None:
        """`precision` is `int8` (CPU only), `half` (bf16 or fp16), `float`, or `auto`; `threads` is for
        8-bit arithmetic and for preparing crops, all cores by default.

        `auto` takes on a CPU the 8-bit form of the checkpoint if there is one, which is twice as fast
        as bf16 and costs next to nothing (docs/model_card.md); else half precision where it pays.
        Raises `CheckpointError` when a file is not usable, `DeviceError` when the device has no such
        precision.
        """
        self.path, self.device = path, device
        self.info = read_checkpoint_info(path)
        self.dtype: torch.dtype | None = None
        self._model: Callable[[torch.Tensor], torch.Tensor]
        self._threads = threads or torch.get_num_threads()
        int8 = _int8_model(path, device, precision, self._threads)
        if int8 is not None:
            self.precision, self._model = "int8", int8
            return
        self._model = load_model(path).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        if precision in ("auto", "half"):
            self.dtype = autocast_dtype(device)
        if precision == "half" and self.dtype is None:
            raise DeviceError("this processor has no fast half precision")
        self.precision = str(self.dtype or torch.float32).removeprefix("torch.")

    @torch.inference_mode()
    def predict(self, crops: torch.Tensor) -> torch.Tensor:
        """(N, S, S, 3) uint8 RGB crops to (N,) float32 ages in years on the CPU, within 0 to 116."""
        if len(crops) == 0:
            return torch.empty(0)
        with _torch_threads(self._threads):
            x = normalise(crops.to(self.device, non_blocking=True), self.info.mean, self.info.std)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            ages = self._model(x)
            if self.info.flip_average:
                ages = (ages + self._model(x.flip(3))) / 2
        return ages.float().clamp_(0.0, MAX_AGE).cpu()

    def estimate(self, crops: torch.Tensor, batch_size: int = 64) -> list[Estimate]:
        """Estimates with intervals for (N, S, S, 3) uint8 RGB crops, however many."""
        parts = [self.predict(part) for part in torch.split(crops, batch_size)]
        ages = torch.cat([torch.empty(0), *parts]).numpy()
        low, high = interval_bounds(ages, self.info.interval)
        return [Estimate(*map(float, row)) for row in zip(ages, low, high, strict=True)]


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Torch's own threads, which wait for each other spinning, no more than `count` for the moment."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _int8_model(checkpoint: Path, device: torch.device, precision: str, threads: int) -> Int8Model | None:
    """The 8-bit form of a checkpoint, if it is wanted and, unless it must be, there and in order."""
    if precision == "int8" and device.type != "cpu":
        raise DeviceError("8-bit precision is for the CPU only")
    # Made and measured on x86; elsewhere it runs, but whether it pays is not known.
    wanted = precision == "auto" and device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
    path = int8_path(checkpoint)
    if precision != "int8" and not (wanted and path.is_file()):
        return None
    try:
        return Int8Model(path, file_sha256(checkpoint), threads)
    except CheckpointError:
        if precision == "int8":
            raise
        return None


def load_model(path: Path) -> AgeModel:
    """The network of a checkpoint, float32 on the CPU. Raises `CheckpointError`."""
    _, weights = load_checkpoint(path)
    model = AgeModel()
    model.backbone.load_state_dict(weights)
    return model


def save_checkpoint(path: Path, backbone: nn.Module, info: CheckpointInfo) -> None:
    """Write a checkpoint in half precision; the file appears whole or not at all."""
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    partial = path.with_name(path.name + ".part")
    save_file(weights, partial, metadata={METADATA_KEY: json.dumps(asdict(info), sort_keys=True)})
    partial.replace(path)


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
        raise CheckpointError(f"{path}: no such file (--init takes imagenet, none or a file)")
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
            f" {cached.parent}, or use --init FILE or --init none"
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
