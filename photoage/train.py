"""Fine-tuning: a dataclass of options and one visible loop."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from photoage.age_model import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AgeModel,
    CheckpointInfo,
    Interval,
    autocast_dtype,
    initial_model,
    normalise,
    save_checkpoint,
)
from photoage.align import TEMPLATE_VERSION
from photoage.data import LabelledBatch, training_loader
from photoage.dataset import AlignedFaces, labels_of
from photoage.distill import AuxiliaryHeads, Teacher
from photoage.errors import DataError
from photoage.evaluate import calibrate, measure
from photoage.records import FloatArray


@dataclass(frozen=True)
class TrainConfig:
    """Every choice of a training run; ages and sigma in years."""

    name: str = "photoage-resnet50"
    init: str = "imagenet"
    teacher: str | None = None
    schedule: tuple[tuple[int, int], ...] = ((112, 9), (128, 3))  # (crop size, epochs), in order
    batch_size: int = 96
    lr: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 150
    huber_years: float = 3.0  # errors beyond this count linearly: labels are noisy
    label_sigma: float = 3.0
    distill_until: float = 0.85  # share of the run after which the teacher is silent
    ema: float = 0.998
    seed: int = 0
    workers: int = 1
    save_every: int = 100  # steps between resumable states
    log_every: int = 20

    @property
    def epochs(self) -> int:
        return sum(count for _, count in self.schedule)

    def size_at(self, epoch: int) -> int:
        for size, count in self.schedule:
            if epoch < count:
                return size
            epoch -= count
        return self.schedule[-1][0]


@dataclass(frozen=True)
class TrainProgress:
    """What a caller may want to show after a step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    validation: dict[str, Any] | None = None


