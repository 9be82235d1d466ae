"""The pictures of training and evaluation. matplotlib is optional: the extra `train`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from photoage.errors import PhotoageError
from photoage.files import replacing_binary
from photoage.records import FloatArray
from photoage.training.metrics import AGE_BINS, bin_name

INSTALL = "matplotlib is not installed; install it with `pip install matplotlib`"


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_training(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Learning curves as a PNG: loss by step, validation MAE by epoch.

    `entries` are those of a training log. Raises `PhotoageError` without matplotlib.
    """
    figure = _figure(10, 4)
    losses, errors = figure.subplots(1, 2)
    steps = [entry for entry in entries if "step" in entry]
    epochs = [entry for entry in entries if "validation" in entry]
    # Steps come at even distances, so within an epoch their share of it is known well enough.
    longest = max((entry["step"] for entry in steps), default=1)
    at = [entry["epoch"] + entry["step"] / longest for entry in steps]
    for part in ("age", "labels", "distill"):
        points = [(x, entry[part]) for x, entry in zip(at, steps, strict=True) if part in entry]
        if points:
            losses.plot(*zip(*points, strict=True), label=part, linewidth=1)
    losses.set(xlabel="epoch", ylabel="training loss", yscale="log")
    if steps:
        losses.legend()
    for kind, label in (("plain", "one view"), ("flip", "mirror averaged")):
        measured = [(entry["epoch"], entry["validation"].get(kind)) for entry in epochs]
        points = [(epoch, metrics["mae"]) for epoch, metrics in measured if metrics]
        if points:
            errors.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    errors.set(xlabel="epoch", ylabel="validation MAE (years)")
    if epochs:
        errors.legend()
    _save(figure, path)


def plot_evaluation(predicted: FloatArray, age: FloatArray, path: Path, title: str = "") -> None:
    """Predicted against true age, and the error by age bin, as a PNG; both inputs (N,) in years.

    Raises `PhotoageError` without matplotlib.
    """
    figure = _figure(11, 5)
    points, bins = figure.subplots(1, 2)
    limit = float(max(100, age.max(initial=0), predicted.max(initial=0))) + 2
    points.plot([0, limit], [0, limit], color="0.6", linewidth=1)
    points.scatter(age, predicted, s=4, alpha=0.3, linewidths=0)
    points.set(xlabel="age (years)", ylabel="estimate (years)", xlim=(0, limit), ylim=(0, limit))
    errors = [
        predicted[(age >= low) & (age <= high)] - age[(age >= low) & (age <= high)] for low, high in AGE_BINS
    ]
    filled = [i for i, values in enumerate(errors) if len(values)]
    bins.axhline(0, color="0.6", linewidth=1)
    if filled:
        bins.boxplot([errors[i] for i in filled], positions=filled, showfliers=False, widths=0.6)
    bins.set_xticks(range(len(AGE_BINS)), [bin_name(low, high) for low, high in AGE_BINS], rotation=45)
    bins.set(xlabel="age (years)", ylabel="estimate - age (years)", xlim=(-0.7, len(AGE_BINS) - 0.3))
    mae = f"MAE {np.abs(predicted - age).mean():.2f} years over {len(age):,} faces" if len(age) else ""
    figure.suptitle(", ".join(part for part in (title, mae) if part))
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PhotoageError(INSTALL) from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with replacing_binary(path) as file:
        figure.savefig(file, format="png", dpi=120)
