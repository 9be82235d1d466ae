"""`photoage evaluate`: measure a checkpoint on labelled faces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line
from photoage.cli.scan_options import precision_option
from photoage.cli.train import cache_folder, cache_option, data_option
from photoage.errors import PhotoageError

GROUPS = {
    "by_age": "age",
    "by_gender": "gender",
    "by_ethnicity": "ethnicity",
    "by_colour": "",
    "secondary": "",
}
ALWAYS = ("by_age", "secondary")  # shown where there are no faces, too


@click.command()
@data_option
@click.option(
    "--splits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Columns file and split, for data without splits of its own.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    help="Only images of this split [default: all; with --splits, test].",
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Age model to measure instead of the shipped one.",
)
@click.option(
    "--end-to-end",
    is_flag=True,
    help="Scan --data, a folder of whole photos, and take the main face of each.",
)
@click.option(
    "--albums",
    is_flag=True,
    help="Also grey, sepia and faded copies of the faces, and what `query --prob` finds.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw estimate against age, and the error by age.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model runs.",
)
@precision_option
@click.option(
    "-j", "--workers", type=click.IntRange(min=1), help="Processes that read images [default: one per core]."
)
@cache_option
@global_options
def evaluate(
    context: Context,
    checkpoint: Path | None,
    split: str | None,
    end_to_end: bool,
    as_json: bool,
    plot: Path | None,
    cache: Path | None,
    **choices: Any,
) -> None:
    """Measure an age model on labelled photos: UTKFace, your own, or both.

    Every image is detected, aligned and estimated exactly like a scanned photo. MAE is the mean
    absolute error in years, CS@5 the percentage of errors up to 5 years, bias the mean error;
    coverage is the percentage of ages inside the 90 % interval, width its mean width in years.

    The JSON object has count, missed, malformed, mae, cs5, bias, coverage and width over all faces;
    by_age, by_gender, by_ethnicity, by_colour and secondary hold the same figures for groups of them (null
    where there is no face), by_set those of each set with its own by_age and by_colour, missed_files and
    malformed_files the names. With --albums, copies tells by how many years grey, sepia and faded copies
    move the estimates, chances the precision and recall of questions with --prob.

    \b
    Example:
      photoage evaluate --data UTKFace.tar.gz --splits splits.csv --split test
      photoage evaluate --data UTKFace.tar.gz --splits splits.csv --data albums.tar --split val --albums
      photoage evaluate --data in-the-wild/ --end-to-end --json
    """
    if end_to_end and choices["albums"]:
        raise click.UsageError("--albums looks at crops; it cannot be combined with --end-to-end")
    from photoage.models import default_checkpoint
    from photoage.training.evaluate import EvaluateJob, evaluate_crops
    from photoage.training.plots import INSTALL, can_plot, plot_evaluation

    if plot is not None and not can_plot():
        raise PhotoageError(f"--plot: {INSTALL}")
    if choices["splits"] is not None:
        split = split or "test"
    job = EvaluateJob(
        checkpoint=checkpoint or default_checkpoint(), cache=cache_folder(cache), split=split, **choices
    )
    with _progress(context) as progress:
        if end_to_end:
            from photoage.training.evaluate_scan import evaluate_scanned

            measured = evaluate_scanned(job, progress=progress)
        else:
            measured = evaluate_crops(job, progress=progress)
    figures = measured.figures()
    if plot is not None:
        plot_evaluation(measured.predicted, measured.age, measured.sets, plot, measured.checkpoint, figures)
    for kind, meaning in (
        ("missed", "images without a detection"),
        ("malformed", "images without a usable label"),
    ):
        if figures[kind]:
            context.say(f"{figures[kind]} {meaning} left out: {', '.join(figures[f'{kind}_files'])}")
    if as_json:
        print_json(figures)
    else:
        _print_figures(figures)


def _print_figures(figures: dict[str, Any]) -> None:
    chosen = f", split {figures['split']}" if figures["split"] else ""
    print_line(f"{figures['checkpoint']} ({figures['mode']}{chosen})")
    missed, malformed = figures["missed"], figures["malformed"]
    print_line(f"{missed} images without a detection, {malformed} without a usable label")
    print_line()
    heads = (f"{name:>8}" for name in ("count", "MAE", "CS@5", "bias", "coverage", "width"))
    print_line(f"{'':20}{' '.join(heads)}")
    _print_row("all faces", figures)
    for key, title in GROUPS.items():
        rows = {name: row for name, row in figures.get(key, {}).items() if key in ALWAYS or row["count"]}
        if rows:
            print_line()
        for name, row in rows.items():
            _print_row(f"{title} {name}".lstrip(), row)
    if len(figures["by_set"]) > 1:
        for name, of_set in figures["by_set"].items():
            print_line()
            _print_row(name, of_set)
            for key, title in (("by_age", "age"), ("by_colour", "")):
                for group, row in of_set.get(key, {}).items():
                    if row["count"]:
                        _print_row(f"  {title} {group}".replace("   ", "  "), row)
    print_line()
    print_line("MAE, bias, width: years. CS@5, coverage: percent. Ages 1-80 and 21-60 are secondary figures.")
    _print_copies(figures.get("copies", {}))
    _print_chances(figures.get("chances", []))


def _print_copies(copies: dict[str, Any]) -> None:
    if copies:
        print_line()
        print_line("Moves of the estimates of altered copies, in years: mean, and mean of the absolute")
    for kind, groups in copies.items():
        for group, row in groups.items():
            if row["count"]:
                cells = f"{row['count']:>8} {row['move']:>+8.2f} {row['absolute']:>8.2f}"
                print_line(f"{kind + ', ' + group:20}{cells}")


def _print_chances(chances: list[dict[str, Any]]) -> None:
    if chances:
        print_line()
        print_line(
            "Faces that questions find: of these, and of all that they are after, percent that are right"
        )
        heads = (f"{name:>9}" for name in ("--prob", "found", "precision", "recall"))
        print_line(f"{'':28}{' '.join(heads)}")
    for row in chances:
        precision, recall = (
            "-" if row[key] is None else f"{row[key]:.1f}" for key in ("precision", "recall")
        )
        prob = "-" if row["prob"] is None else f"{row['prob']:g}"
        name = f"{row['set']} {row['question']}"
        print_line(f"{name:28}{prob:>9} {row['found']:>9} {precision:>9} {recall:>9}")


def _print_row(name: str, row: dict[str, Any]) -> None:
    digits = {"mae": ".2f", "cs5": ".1f", "bias": "+.2f", "coverage": ".1f", "width": ".1f"}
    cells = ["-" if row[key] is None else format(row[key], spec) for key, spec in digits.items()]
    print_line(f"{name:20}{row['count']:>8} " + " ".join(f"{cell:>8}" for cell in cells))


@contextlib.contextmanager
def _progress(context: Context) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr when a person watches, else nothing."""
    if not context.progress:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=context.stderr, transient=True) as bar:
        task = bar.add_task("read", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
