"""A checkpoint measured on the labelled images of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from photoage.ages.predictor import Predictor, choose_device
from photoage.errors import DataError
from photoage.faces.detector_files import default_detector
from photoage.records import Estimate, FloatArray
from photoage.training.dataset import ETHNICITIES, GENDERS, Sample, align_samples, labels_of, read_utkface
from photoage.training.metrics import report
from photoage.training.splits import read_splits


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """What to measure on: all labelled images of `data`, or those that `splits` puts in `split`."""

    data: Path
    checkpoint: Path
    cache: Path
    splits: Path | None = None
    split: str | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Estimates of the labelled faces found, and the names of the images left out."""

    checkpoint: str
    split: str | None
    mode: str  # "crops", or "end-to-end" through a scan
    samples: list[Sample]
    estimates: list[Estimate]
    missed: list[str]
    malformed: list[str]

    @property
    def age(self) -> FloatArray:
        return np.asarray(labels_of(self.samples)["age"], dtype=np.float32)

    @property
    def predicted(self) -> FloatArray:
        return np.array([estimate.age for estimate in self.estimates], dtype=np.float32)

    def report(self) -> dict[str, Any]:
        """The figures as JSON-ready values, under keys that stay.

        `checkpoint`, `split`, `mode`; over the faces found `count`, `mae` (years), `cs5` (percent),
        `bias`, `coverage` (percent), `width` (years); the same in `by_age`, `by_gender`,
        `by_ethnicity` and `secondary`; `missed` and `malformed`, how many images have no detection
        and no label, and `missed_files` and `malformed_files`, which.
        """
        labels = labels_of(self.samples)
        low = np.array([estimate.age_low for estimate in self.estimates], dtype=np.float32)
        high = np.array([estimate.age_high for estimate in self.estimates], dtype=np.float32)
        groups = {"gender": (labels["gender"], GENDERS), "ethnicity": (labels["ethnicity"], ETHNICITIES)}
        return {
            "checkpoint": self.checkpoint,
            "split": self.split,
            "mode": self.mode,
            **report(self.predicted, self.age, groups, (low, high)),
            "missed": len(self.missed),
            "malformed": len(self.malformed),
            "missed_files": self.missed,
            "malformed_files": self.malformed,
        }


def chosen_samples(job: EvaluateJob) -> tuple[list[Sample], list[str]]:
    """The samples to measure on, and the malformed names. Raises `DataError`."""
    samples, malformed = read_utkface(job.data, job.cache)
    if job.splits is not None:
        splits = read_splits(job.splits)
        samples = [sample for sample in samples if splits.get(sample.name) == job.split]
        if not samples:
            raise DataError(f"{job.splits}: no image of {job.data} is in the split {job.split}")
    return samples, malformed


def evaluate_crops(
    job: EvaluateJob, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluation:
    """Detect, align and estimate as a scan does, taking the face that each image is about.

    `progress` gets images done and their total. Raises `PhotoageError`.
    """
    predictor = Predictor(job.checkpoint, choose_device(job.device), job.precision)
    samples, malformed = chosen_samples(job)
    faces = align_samples(
        samples,
        default_detector(),
        size=predictor.info.crop_size,
        workers=job.workers,
        progress=lambda done: progress(done, len(samples)),
    )
    estimates = predictor.estimate(torch.from_numpy(faces.crops[:]))
    name = predictor.info.name
    return Evaluation(name, job.split, "crops", faces.samples, estimates, faces.missed, malformed)
