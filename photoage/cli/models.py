"""`photoage models`: list, locate, verify and download models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line, print_paths, readable_size
from photoage.cli.train import cache_folder, cache_option, data_option
from photoage.errors import UsageError

if TYPE_CHECKING:
    from photoage.models import Model


@click.group()
@global_options
def models(context: Context) -> None:
    """List, locate, verify, download and quantise models.

    All pretrained models here are for non-commercial research only; `photoage models list` names
    the licence of each.

    \b
    Example:
      photoage models list
    """


@models.command("list", short_help="List models with licence, sha256 and path.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array.")
@global_options
def list_models(context: Context, as_json: bool) -> None:
    """List the models on this machine with licence, sha256, size and path.

    \b
    Example:
      photoage models list --json
    """
    from photoage.models import known_models

    rows = [_describe(model) for model in known_models()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_line(f"{row['name']}  ({row['kind']}{', default' if row['default'] else ''})")
        print_line(f"  licence  {row['licence']}")
        if row["problem"]:
            print_line(f"  problem  {row['problem']}")
        if row["sha256"]:
            print_line(f"  sha256   {row['sha256']}")
            print_line(f"  size     {readable_size(row['size'])}")
            print_line(f"  path     {row['path']}")


def _describe(model: Model) -> dict[str, Any]:
    from photoage.files import file_sha256

    there = model.path is not None and model.path.is_file()
    return {
        "name": model.name,
        "kind": model.kind,
        "default": model.default,
        "licence": model.licence,
        "sha256": file_sha256(model.path) if there and model.path else None,
        "size": model.path.stat().st_size if there and model.path else None,
        "path": str(model.path) if model.path else None,
        "problem": model.problem(),
    }


@models.command(short_help="Print the file of a default model.")
@click.argument("kind", metavar="detector|age", type=click.Choice(["detector", "age"]))
@global_options
def path(context: Context, kind: str) -> None:
    """Print the file of the default detector or the default age checkpoint.

    The file is verified first: a missing or altered one is an error.

    \b
    Example:
      photoage models path detector
    """
    from photoage.faces.detector_files import default_detector
    from photoage.models import default_checkpoint

    found = default_detector().path if kind == "detector" else default_checkpoint()
    print_paths([str(found)], nul=False)


@models.command(short_help="Check the sha256 of every model.")
@global_options
def verify(context: Context) -> None:
    """Check the sha256 of every model; exits 1 when one is missing or altered.

    \b
    Example:
      photoage models verify
    """
    from photoage.models import known_models

    good = True
    for model in known_models():
        if problem := model.problem():
            good = False
            print_line(f"FAILED  {model.name}: {problem}")
        elif model.known_sha256 is None:
            print_line(f"unknown {model.name}: photoage has no sha256 to check {model.path} against")
        else:
            print_line(f"ok      {model.name}: {model.path}")
    if not good:
        raise click.exceptions.Exit(1)


@models.command(short_help="Download an InsightFace pack.")
@click.argument("name")
@global_options
def download(context: Context, name: str) -> None:
    """Download the InsightFace model pack NAME, such as buffalo_l, for `scan --detector NAME`.

    The packs are InsightFace's own, for non-commercial research only.

    \b
    Example:
      photoage models download buffalo_l
    """
    from photoage.models import download as download_model

    model = download_model(name)
    context.say(f"{model.name}: {model.licence}")
    print_paths([str(model.path)], nul=False)


def splits_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--splits",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="CSV",
        help=text,
    )


@models.command(short_help="Make the 8-bit form of a checkpoint.")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
@splits_option("Columns file and split: only images of the split train are used.")
@cache_option
@global_options
def quantise(
    context: Context, checkpoint: Path, data: tuple[Path, ...], splits: Path | None, cache: Path | None
) -> None:
    """Write CHECKPOINT in 8-bit integers beside it, as NAME.int8.onnx; scans on a CPU then use that.

    A few hundred training faces, of every set of the data, calibrate it. `photoage evaluate --precision
    int8` tells what it costs in accuracy.

    \b
    Example:
      photoage models quantise my.safetensors --data UTKFace.tar.gz --splits splits.csv
    """
    from photoage.training.quantise import QuantiseJob
    from photoage.training.quantise import quantise as make

    context.say("calibrating; this takes a minute or two")
    print_paths([str(make(QuantiseJob(checkpoint, data, cache_folder(cache), splits)))], nul=False)


@models.command(short_help="Give a checkpoint new intervals.")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
@splits_option("Columns file and split, for data without splits of its own: the split val is used.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Checkpoint to write: the same weights.",
)
@click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="JSON object that the checkpoint is to name as its recipe.",
)
@cache_option
@global_options
def calibrate(
    context: Context,
    checkpoint: Path,
    data: tuple[Path, ...],
    splits: Path | None,
    out: Path,
    recipe: Path | None,
    cache: Path | None,
) -> None:
    """Calibrate CHECKPOINT's intervals and chances on the validation photos of all data.

    Coverage and width are measured on halves of the photos that did not calibrate. Make the 8-bit form
    afterwards: it belongs to one file.

    \b
    Example:
      photoage models calibrate my.safetensors --data UTKFace.tar.gz --splits splits.csv \\
        --data albums.tar --out calibrated.safetensors
    """
    from photoage.training.calibrate import CalibrateJob, recalibrate
    from photoage.training.prepare import DataJob, validation_data

    told = _json_object(recipe) if recipe is not None else None
    job = DataJob(data, cache_folder(cache), splits, out.with_suffix(".splits.csv"))
    validation, info = validation_data(job, context.say)
    made = recalibrate(CalibrateJob(checkpoint, out, recipe=told), validation, info)
    for name, row in made.metrics["validation"].items():
        held = (
            f", coverage {row['coverage']:.1f} %, width {row['width']:.1f} years" if row["coverage"] else ""
        )
        print_line(f"{name}: {row['count']} faces, MAE {row['mae']:.2f}, bias {row['bias']:+.2f} years{held}")
    factors = ", ".join(f"{factor:.2f}" for factor in made.interval.factors)
    print_line(f"width by stratum: {factors} times that of stratum 0")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not a JSON object")
    return value