class TrainState:
    """Model, averaged model, heads and optimiser: all that a resumed run needs, as safetensors."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.model = initial_model(config.init).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.heads = AuxiliaryHeads().to(device)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        decayed = [p for p in self.parameters if p.ndim > 1]
        plain = [p for p in self.parameters if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.lr,
        )
        self.epoch = self.step = 0  # the next batch to see

    def update_ema(self, decay: float, done: int) -> None:
        decay = min(decay, (1 + done) / (10 + done))
        with torch.no_grad():
            for ours, theirs in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
                if ours.is_floating_point():
                    ours.lerp_(theirs, 1 - decay)
                else:
                    ours.copy_(theirs)

    def save(self, path: Path, config: TrainConfig, teacher: Teacher | None) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for prefix, module in (("model", self.model), ("ema", self.ema), ("heads", self.heads)):
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for i, parameter in enumerate(self.parameters):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{i}.{key}"] = value
        if teacher is not None:
            tensors |= {f"teacher.{k}": v for k, v in teacher.statistics.items()}
        position = {"epoch": self.epoch, "step": self.step, "config": asdict(config)}
        partial = path.with_name(path.name + ".part")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": json.dumps(position)})
        partial.replace(path)

    def load(self, path: Path, config: TrainConfig, teacher: Teacher | None) -> None:
        """Raises `DataError` for an unreadable state or one of a different configuration."""
        try:
            with safe_open(path, framework="pt") as file:
                position = json.loads((file.metadata() or {})["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DataError(f"{path}: not a resumable training state ({error})") from error
        wanted = json.loads(json.dumps(asdict(config)))
        for key, value in wanted.items():
            if key not in ("workers", "save_every", "log_every") and position["config"].get(key) != value:
                raise DataError(f"{path}: was trained with {key}={position['config'].get(key)}, not {value}")
        for prefix, module in (("model", self.model), ("ema", self.ema), ("heads", self.heads)):
            module.load_state_dict(
                {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
            )
        for i, parameter in enumerate(self.parameters):
            stored = {k.split(".", 2)[2]: v for k, v in tensors.items() if k.startswith(f"optimiser.{i}.")}
            if stored:
                self.optimiser.state[parameter] = {
                    k: v if k == "step" else v.to(parameter.device) for k, v in stored.items()
                }
        if teacher is not None:
            teacher.statistics = {
                k.removeprefix("teacher."): v.to(teacher.device)
                for k, v in tensors.items()
                if k.startswith("teacher.")
            }
        self.epoch, self.step = position["epoch"], position["step"]


def learning_rate(config: TrainConfig, done: int, total: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if done < config.warmup_steps:
        return config.lr * (done + 1) / config.warmup_steps
    progress = (done - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@torch.inference_mode()
def predict_ages(
    model: AgeModel, crops: np.ndarray, device: torch.device, *, flip: bool = False, batch_size: int = 128
) -> FloatArray:
    """(N, S, S, 3) uint8 RGB crops to (N,) float32 ages; `flip` averages with the mirror image."""
    dtype = autocast_dtype(device)
    ages = []
    for start in range(0, len(crops), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + batch_size])).to(device)
        x = normalise(batch, IMAGENET_MEAN, IMAGENET_STD)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            value = model(x)
            if flip:
                value = (value + model(x.flip(3))) / 2
        ages.append(value.float().cpu())
    return torch.cat(ages).numpy() if ages else np.empty(0, dtype=np.float32)


def train(
    config: TrainConfig,
    training: AlignedFaces,
    validation: Callable[[int], AlignedFaces],
    out: Path,
    *,
    device: torch.device,
    resume: bool = False,
    data_info: dict[str, Any] | None = None,
    progress: Callable[[TrainProgress], None] = lambda report: None,
) -> CheckpointInfo:
    """Train on cached frames and write a checkpoint to `out` after every epoch.

    `validation(size)` gives the validation crops at a crop size. Beside `out` go the resumable state
    (`.state`) and the log (`.log.jsonl`). With `resume`, continues from the state file: on a CPU
    with the same thread count, to the same weights as an unbroken run.
    """
    steps = len(training.samples) // config.batch_size
    if steps == 0:
        raise DataError(f"{len(training.samples)} training faces do not fill one batch of {config.batch_size}")
    total = steps * config.epochs
    state_path, log_path = out.with_suffix(".state"), out.with_suffix(".log.jsonl")
    teacher = Teacher(Path(config.teacher), device) if config.teacher else None
    state = TrainState(config, device)
    if resume and state_path.is_file():
        state.load(state_path, config, teacher)
    elif teacher is not None:
        plain = training_loader(training, size=config.size_at(0), batch_size=min(512, len(training.samples)),
                                seed=config.seed, epoch=0, workers=0)  # fmt: skip
        teacher.fit_statistics(next(iter(plain)).crops)
    out.parent.mkdir(parents=True, exist_ok=True)
    info = CheckpointInfo(config.name, config.size_at(config.epochs), Interval(0.9, (0.0,), (0.0,), (0.0,)))
    started = time.monotonic()
    with log_path.open("a" if state.epoch or state.step else "w", encoding="utf-8") as log:
        while state.epoch < config.epochs:
            _run_epoch(state, config, training, teacher, device, steps, total, log, progress,
                       lambda: state.save(state_path, config, teacher))  # fmt: skip
            size = config.size_at(state.epoch - 1)
            faces = validation(size)
            info = _checkpoint_info(state, config, faces, size, device, data_info or {})
            save_checkpoint(out, state.ema.backbone, info)
            state.save(state_path, config, teacher)
            entry = {"epoch": state.epoch, "size": size, "seconds": round(time.monotonic() - started, 1)}
            _log(log, entry | {"validation": info.metrics["validation"]})
            progress(TrainProgress(state.epoch, config.epochs, steps, steps, math.nan, 0.0,
                                   info.metrics["validation"]))  # fmt: skip
    return info


def _run_epoch(
    state: TrainState,
    config: TrainConfig,
    training: AlignedFaces,
    teacher: Teacher | None,
    device: torch.device,
    steps: int,
    total: int,
    log: TextIO,
    progress: Callable[[TrainProgress], None],
    save: Callable[[], None],
) -> None:
    size = config.size_at(state.epoch)
    dtype = autocast_dtype(device)
    loader = training_loader(
        training,
        size=size,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=state.epoch,
        start=state.step,
        workers=config.workers,
        pin_memory=device.type == "cuda",
    )
    state.model.train()
    since, images = time.monotonic(), 0
    for batch in loader:
        done = state.epoch * steps + state.step
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(config, done, total)
        share = max(0.0, 1 - done / (config.distill_until * total)) if config.distill_until else 0.0
        parts = _losses(state, config, _to(batch, device), teacher, min(1.0, 2 * share), dtype)
        loss = torch.stack(list(parts.values())).sum()
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(state.parameters, 5.0)
        state.optimiser.step()
        state.update_ema(config.ema, done)
        state.step += 1
        images += len(batch.age)
        if state.step % config.log_every == 0:
            rate = images / (time.monotonic() - since)
            values = {name: round(float(value), 4) for name, value in parts.items()}
            _log(log, {"epoch": state.epoch, "step": state.step, "size": size, "images_per_s": round(rate, 1)} | values)
            progress(TrainProgress(state.epoch, config.epochs, state.step, steps, float(loss), rate))
        if state.step % config.save_every == 0 and state.step < steps:
            save()
    state.epoch, state.step = state.epoch + 1, 0


def _losses(
    state: TrainState,
    config: TrainConfig,
    batch: LabelledBatch,
    teacher: Teacher | None,
    distill_weight: float,
    dtype: torch.dtype | None,
) -> dict[str, torch.Tensor]:
    device = batch.crops.device
    x = normalise(batch.crops, IMAGENET_MEAN, IMAGENET_STD)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        age, pooled, map2, map3 = state.model.features(x)
    parts = {
        "age": F.smooth_l1_loss(age / 10, batch.age / 10, beta=config.huber_years / 10),
        "labels": state.heads.label_loss(pooled, batch, config.label_sigma),
    }
    if teacher is not None and distill_weight > 0:
        targets = teacher.targets(batch.crops)
        parts["distill"] = distill_weight * state.heads.distillation_loss(pooled, map2, map3, targets)
    return parts


def _checkpoint_info(
    state: TrainState,
    config: TrainConfig,
    faces: AlignedFaces,
    size: int,
    device: torch.device,
    data_info: dict[str, Any],
) -> CheckpointInfo:
    age = labels_of(faces.samples)["age"]
    plain = predict_ages(state.ema, faces.crops, device)
    flipped = predict_ages(state.ema, faces.crops, device, flip=True)
    table = calibrate(flipped, age)
    metrics = {"plain": measure(plain, age), "flip": measure(flipped, age)}
    return CheckpointInfo(
        name=config.name,
        crop_size=size,
        interval=Interval(table.coverage, table.edges, table.low, table.high),
        flip_average=True,
        template=TEMPLATE_VERSION,
        init=Path(config.init).name,
        data=data_info,
        recipe=asdict(replace(config, teacher=Path(config.teacher).name if config.teacher else None,
                              init=Path(config.init).name)),  # fmt: skip
        metrics={"validation": {k: asdict(m) for k, m in metrics.items() if m}},
    )


def _to(batch: LabelledBatch, device: torch.device) -> LabelledBatch:
    if device.type == "cpu":
        return batch
    return LabelledBatch(*(getattr(batch, name).to(device, non_blocking=True) for name in LabelledBatch.__slots__))


def _log(log: TextIO, entry: dict[str, Any]) -> None:
    log.write(json.dumps(entry) + "\n")
    log.flush()


def learning_curve(log_paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The per-epoch entries of training logs, for plotting."""
    entries = []
    for path in log_paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "validation" in entry:
                entries.append(entry)
    return entries
