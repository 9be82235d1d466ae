"""A training run, composed: read the data, split it, align it once, train, draw the curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.predictor import choose_device
from photoage.errors import UsageError
from photoage.training.config import TrainConfig, TrainProgress
from photoage.training.log import read_log
from photoage.training.loop import log_path, state_path, train
from photoage.training.plots import INSTALL, can_plot, plot_training
from photoage.training.prepare import AlignProgress, DataJob, prepare

WARMUP_SHARE = 10  # the warm-up takes at most a tenth of a run, however short


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What to train on and where to. Images without a split, `splits` included, get one that is made."""

    data: tuple[Path, ...]
    out: Path
    cache: Path
    splits: Path | None = None
    device: str = "auto"
    resume: bool = False
    align_workers: int | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: the checkpoint's own account, and the learning curve if one could be drawn."""

    info: CheckpointInfo
    curve: Path | None


def run_training(
    config: TrainConfig,
    job: TrainJob,
    *,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[TrainProgress | AlignProgress], None] = lambda done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """Do the whole job; None when `should_stop` ended it, to be continued with `resume`.

    `notice` gets one-line texts for the user. Raises `PhotoageError`.
    """
    started = state_path(job.out).is_file()
    if started and not job.resume:
        raise UsageError(
            f"{state_path(job.out)}: an earlier run is there; continue it with `resume` or delete it"
        )
    if job.resume and not started:
        notice(f"{state_path(job.out)}: no earlier run to resume; starting from the beginning")
    if not can_plot():
        notice(f"no learning curve: {INSTALL}")
    device = choose_device(job.device)
    own_splits = job.out.with_suffix(".splits.csv")
    data = prepare(
        DataJob(job.data, job.cache, job.splits, own_splits, job.resume, job.align_workers), notice, progress
    )
    if config.age_teachers and not started:
        notice(f"age teachers look at {len(data.training.samples)} faces, which takes minutes on a CPU")
    steps = len(data.training.samples) // config.batch_size
    warmup = max(1, min(config.warmup_steps, steps * config.epochs // WARMUP_SHARE))

    def draw_and_tell(update: TrainProgress) -> None:
        if update.validation is not None:
            _draw_curve(job.out)
        progress(update)

    info = train(
        replace(config, warmup_steps=warmup),
        data.training,
        data.validation,
        job.out,
        device=device,
        resume=job.resume,
        data_info=data.info,
        progress=draw_and_tell,
        should_stop=should_stop,
    )
    return None if info is None else Trained(info, _draw_curve(job.out))


def _draw_curve(out: Path) -> Path | None:
    if not can_plot():
        return None
    curve = out.with_suffix(".png")
    plot_training(read_log(log_path(out)), curve)
    return curve
