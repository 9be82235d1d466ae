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
import torch.nn.functional as F
from torch import nn

from photoage.ages.checkpoint import IMAGENET_MEAN, IMAGENET_STD, CheckpointInfo, read_checkpoint_info
from photoage.ages.model import AgeModel, normalise, save_checkpoint
from photoage.ages.predictor import MAX_AGE, autocast_dtype
from photoage.errors import DataError
from photoage.records import TEMPLATE_VERSION, FloatArray
from photoage.training.age_teacher import AgeTeacher, taught_age_loss
from photoage.training.calibrate import calibration
from photoage.training.config import TrainConfig, TrainProgress
from photoage.training.dataset import AlignedFaces, Crops
from photoage.training.distill import Teacher
from photoage.training.loaders import LabelledBatch, training_loader
from photoage.training.log import TrainLog
from photoage.training.sampling import check_sets, draw_weights
from photoage.training.state import TrainState

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
    age_teacher: AgeTeacher | None
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
    check_sets((*dict(config.prints), *config.noisy), (sample.set for sample in training.samples))
    weights = draw_weights(training.samples, dict(config.shares), config.rare_ages)
    if (drawn := np.count_nonzero(weights)) < config.batch_size:
        raise DataError(f"{drawn} faces that are drawn do not fill one batch of {config.batch_size}")
    out.parent.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(Path(config.teacher), device) if config.teacher else None
    age_teacher = AgeTeacher(Path(config.age_teacher), device) if config.age_teacher else None
    widths = age_teacher.widths if age_teacher else ()
    if resume and state_path(out).is_file():
        state = TrainState(replace(config, init="none"), device, widths)
        state.load(state_path(out), config, teacher)
    else:
        state = TrainState(config, device, widths)
        first = _first_batch(config, training, weights, age_teacher.size if age_teacher else 0)
        if teacher is not None:
            teacher.fit_statistics(first.crops)
        if age_teacher is not None and state.taught is not None:
            state.taught.fit_statistics(age_teacher(first.plain))
    with TrainLog(log_path(out), steps, done=state.epoch * steps + state.step) as log:
        started = time.monotonic() - log.seconds
        run = _Run(
            config,
            training,
            weights,
            state,
            teacher,
            age_teacher,
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


def _first_batch(
    config: TrainConfig, training: AlignedFaces, weights: npt.NDArray[np.float64], plain_size: int
) -> LabelledBatch:
    """Training faces from which teachers learn the scale of what they see."""
    count = min(FIRST_FACES, int(np.count_nonzero(weights)))
    first = replace(config, batch_size=count, workers=0)
    size = config.size_at(0)
    return next(iter(training_loader(training, weights, first, size=size, plain_size=plain_size, epoch=0)))


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
        plain_size=run.age_teacher.size if run.age_teacher else 0,
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
        "age": age_loss(age, batch, config.huber_years, config.noisy_years),
        "labels": heads.label_loss(pooled, batch, config.label_sigma),
    }
    if run.teacher is not None and distill_weight > 0:
        targets = run.teacher.targets(batch.crops)
        parts["distill"] = (
            config.distill_weight * distill_weight * heads.distillation_loss(pooled, map2, map3, targets)
        )
    if run.age_teacher is not None and run.state.taught is not None:
        features, taught = run.state.taught(pooled, run.age_teacher(batch.plain))
        parts["features"] = config.features_weight * features
        parts["teacher's age"] = age_loss(taught, batch, config.huber_years, config.noisy_years)
        parts["taught age"] = config.taught_weight * taught_age_loss(age, taught, config.huber_years)
    return parts


def age_loss(age: torch.Tensor, batch: LabelledBatch, huber_years: float, noisy_years: float) -> torch.Tensor:
    """Smooth L1 of how far each age lies outside of what its label allows: nothing inside a range.

    Beyond `huber_years` it grows linearly. A noisy face that is further off than `noisy_years` is taken for
    somebody else's and teaches nothing.
    """
    outside = F.relu(batch.low - age) + F.relu(age - batch.high)
    outside = torch.where(batch.noisy, outside.clamp(max=noisy_years), outside)
    return F.smooth_l1_loss(outside / 10, torch.zeros_like(outside), beta=huber_years / 10)


def _checkpoint_info(run: _Run, faces: AlignedFaces, size: int, data_info: dict[str, Any]) -> CheckpointInfo:
    """What the checkpoint says about itself, measured and calibrated on the validation faces."""
    config = run.config
    predicted = predict_ages(run.state.averaged, faces.crops, run.device)
    # Names only: where the files lay on this machine concerns nobody else.
    names = {
        key: Path(path).name if path else None
        for key, path in (("teacher", config.teacher), ("age_teacher", config.age_teacher))
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
