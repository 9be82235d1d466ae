"""Intervals and chances from validation photos of several sets, and how well they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.intervals import Interval, Weights, calibrate, for_strata, interval_bounds
from photoage.ages.model import load_model, save_checkpoint
from photoage.ages.predictor import Predictor, choose_device
from photoage.records import FloatArray
from photoage.training.dataset import AlignedFaces, Sample, labels_of
from photoage.training.metrics import measure

# How much more the faces of a small set count: (faces of the largest set / its own) to this power. Without
# it, thousands of faces of one kind decide alone how wide the intervals are of all others.
SMALL_SETS = 0.25
HALVINGS = 10  # random halves by which coverage is checked on photos that did not calibrate


def calibration(faces: AlignedFaces, predicted: FloatArray) -> dict[str, Any]:
    """The `interval` and `metrics` of a checkpoint that predicts these ages (N,) for validation faces.

    Metrics are over all faces and by set; coverage and width are those of photos, and of people, that took no
    part in the calibration: the mean over random halves.
    """
    age = np.asarray(labels_of(faces.samples)["age"], dtype=np.float32)
    sets = np.array([sample.set for sample in faces.samples])
    held = _held_out(faces, predicted, age)
    metrics: dict[str, Any] = {}
    names = sorted(set(sets.tolist()))
    for name in ("all", *names) if len(names) > 1 else ("all",):
        rows = np.ones(len(sets), np.bool_) if name == "all" else sets == name
        measured = measure(predicted, age, rows=rows)
        if measured is not None:
            metrics[name] = asdict(measured) | held.get(name, {})
    interval = _interval(predicted, age, faces.strata, set_weights(faces.samples))
    return {"interval": interval, "metrics": {"validation": metrics}}


def set_weights(samples: Sequence[Sample]) -> Weights:
    """(N,) how much each face counts when intervals are calibrated."""
    sets, counts = np.unique([sample.set for sample in samples], return_counts=True)
    weight = dict(zip(sets.tolist(), (counts.max() / counts) ** SMALL_SETS, strict=True))
    return np.array([weight[sample.set] for sample in samples])


def _interval(
    predicted: FloatArray, age: FloatArray, strata: npt.NDArray[np.intp], weights: Weights
) -> Interval:
    return for_strata(calibrate(predicted, age, weights=weights), predicted, age, strata, weights)


def _held_out(faces: AlignedFaces, predicted: FloatArray, age: FloatArray) -> dict[str, dict[str, float]]:
    """Coverage in percent and width in years by set, of halves that did not calibrate.

    People stay together.
    """
    people = np.array([f"person {s.person}" if s.person else s.key for s in faces.samples])
    names, who = np.unique(people, return_inverse=True)
    sets, strata, weights = np.array([s.set for s in faces.samples]), faces.strata, set_weights(faces.samples)
    inside: dict[str, list[float]] = {}
    widths: dict[str, list[float]] = {}
    for draw in range(HALVINGS):
        half = np.random.default_rng(draw).permutation(len(names)) < len(names) / 2
        for fitted in (half[who], ~half[who]):
            if fitted.all() or not fitted.any():
                continue
            interval = _interval(predicted[fitted], age[fitted], strata[fitted], weights[fitted])
            low, high = interval_bounds(predicted[~fitted], interval, strata[~fitted])
            holds = (age[~fitted] >= low) & (age[~fitted] <= high)
            for name in ("all", *np.unique(sets[~fitted]).tolist()):
                rows = np.ones(len(holds), np.bool_) if name == "all" else sets[~fitted] == name
                inside.setdefault(name, []).append(float(holds[rows].mean() * 100))
                widths.setdefault(name, []).append(float((high - low)[rows].mean()))
    return {
        name: {"coverage": float(np.mean(inside[name])), "width": float(np.mean(widths[name]))}
        for name in inside
    }


@dataclass(frozen=True, slots=True)
class CalibrateJob:
    """Which checkpoint gets new intervals, and where the result goes; what `recipe` says replaces its own."""

    checkpoint: Path
    out: Path
    device: str = "auto"
    recipe: dict[str, Any] | None = None


def recalibrate(
    job: CalibrateJob, validation: Callable[[int], AlignedFaces], data_info: dict[str, Any]
) -> CheckpointInfo:
    """Write the same weights with intervals, chances and figures of these validation faces.

    `validation(size)` gives the crops at a crop size. Raises `PhotoageError`.
    """
    predictor = Predictor(job.checkpoint, choose_device(job.device), "float")
    faces = validation(predictor.info.crop_size)
    parts = [
        predictor.predict(torch.from_numpy(np.ascontiguousarray(faces.crops[start : start + 64])))
        for start in range(0, len(faces.crops), 64)
    ]
    info = replace(
        predictor.info,
        data=data_info,
        recipe=predictor.info.recipe if job.recipe is None else job.recipe,
        **calibration(faces, torch.cat(parts).numpy()),
    )
    save_checkpoint(job.out, load_model(job.checkpoint).backbone, info)
    return info
