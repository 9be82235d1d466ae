"""A checkpoint measured on the labelled images of data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from photoage.ages.predictor import Predictor, choose_device
from photoage.errors import DataError, UsageError
from photoage.faces.detector_files import default_detector
from photoage.faces.quality import is_grey
from photoage.records import Estimate, FloatArray
from photoage.training.chances import chance_figures
from photoage.training.dataset import (
    ETHNICITIES,
    GENDERS,
    AlignedFaces,
    Sample,
    cached_faces,
    joined,
    labels_of,
)
from photoage.training.metrics import BoolArray, by_age, entry, grouped_figures
from photoage.training.prepare import given_splits
from photoage.training.prints import COPIES
from photoage.training.sources import read_sources
from photoage.training.splits import read_splits

BATCH = 64
MINOR = 18  # years


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """What to measure on: all labelled images of `data`, or those that are in `split`.

    `albums` also measures grey, sepia and faded copies, and what `--prob` finds.
    """

    data: tuple[Path, ...]
    checkpoint: Path
    cache: Path
    splits: Path | None = None
    split: str | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    albums: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Estimates of the labelled faces found, and the names of the images left out.

    `grey` (N,) tells black and white faces, None where it was not looked at; `copies` are the estimates (N,)
    of altered copies of the faces by name, `chances` what `--prob` finds.
    """

    checkpoint: str
    split: str | None
    mode: str  # "crops", or "end-to-end" through a scan
    samples: list[Sample]
    estimates: list[Estimate]
    missed: list[str]
    malformed: list[str]
    grey: BoolArray | None = None
    copies: dict[str, FloatArray] | None = None
    chances: list[dict[str, Any]] | None = None

    @property
    def age(self) -> FloatArray:
        return np.asarray(labels_of(self.samples)["age"], dtype=np.float32)

    @property
    def sets(self) -> npt.NDArray[np.str_]:
        return np.array([sample.set for sample in self.samples])

    @property
    def predicted(self) -> FloatArray:
        return np.array([estimate.age for estimate in self.estimates], dtype=np.float32)

    def figures(self) -> dict[str, Any]:
        """The figures as JSON-ready values, under keys that stay.

        `checkpoint`, `split`, `mode`; over the faces found `count`, `mae` (years), `cs5` (percent),
        `bias`, `coverage` (percent), `width` (years); the same in `by_age`, `by_gender`,
        `by_ethnicity`, `by_colour` and `secondary`; in `by_set`, for every set the same, with its
        `by_age` and `by_colour`; `missed` and `malformed`, how many images have no detection and no label,
        and `missed_files` and `malformed_files`, which. With copies: `copies`, how far each kind moves the
        estimates; with chances: `chances`, what each question finds.
        """
        labels = labels_of(self.samples)
        low = np.array([estimate.age_low for estimate in self.estimates], dtype=np.float32)
        high = np.array([estimate.age_high for estimate in self.estimates], dtype=np.float32)
        groups = {"gender": (labels["gender"], GENDERS), "ethnicity": (labels["ethnicity"], ETHNICITIES)}
        predicted, age, bounds, sets = self.predicted, self.age, (low, high), self.sets

        def of(rows: BoolArray) -> dict[str, Any]:
            return entry(predicted, age, bounds, rows)

        def by_colour(rows: BoolArray) -> dict[str, Any]:
            if self.grey is None:
                return {}
            return {"by_colour": {"colour": of(rows & ~self.grey), "grey": of(rows & self.grey)}}

        every = np.ones(len(age), np.bool_)
        by_set = {
            name: {
                **of(sets == name),
                "by_age": by_age(predicted, age, bounds, sets == name),
                **by_colour(sets == name),
            }
            for name in sorted(set(sets.tolist()))
        }
        return {
            "checkpoint": self.checkpoint,
            "split": self.split,
            "mode": self.mode,
            **grouped_figures(predicted, age, groups, bounds),
            **by_colour(every),
            "by_set": by_set,
            **({} if self.copies is None else {"copies": self._moves(self.copies)}),
            **({} if self.chances is None else {"chances": self.chances}),
            "missed": len(self.missed),
            "malformed": len(self.malformed),
            "missed_files": self.missed,
            "malformed_files": self.malformed,
        }

    def _moves(self, copies: dict[str, FloatArray]) -> dict[str, Any]:
        """For each kind of copy, of all faces and of minors: mean and mean absolute move in years."""
        minor = self.age < MINOR
        rows = {"all": np.ones(len(minor), np.bool_), "minors": minor}
        return {
            kind: {
                group: {
                    "count": int(chosen.sum()),
                    "move": round(float(move[chosen].mean()), 3) if chosen.any() else None,
                    "absolute": round(float(np.abs(move[chosen]).mean()), 3) if chosen.any() else None,
                }
                for group, chosen in rows.items()
            }
            for kind, move in ((kind, ages - self.predicted) for kind, ages in copies.items())
        }


def chosen_samples(job: EvaluateJob) -> tuple[list[list[Sample]], list[str]]:
    """The samples of each source to measure on, and what has no label. Raises `PhotoageError`."""
    sources = read_sources(job.data, job.cache)
    malformed = [name for source in sources for name in source.malformed]
    chosen = [source.samples for source in sources]
    if job.split is not None:
        splits = given_splits(
            [sample for samples in chosen for sample in samples],
            {} if job.splits is None else read_splits(job.splits),
        )
        if not splits and job.splits is None:
            raise UsageError(f"{job.data[0]}: has no split column, so `split` needs `splits`")
        chosen = [[s for s in samples if splits.get(s.key) == job.split] for samples in chosen]
        if not any(chosen):
            raise DataError(f"{job.splits or job.data[0]}: no image of the data is in the split {job.split}")
    return [samples for samples in chosen if samples], malformed


def evaluate_crops(
    job: EvaluateJob, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluation:
    """Detect, align and estimate as a scan does, taking the face that each image is about.

    `progress` gets images done and their total. Raises `PhotoageError`.
    """
    predictor = Predictor(job.checkpoint, choose_device(job.device), job.precision)
    chosen, malformed = chosen_samples(job)
    total, before = sum(map(len, chosen)), 0
    aligned = []
    for samples in chosen:
        aligned.append(
            cached_faces(
                samples,
                default_detector(),
                job.cache,
                size=predictor.info.crop_size,
                workers=job.workers,
                progress=lambda done, before=before: progress(before + done, total),  # type: ignore[misc]
            )
        )
        before += len(samples)
    faces = joined(aligned)
    name = predictor.info.name
    estimates = [
        estimate
        for rows in _batches(faces)
        for estimate in predictor.estimate(_tensor(faces, rows), faces.strata[rows])
    ]
    grey = np.array([is_grey(faces.crops[row]) for row in range(len(faces.samples))], dtype=np.bool_)
    copies = chances = None
    if job.albums:
        copies = {
            kind: torch.cat(
                [predictor.predict(_tensor(faces, rows, change)) for rows in _batches(faces)]
            ).numpy()
            for kind, change in COPIES.items()
        }
        chances = chance_figures(faces, estimates, predictor.info.interval)
    return Evaluation(
        name,
        job.split,
        "crops",
        faces.samples,
        estimates,
        faces.missed,
        malformed,
        grey,
        copies,
        chances,
    )


def _batches(faces: AlignedFaces) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, len(faces.samples), BATCH)]


def _tensor(
    faces: AlignedFaces, rows: slice, change: Callable[[Any], Any] = lambda crop: crop
) -> torch.Tensor:
    return torch.from_numpy(np.stack([change(crop) for crop in faces.crops[rows]]))
