"""`photoage train`: fine-tune the age model on labelled faces."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_line
from photoage.training.config import Schedule, TrainConfig, TrainProgress, scaled_schedule

if TYPE_CHECKING:
    from photoage.training.prepare import AlignProgress

DEFAULTS = TrainConfig()
SIZES = range(32, 513)


class ScheduleType(click.ParamType[Schedule]):
    """Crop sizes and epochs in order, such as `112x7,128x3`."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Schedule:
        parts = [re.fullmatch(r"\s*(\d{1,4})x(\d{1,4})\s*", part) for part in str(value).split(",")]
        schedule = tuple((int(part[1]), int(part[2])) for part in parts if part is not None)
        if None in parts or any(size not in SIZES or epochs < 1 for size, epochs in schedule):
            self.fail(f"{value!r} is not SIZExEPOCHS[,SIZExEPOCHS...] with sizes of 32 to 512", param, ctx)
        return schedule


class BySetType(click.ParamType[tuple[str, float]]):
    """`SET=NUMBER`, or a number alone, which comes with an empty name."""

    name = "share"

    def __init__(self, most: int = 1) -> None:
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share <= self.most:
            self.fail(f"{value!r} does not end in a number from 0 to {self.most}", param, ctx)
        return name, share


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data`, repeatable: the labelled images."""
    return click.option(
        "--data",
        type=click.Path(exists=True, path_type=Path),
        required=True,
        multiple=True,
        metavar="ARCHIVE|FOLDER",
        help="UTKFace, or photos with a labels.csv (docs/training.md); several are used together.",
    )(command)


def cache_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--cache`: where unpacked archives and aligned faces are kept."""
    return click.option(
        "--cache",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for unpacked archives and aligned faces [default: the user's cache folder].",
    )(command)


def cache_folder(cache: Path | None) -> Path:
    from platformdirs import user_cache_path

    return cache or user_cache_path("photoage", appauthor=False)


@click.command()
@data_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Checkpoint to write; its log, learning curve and resumable state go beside it.",
)
@click.option(
    "--splits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Columns file and split [default: 80/10/10, people and duplicates kept together].",
)
@click.option(
    "--init",
    default=DEFAULTS.init,
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Start weights: torchvision's, random ones, or a checkpoint.",
)
@click.option(
    "--teacher",
    default="default",
    show_default=True,
    metavar="default|none|FILE",
    help="Face recogniser (w600k_mbf.onnx) to distil from; the default one is installed with photoage.",
)
@click.option(
    "--age-teacher",
    "age_teachers",
    multiple=True,
    metavar="recogniser|FILE.onnx",
    help="Face network whose features, and the ages that they tell, are learnt too (docs/training.md).",
)
@click.option(
    "--taught",
    type=BySetType(most=100),
    multiple=True,
    metavar="[SET=]WEIGHT",
    help="How much the ages that the age teachers tell count, for all sets or for one"
    f" [default: {DEFAULTS.taught_weight:g}].",
)
@click.option(
    "--freeze",
    type=click.Choice(["layer1", "layer2", "layer3"]),
    help="Train only what comes after this layer: faster, for a checkpoint that is nearly right.",
)
@click.option(
    "--ema",
    type=click.FloatRange(0, 1, max_open=True),
    default=DEFAULTS.ema,
    show_default=True,
    help="How slowly the averaged weights, which are kept, follow: 0.99 for runs of hundreds of steps.",
)
@click.option(
    "--schedule",
    type=ScheduleType(),
    metavar="SIZExEPOCHS,...",
    help="Crop sizes in pixels and epochs [default: 112x8].",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Stretch or shorten the default schedule.")
@click.option(
    "--batch-size",
    type=click.IntRange(2, 4096),
    default=DEFAULTS.batch_size,
    show_default=True,
    help="Images per step.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, 1, min_open=True),
    default=DEFAULTS.lr,
    show_default=True,
    help="Peak learning rate.",
)
@click.option(
    "--share",
    "shares",
    type=BySetType(),
    multiple=True,
    metavar="SET=SHARE",
    help="Share of the faces drawn that are of this set [default: by the square root of its size].",
)
@click.option(
    "--prints",
    type=BySetType(),
    multiple=True,
    metavar="[SET=]SHARE",
    help="Share of the faces, of all sets or of one, that are made to look like old prints"
    f" [default: {DEFAULTS.print_share}].",
)
@click.option(
    "--noisy",
    multiple=True,
    metavar="SET",
    help="Set in which some photos may show somebody else: errors far off teach nothing.",
)
@click.option(
    "--balance",
    "balanced",
    multiple=True,
    metavar="SET",
    help="Set whose estimates are to be right on average in every decade of age: none too old or too young.",
)
@click.option(
    "--rare-ages",
    type=click.FloatRange(0, 1),
    default=DEFAULTS.rare_ages,
    show_default=True,
    metavar="POWER",
    help="How much oftener rare ages are drawn: 0 not at all, 1 as often as frequent ones.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=DEFAULTS.seed,
    show_default=True,
    help="Decides every random draw.",
)
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that prepare images [default: all cores for alignment and with a GPU, else 1].",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the model trains.",
)
@click.option("--resume", is_flag=True, help="Continue an earlier run of the same --out and options.")
@cache_option
@global_options
def train(
    context: Context,
    data: tuple[Path, ...],
    out: Path,
    splits: Path | None,
    init: str,
    teacher: str,
    age_teachers: tuple[str, ...],
    schedule: Schedule | None,
    epochs: int | None,
    workers: int | None,
    device: str,
    resume: bool,
    cache: Path | None,
    shares: tuple[tuple[str, float], ...],
    prints: tuple[tuple[str, float], ...],
    taught: tuple[tuple[str, float], ...],
    **choices: Any,
) -> None:
    """Train the age model on UTKFace, on your own labelled photos, or on both.

    Every image goes through the same face detection and alignment as a scanned photo, once; the
    crops are cached. Photos of one person, by its labels, and images that show the same picture are never
    divided between splits that are made here. Ctrl-C saves the state of the run, and so does every
    hundredth step: --resume goes on from there, on a CPU to exactly the weights of an unbroken run.

    \b
    Example:
      photoage train --data UTKFace.tar.gz --out age.safetensors
      photoage train --data UTKFace.tar.gz --data ~/labelled --share labelled=0.2 \\
        --init "$(photoage models path age)" --epochs 4 --out age.safetensors
    """
    if any(not name for name, _ in shares):
        raise click.UsageError("--share needs the name of a set, such as --share labelled=0.2")
    if schedule is not None and epochs is not None:
        raise click.UsageError("give --schedule or --epochs, not both")
    from photoage.ages.predictor import choose_device
    from photoage.training.age_teacher import RECOGNISER
    from photoage.training.networks import default_teacher
    from photoage.training.run import TrainJob, run_training

    if teacher == "default":
        teacher = str(default_teacher())
    config = TrainConfig(
        init=init if init in ("imagenet", "none") else str(Path(init).expanduser().absolute()),
        teacher=None if teacher == "none" else str(Path(teacher).expanduser().absolute()),
        age_teachers=tuple(
            name if name == RECOGNISER else str(Path(name).expanduser().absolute()) for name in age_teachers
        ),
        schedule=schedule or scaled_schedule(DEFAULTS.schedule, epochs or DEFAULTS.epochs),
        workers=workers or _loader_workers(choose_device(device).type),
        shares=_by_set(shares),
        print_share=dict(prints).get("", DEFAULTS.print_share),
        prints=_by_set(prints),
        taught_weight=dict(taught).get("", DEFAULTS.taught_weight),
        taught=_by_set(taught),
        **choices,
    )
    job = TrainJob(data, out.absolute(), cache_folder(cache), splits, device, resume, workers)
    with _Stop() as stop, _progress(context) as progress:

        def show(report: TrainProgress | AlignProgress) -> None:
            stop.under_way = isinstance(report, TrainProgress)
            progress(report)

        trained = run_training(
            config, job, notice=context.say, progress=show, should_stop=lambda: stop.requested
        )
    if trained is None:
        context.say("interrupted; the state is saved, continue with --resume")
        raise click.exceptions.Exit(130)
    for name, metrics in trained.info.metrics["validation"].items():
        print_line(f"{out}: validation, {name}: MAE {metrics['mae']:.2f} years, CS@5 {metrics['cs5']:.1f} %,"
                   f" bias {metrics['bias']:+.2f} years over {metrics['count']} faces")  # fmt: skip
    if trained.curve is not None:
        context.say(f"learning curve: {trained.curve}")


def _by_set(values: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """Without the value for all sets; the last one given for a set counts."""
    return tuple(sorted((name, value) for name, value in dict(values).items() if name))


def _loader_workers(device: str) -> int:
    from photoage.machine import available_cores

    # A GPU outruns one process that augments; a CPU that trains has no core to spare for more.
    return min(16, available_cores()) if device == "cuda" else 1


class _Stop:
    """Turns the first Ctrl-C (or SIGTERM) of a training that is under way into a request to stop.

    Before that there is nothing to save, and afterwards somebody is in a hurry: both interrupt at once.
    """

    def __init__(self) -> None:
        self.under_way = self.requested = False

    def __enter__(self) -> _Stop:
        self._previous = {n: signal.signal(n, self._handle) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.requested or not self.under_way:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def _progress(context: Context) -> Iterator[Callable[[TrainProgress | AlignProgress], None]]:
    """Progress bars on stderr when a person watches; the validation figures of each epoch always."""

    def epoch_line(report: TrainProgress) -> str:
        mae = ", ".join(f"{kind} {metrics['mae']:.3f}" for kind, metrics in (report.validation or {}).items())
        return f"epoch {report.epoch}/{report.epochs}: validation MAE {mae}"

    if not context.progress:

        def log(report: TrainProgress | AlignProgress) -> None:
            if isinstance(report, TrainProgress) and report.validation is not None:
                context.say(epoch_line(report))

        yield log
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=context.stderr,
        transient=True,
    )
    aligning = bar.add_task("Aligning", total=None, visible=False, state="images")
    training = bar.add_task("Training", total=None, visible=False, state="")

    def show(report: TrainProgress | AlignProgress) -> None:
        if not isinstance(report, TrainProgress):
            unfinished = report.done < report.total
            bar.update(aligning, completed=report.done, total=report.total, visible=unfinished)
            return
        if report.validation is not None:
            bar.console.print(epoch_line(report))
            return
        bar.update(
            training,
            completed=report.epoch * report.steps + report.step,
            total=report.epochs * report.steps,
            visible=True,
            state=f"steps, epoch {report.epoch + 1}/{report.epochs}, loss {report.loss:.3f},"
            f" {report.images_per_second:.0f} images/s",
        )

    with bar:
        yield show
