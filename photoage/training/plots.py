"""The pictures of training and evaluation. matplotlib is optional: the extra `train`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from photoage.errors import PhotoageError
from photoage.files import replacing_binary
from photoage.records import FloatArray
from photoage.training.metrics import AGE_BINS, bin_name, within

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
    names = list(dict.fromkeys(name for entry in epochs for name in entry["validation"]))
    for name in names:
        measured = [(entry["epoch"], entry["validation"].get(name)) for entry in epochs]
        points = [(epoch, metrics["mae"]) for epoch, metrics in measured if metrics]
        errors.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    errors.set(xlabel="epoch", ylabel="validation MAE (years)")
    if epochs:
        errors.legend()
    _save(figure, path)


def plot_evaluation(
    predicted: FloatArray,
    age: FloatArray,
    sets: npt.NDArray[np.str_],
    path: Path,
    title: str,
    figures: dict[str, Any],
) -> None:
    """The figures of an evaluation as a PNG: a row for each set; with chances, what `--prob` finds in it.

    `predicted`, `age` (years) and `sets` are (N,); `figures` are the evaluation's. Raises `PhotoageError`
    without matplotlib.
    """
    names = sorted(set(sets.tolist())) or [""]
    chances = figures.get("chances")
    columns = 3 if chances else 2
    figure = _figure(5.5 * columns, 4.5 * len(names))
    axes = figure.subplots(len(names), columns, squeeze=False)
    for name, (points, bins, *more) in zip(names, axes, strict=True):
        rows = sets == name
        _draw_points(points, predicted[rows], age[rows])
        _draw_errors(bins, predicted[rows], age[rows])
        mae = f"MAE {np.abs(predicted[rows] - age[rows]).mean():.2f} years" if rows.any() else ""
        points.set_title(f"{name}: {np.count_nonzero(rows):,} faces, {mae}")
        for axis in more:
            _draw_chances(axis, [entry for entry in chances or [] if entry["set"] == name])
    figure.suptitle(title)
    _save(figure, path)


def _draw_points(axis: Any, predicted: FloatArray, age: FloatArray) -> None:
    limit = float(max(100, age.max(initial=0), predicted.max(initial=0))) + 2
    axis.plot([0, limit], [0, limit], color="0.6", linewidth=1)
    axis.scatter(age, predicted, s=4, alpha=0.3, linewidths=0)
    axis.set(xlabel="age (years)", ylabel="estimate (years)", xlim=(0, limit), ylim=(0, limit))


def _draw_errors(axis: Any, predicted: FloatArray, age: FloatArray) -> None:
    errors = [(predicted - age)[within(age, low, high)] for low, high in AGE_BINS]
    filled = [i for i, values in enumerate(errors) if len(values)]
    axis.axhline(0, color="0.6", linewidth=1)
    if filled:
        axis.boxplot([errors[i] for i in filled], positions=filled, showfliers=False, widths=0.6)
    axis.set_xticks(range(len(AGE_BINS)), [bin_name(low, high) for low, high in AGE_BINS], rotation=45)
    axis.set(xlabel="age (years)", ylabel="estimate - age (years)", xlim=(-0.7, len(AGE_BINS) - 0.3))


def _draw_chances(axis: Any, entries: Sequence[dict[str, Any]]) -> None:
    """Precision against recall, a line for each question through its chances."""
    for question in dict.fromkeys(entry["question"] for entry in entries):
        points = [
            (entry["recall"], entry["precision"], entry["prob"])
            for entry in entries
            if entry["question"] == question
            and None not in (entry["recall"], entry["precision"], entry["prob"])
        ]
        if points:
            recall, precision, _ = zip(*points, strict=True)
            axis.plot(recall, precision, marker="o", markersize=3, label=question)
            for x, y, chance in points:
                axis.annotate(f"{chance:g}", (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points")
    axis.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(0, 104), ylim=(0, 104))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="lower left", title="at --prob")


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PhotoageError(INSTALL) from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    with replacing_binary(path) as file:
        figure.savefig(file, format="png", dpi=120)
