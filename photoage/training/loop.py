"""Fine-tuning: one visible loop over the choices in `TrainConfig`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from photoage.ages.checkpoint import IMAGENET_MEAN, IMAGENET_STD, CheckpointInfo, read_checkpoint_info
from photoage.ages.model import AgeModel, normalise, save_checkpoint
from photoage.ages.predictor import MAX_AGE, autocast_dtype
from photoage.errors import DataError
from photoage.records import TEMPLATE_VERSION, FloatArray
from photoage.training.age_teacher import RECOGNISER, AgeTeacher, recogniser_teacher
from photoage.training.calibrate import calibration
from photoage.training.config import TrainConfig, TrainProgress
from photoage.training.dataset import AlignedFaces, Crops
from photoage.training.distill import Teacher
from photoage.training.loaders import LabelledBatch, training_loader
from photoage.training.log import TrainLog
from photoage.training.networks import default_teacher
from photoage.training.sampling import check_sets, draw_weights
from photoage.training.state import TrainState
from photoage.training.taught import (
    TaughtFaces,
    age_loss,
    feature_loss,
    load_taught,
    taught_age_loss,
    teach,
)

MAX_GRADIENT = 5.0
FIRST_FACES = 256


def learning_rate(config: TrainConfig, done: int, total: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    if done < config.warmup_steps:
        return config.lr * (done + 1) / config.warmup_steps
    progress = (done - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@torch.inference_mode()
def predict_ages(model: AgeModel, crops: Crops, device: torch.device, *, batch_size: int = 128) -> FloatArray:
    """(N, S, S, 3) uint8 RGB crops to (N,) float32 ages, within 0 to 116 as a scan gives them."""
    dtype = autocast_dtype(device)
    ages = []
    for start in range(0, len(crops), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + batch_size])).to(device)
        x = normalise(batch, IMAGENET_MEAN, IMAGENET_STD)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            value = model(x)
        ages.append(value.float().clamp_(0.0, MAX_AGE).cpu())
    return torch.cat(ages).numpy() if ages else np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Run:
    """What the loop works with; `steps` per epoch."""

    config: TrainConfig
    training: AlignedFaces
    weights: npt.NDArray[np.float64]  # of the draws
    state: TrainState
    teacher: Teacher | None
    taught: TaughtFaces | None
    device: torch.device
    steps: int
    state_path: Path
    log: TrainLog
    progress: Callable[[TrainProgress], None]
    should_stop: Callable[[], bool]

    def save(self) -> None:
        self.state.save(self.state_path, self.config, self.teacher)


def state_path(out: Path) -> Path:
    """Where a run that writes the checkpoint `out` keeps its resumable state."""
    return out.with_suffix(".state")


def taught_path(out: Path) -> Path:
    """Where a run that writes the checkpoint `out` keeps what its age teachers have said."""
    return out.with_suffix(".taught.npz")


def log_path(out: Path) -> Path:
    """Where a run that writes the checkpoint `out` keeps its log."""
    return out.with_suffix(".log.jsonl")


def train(
    config: TrainConfig,
    training: AlignedFaces,
    validation: Callable[[int], AlignedFaces],
    out: Path,
    *,
    device: torch.device,
    resume: bool = False,
    data_info: dict[str, Any] | None = None,
    progress: Callable[[TrainProgress], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> CheckpointInfo | None:
    """Train on cached frames and write a checkpoint to `out` after every epoch.

    `validation(size)` gives the validation crops at a crop size. Beside `out` go the resumable state
    and the log. With `resume`, continues from the state file: on a CPU with the same thread count,
    to the same weights as an unbroken run. Returns None when `should_stop` ended it, state saved.
    """
    steps = len(training.samples) // config.batch_size
    if steps == 0:
        raise DataError(
            f"{len(training.samples)} training faces do not fill one batch of {config.batch_size}"
        )
    named = (*dict(config.prints), *dict(config.taught), *config.noisy, *config.balanced)
    check_sets(named, (sample.set for sample in training.samples))
    weights = draw_weights(training.samples, dict(config.shares), config.rare_ages)
    if (drawn := np.count_nonzero(weights)) < config.batch_size:
        raise DataError(f"{drawn} faces that are drawn do not fill one batch of {config.batch_size}")
    out.parent.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(Path(config.teacher), device) if config.teacher else None
    taught = _taught(config, training, weights, out, device, resume)
    widths = taught.widths if taught else ()
    if resume and state_path(out).is_file():
        state = TrainState(replace(config, init="none"), device, widths)
        state.load(state_path(out), config, teacher)
    else:
        state = TrainState(config, device, widths)
        if teacher is not None:
            teacher.fit_statistics(_first_crops(config, training, weights))
    with TrainLog(log_path(out), steps, done=state.epoch * steps + state.step) as log:
        started = time.monotonic() - log.seconds
        run = _Run(
            config,
            training,
            weights,
            state,
            teacher,
            taught,
            device,
            steps,
            state_path(out),
            log,
            progress,
            should_stop,
        )
        while state.epoch < config.epochs:
            size = config.size_at(state.epoch)
            if not _run_epoch(run, size):
                run.save()
                return None
            info = _checkpoint_info(run, validation(size), size, data_info or {})
            save_checkpoint(out, state.averaged.backbone, info)
            measured = info.metrics["validation"]
            seconds = round(time.monotonic() - started, 1)
            log.write({"epoch": state.epoch, "size": size, "seconds": seconds, "validation": measured})
            run.save()
            progress(TrainProgress(state.epoch, config.epochs, steps, steps, math.nan, 0.0, measured))
    return read_checkpoint_info(out)


def _taught(
    config: TrainConfig,
    training: AlignedFaces,
    weights: npt.NDArray[np.float64],
    out: Path,
    device: torch.device,
    resume: bool,
) -> TaughtFaces | None:
    """What the age teachers say, asked once in a run."""
    if not config.age_teachers:
        return None
    kept = load_taught(taught_path(out)) if resume else None
    if kept is not None and len(kept.ages) == len(training.samples):
        return kept
    teachers = [_age_teacher(name, device) for name in config.age_teachers]
    taught = teach(training, weights, teachers, config)
    taught.save(taught_path(out))
    return taught


def _age_teacher(name: str, device: torch.device) -> AgeTeacher:
    if name == RECOGNISER:
        return recogniser_teacher(default_teacher(), device)
    return AgeTeacher(Path(name), device)


def _first_crops(
    config: TrainConfig, training: AlignedFaces, weights: npt.NDArray[np.float64]
) -> torch.Tensor:
    """Training crops from which a teacher learns the scale of what it sees."""
    count = min(FIRST_FACES, int(np.count_nonzero(weights)))
    first = replace(config, batch_size=count, workers=0)
    return next(iter(training_loader(training, weights, first, size=config.size_at(0), epoch=0))).crops


def _run_epoch(run: _Run, size: int) -> bool:
    """Train to the end of the epoch; False when asked to stop before it."""
    config, state = run.config, run.state
    dtype = _training_dtype(run.device)
    total = run.steps * config.epochs
    loader = training_loader(
        run.training,
        run.weights,
        config,
        size=size,
        taught=run.taught,
        epoch=state.epoch,
        start=state.step,
        pin_memory=run.device.type == "cuda",
    )
    state.train_mode()
    since, images = time.monotonic(), 0
    for batch in loader:
        done = state.epoch * run.steps + state.step
        torch.manual_seed(config.seed + done)  # dropout of a resumed run draws the same
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(config, done, total)
        share = max(0.0, 1 - done / (config.distill_until * total)) if config.distill_until else 0.0
        parts = _losses(run, batch.to(run.device), min(1.0, 2 * share), dtype)
        loss = torch.stack(list(parts.values())).sum()
        state.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(state.parameters, MAX_GRADIENT)
        state.optimiser.step()
        state.ema.update_parameters(state.model)
        state.step += 1
        images += len(batch.crops)
        if state.step % config.log_every == 0:
            rate = images / (time.monotonic() - since)
            values = {name: round(value.item(), 4) for name, value in parts.items()}
            position = {"epoch": state.epoch, "step": state.step, "size": size}
            run.log.write(position | {"images_per_s": round(rate, 1)} | values)
            run.progress(TrainProgress(state.epoch, config.epochs, state.step, run.steps, loss.item(), rate))
        if state.step < run.steps:
            if run.should_stop():
                return False
            if state.step % config.save_every == 0:
                run.save()
    state.epoch, state.step = state.epoch + 1, 0
    return True


def _training_dtype(device: torch.device) -> torch.dtype | None:
    """float16 gradients would need loss scaling; without bf16, training stays in float32."""
    dtype = autocast_dtype(device)
    return dtype if dtype is torch.bfloat16 else None


def _losses(
    run: _Run, batch: LabelledBatch, distill_weight: float, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    heads, config = run.state.heads, run.config
    x = normalise(batch.crops, IMAGENET_MEAN, IMAGENET_STD)
    with torch.autocast(run.device.type, dtype=dtype, enabled=dtype is not None):
        age, pooled, map2, map3 = run.state.model.features(x)
    parts = {
        "age": age_loss(age, batch.low, batch.high, batch.noisy, config),
        "labels": heads.label_loss(pooled, batch, config.label_sigma),
    }
    if run.teacher is not None and distill_weight > 0:
        targets = run.teacher.targets(batch.crops)
        parts["distill"] = (
            config.distill_weight * distill_weight * heads.distillation_loss(pooled, map2, map3, targets)
        )
    if run.taught is not None and run.state.taught is not None:
        unlike = feature_loss(run.state.taught(pooled), batch.features, run.taught.widths)
        parts["features"] = config.features_weight * unlike
        parts["taught age"] = taught_age_loss(age, batch.taught, batch.taught_weight, config)
    if run.state.balance is not None:
        parts["balance"] = run.state.balance(age, batch.low, batch.high, batch.group)
    return parts


def _checkpoint_info(run: _Run, faces: AlignedFaces, size: int, data_info: dict[str, Any]) -> CheckpointInfo:
    """What the checkpoint says about itself, measured and calibrated on the validation faces."""
    config = run.config
    predicted = predict_ages(run.state.averaged, faces.crops, run.device)
    # Names only: where the files lay on this machine concerns nobody else.
    names = {
        "teacher": Path(config.teacher).name if config.teacher else None,
        "age_teachers": [Path(path).name for path in config.age_teachers],
    }
    init = Path(config.init).name
    return CheckpointInfo(
        name=config.name,
        crop_size=size,
        flip_average=False,  # it gains a few hundredths of a year for twice the cost
        template=TEMPLATE_VERSION,
        init=init,
        data=data_info,
        recipe=asdict(config) | names | {"init": init},
        **calibration(faces, predicted),
    )
