"""What a resumed training run needs: model, averaged model, heads, optimiser and position."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from photoage.ages.model import AgeModel, initial_model
from photoage.errors import DataError
from photoage.files import replacing_path
from photoage.training.balance import Balance
from photoage.training.config import FREEZABLE, TrainConfig
from photoage.training.distill import AuxiliaryHeads, Teacher

FEATURES = 2048  # that the model pools
FREE_TO_CHANGE = ("workers", "save_every", "log_every")  # on resuming: they do not affect the weights


class TrainState:
    """The tensors of a run and the next batch to see; saved as safetensors, never pickled."""

    def __init__(self, config: TrainConfig, device: torch.device, taught: Sequence[int] = ()) -> None:
        """`taught` are the widths of the age teachers' features."""
        torch.manual_seed(config.seed)
        self.model = initial_model(config.init).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = AveragedModel(self.model, avg_fn=partial(_moved, config.ema), use_buffers=True).eval()
        self.heads = AuxiliaryHeads().to(device)
        self.taught = nn.Linear(FEATURES, sum(taught)).to(device) if taught else None
        self.balance = Balance(len(config.balanced)).to(device) if config.balanced else None
        self.frozen = _freeze(self.model, config.freeze)
        trained = [self.model, self.heads, *([self.taught] if self.taught else [])]
        everything = [parameter for module in trained for parameter in module.parameters()]
        self.parameters = [parameter for parameter in everything if parameter.requires_grad]
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=config.lr,
        )
        self.epoch = self.step = 0  # the next batch to see

    def train_mode(self) -> None:
        """Batch norms take their batch's statistics, except in what is frozen."""
        self.model.train()
        for part in self.frozen:
            part.eval()

    @property
    def averaged(self) -> AgeModel:
        """The model whose weights are the mean of those of the last steps: the one that is kept."""
        module = self.ema.module
        assert isinstance(module, AgeModel)
        return module

    def _modules(self) -> dict[str, nn.Module]:
        """What is saved, by its name there."""
        modules = {"model": self.model, "ema": self.ema, "heads": self.heads}
        optional = {"taught": self.taught, "balance": self.balance}
        return modules | {name: module for name, module in optional.items() if module is not None}

    def save(self, path: Path, config: TrainConfig, teacher: Teacher | None) -> None:
        """Write the state, whole or not at all. Raises `PhotoageError`."""
        tensors: dict[str, torch.Tensor] = {}
        for prefix, module in self._modules().items():
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{i}.{key}"] = value
        if teacher is not None:
            tensors |= {f"teacher.{k}": v for k, v in teacher.statistics.items()}
        position = {"epoch": self.epoch, "step": self.step, "config": asdict(config)}
        with replacing_path(path) as file:
            save_file({k: v.contiguous() for k, v in tensors.items()}, file, {"state": json.dumps(position)})

    def load(self, path: Path, config: TrainConfig, teacher: Teacher | None) -> None:
        """Raises `DataError` for an unreadable state or one of a different configuration."""
        try:
            with safe_open(path, framework="pt") as file:
                position = json.loads((file.metadata() or {})["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            then, self.epoch, self.step = position["config"], position["epoch"], position["step"]
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path}: not a resumable training state ({error})") from error
        for key, value in json.loads(json.dumps(asdict(config))).items():
            if key not in FREE_TO_CHANGE and then.get(key) != value:
                raise DataError(f"{path}: was trained with {key}={then.get(key)}, not {value}")

        def under(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            for prefix, module in self._modules().items():
                module.load_state_dict(under(f"{prefix}."))
        except RuntimeError as error:
            raise DataError(f"{path}: not a state of this model ({str(error).splitlines()[0]})") from error
        for i, parameter in enumerate(self.parameters):
            if stored := under(f"optimiser.{i}."):
                self.optimiser.state[parameter] = {
                    k: v if k == "step" else v.to(parameter.device) for k, v in stored.items()
                }
        if teacher is not None:
            teacher.statistics = {k: v.to(teacher.device) for k, v in under("teacher.").items()}


def _freeze(model: AgeModel, last: str | None) -> list[nn.Module]:
    """The parts of the backbone up to `last`, which get no gradients any more."""
    names = FREEZABLE[: FREEZABLE.index(last) + 1] if last else ()
    parts = [model.backbone.get_submodule(name) for name in names]
    for part in parts:
        part.requires_grad_(False)
    return parts


def _moved(
    decay: float, averaged: torch.Tensor, current: torch.Tensor, done: torch.Tensor | int
) -> torch.Tensor:
    """An averaged weight moved towards the model's; early on faster, while the model is still far off."""
    if not averaged.is_floating_point():
        return current
    return averaged.lerp(current, 1 - min(decay, (1 + int(done)) / (10 + int(done))))
