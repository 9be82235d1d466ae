"""What commands that scan have in common: options, signals, progress and the summary."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context
from photoage.paths import is_remote

if TYPE_CHECKING:
    from photoage.photos.skips import PassedOver
    from photoage.records import RunCounts
    from photoage.scan.options import ScanOptions
    from photoage.scan.record import ScanSummary

Function = Callable[..., Any]

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "int8", "half", "float"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the age model: 8-bit integers (CPU only), bf16 or fp16, or float32.",
)


class Sources(click.ParamType[tuple[str, ...]]):
    """Sources of dates, in the order in which they are asked: `xmp,exif`."""

    name = "sources"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from photoage.records import DATE_SOURCES

        if isinstance(value, tuple):
            return value
        words = tuple(word.strip().lower() for word in str(value).split(","))
        for word in words:
            if word not in DATE_SOURCES:
                self.fail(f"{word!r} is not one of {', '.join(DATE_SOURCES)}", param, ctx)
        if len(set(words)) < len(words):
            self.fail(f"{value!r} names a source twice", param, ctx)
        return words


_SHARED: tuple[Callable[[Function], Function], ...] = (
    click.option(
        "-E",
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Skip files and folders, by the rules of .gitignore.",
    ),
    click.option(
        "--no-skip",
        is_flag=True,
        help="Look everywhere, also into caches and copies of photo programs (see docs/formats.md).",
    ),
    click.option("-L", "--follow", is_flag=True, help="Follow symbolic links."),
    click.option("--one-file-system", is_flag=True, help="Do not enter other file systems."),
    click.option(
        "--dates",
        type=Sources(),
        metavar="SOURCES",
        default="xmp,exif,takeout,name,folder",
        show_default=True,
        help="Where photos' dates may come from, the first that has one counts (see docs/dates.md).",
    ),
    click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that read photos [default: one per core].",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Faces per batch."
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the models run.",
    ),
    precision_option,
    click.option("--require-gpu", is_flag=True, help="Fail instead of running on the CPU."),
    click.option(
        "--detector", metavar="NAME|FOLDER|FILE", help="InsightFace pack, its folder, or an .onnx file."
    ),
    click.option(
        "--checkpoint", type=click.Path(), metavar="FILE", help="Age model to use instead of the shipped one."
    ),
    click.option("--offline", is_flag=True, help="Never download a detector."),
    click.option(
        "--det-thresh",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="Least detection score of a face.",
    ),
    click.option(
        "--det-size",
        type=click.Choice(["640", "960", "1280"]),
        default="640",
        show_default=True,
        help="Detection resolution; larger finds smaller faces in crowds.",
    ),
    click.option(
        "--min-face",
        type=click.IntRange(min=1),
        default=24,
        show_default=True,
        metavar="PIXELS",
        help="Ignore faces with a shorter side than this.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        help="Do not decode larger photos [default: 300 million].",
    ),
    click.option(
        "--people",
        is_flag=True,
        help="Also store embeddings, by which `people find` tells who is who: biometric data, which stays in "
        "the database until `people forget`.",
    ),
)


def scan_options(function: Function) -> Function:
    """Add the options of every scan to a command; `prepare` makes `ScanOptions` of them."""
    for option in reversed(_SHARED):
        function = option(function)
    return function


def prepare(paths: tuple[str, ...], raw: dict[str, Any]) -> tuple[list[str], ScanOptions]:
    """Absolute roots that exist, and the options in the core's terms."""
    import os

    from photoage.errors import LibraryError, UsageError
    from photoage.paths import absolute
    from photoage.photos import remote
    from photoage.photos.decode import DecodeOptions
    from photoage.photos.walk import WalkOptions
    from photoage.records import DetectOptions
    from photoage.scan.options import ScanOptions

    for given in (*paths, *raw["exclude"], raw["checkpoint"], raw["detector"]):
        if given == "":  # which is the current folder to the system, and the default to an option
            raise UsageError("a path or name that was given is empty; is a variable not set?")
    roots = [absolute(path) for path in paths]
    for root in roots:
        if is_remote(root):
            remote.check_root(root)
        elif not os.path.lexists(root):
            raise LibraryError(f"{root}: no such file or folder; nothing was scanned or marked missing")
    detect = DetectOptions(raw.pop("det_thresh"), int(raw.pop("det_size")), raw.pop("min_face"))
    walk = WalkOptions(
        tuple(raw.pop("exclude")), raw.pop("follow"), raw.pop("one_file_system"), not raw.pop("no_skip")
    )
    max_pixels = raw.pop("max_pixels") or DecodeOptions().max_pixels
    return roots, ScanOptions(detect=detect, walk=walk, max_pixels=max_pixels, **raw)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; a second Ctrl-C interrupts at once."""
    stopping = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def scan_progress(
    context: Context, roots: list[str], options: ScanOptions, files: list[Any] | None
) -> Iterator[Any]:
    """On stderr a progress bar when a person watches; with `-v` a line for each photo; else nothing."""
    if not context.progress:
        with _photo_lines(context):
            yield lambda counts: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from photoage.photos.walk import walk

    bar = Progress(
        TextColumn("Scanning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("photos, {task.fields[faces]} faces, {task.fields[rate]}"),
        TimeRemainingColumn(),
        console=context.stderr,
        transient=True,
    )
    task = bar.add_task("scan", total=None if files is None else len(files), faces=0, rate="")

    def count() -> None:
        # Counted beside the scan, which itself never waits for the whole walk.
        bar.update(task, total=sum(1 for _ in walk(roots, options.walk)))

    def show(counts: RunCounts) -> None:
        done = counts.finished
        speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
        bar.update(task, completed=done, faces=counts.faces, rate=f"{speed:.1f}/s" if speed else "")

    with bar:
        # Object storage is listed once only: listing costs time, and there also money.
        if files is None and not any(map(is_remote, roots)):
            threading.Thread(target=count, daemon=True).start()
        yield show


@contextlib.contextmanager
def _photo_lines(context: Context) -> Iterator[None]:
    """With `-v`, what the scan logs of each photo, on stderr."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            context.detail(record.getMessage())

    if not context.verbose:
        yield
        return
    logger, handler = logging.getLogger("photoage.scan"), Lines()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _number(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _passed_over(passed: PassedOver) -> Iterator[str]:
    """How many files and folders of each kind, in words."""
    from photoage.photos.suffixes import PACKAGES

    if passed.videos:
        yield _number(passed.videos, "video")
    for suffix, number in sorted(passed.lacking.items()):
        yield f"{number} {suffix} (pip install {PACKAGES[suffix]})"
    if passed.raws:
        yield f"{passed.raws} RAW beside a JPEG"
    if passed.crops:
        yield f"{_number(passed.crops, 'crop')} by photoage"
    if passed.pictures:
        yield f"{_number(passed.pictures, 'picture')} by photoage"
    if passed.unknown:
        yield f"{_number(passed.unknown, 'file')} without a known name"
    if passed.folders:
        yield f"{_number(passed.folders, 'folder')} of photo programs"
    if passed.marked:
        yield f"{_number(passed.marked, 'folder')} marked to be left out"


def print_passed_over(context: Context, passed: PassedOver) -> None:
    """One line, if there is anything to tell."""
    if told := ", ".join(_passed_over(passed)):
        context.say(f"passed over: {told}")


def print_summary(context: Context, summary: ScanSummary) -> None:
    """Warnings and one line of counts, on stderr: the results themselves are for `query`."""
    for warning in summary.warnings:
        context.warn(warning)
    counts = summary.counts
    parts = [
        (counts.done, "read"),
        (counts.re_estimated, "re-estimated"),
        (counts.redated, "dated anew"),
        (counts.unchanged, "unchanged"),
        (counts.relinked, "moved"),
        (counts.duplicates, "duplicate" if counts.duplicates == 1 else "duplicates"),
        (counts.missing, "missing"),
        (counts.unreadable, "unreadable"),
    ]
    text = ", ".join(f"{number} {word}" for number, word in parts if number or word in ("read", "unchanged"))
    context.say(f"{_number(counts.seen, 'photo')}: {text}; {_number(counts.faces, 'new face')}")
    print_passed_over(context, summary.passed)
    left_out = (
        f"{_number(summary.excluded, 'stored photo')} {'is' if summary.excluded == 1 else 'are'} excluded now"
    )
    if summary.forgotten:
        context.say(f"{left_out}, and forgotten")
    elif summary.excluded:
        context.warn(f"{left_out}, but stay in every answer; --prune or `photoage forget` removes them")
    if counts.seen == 0 and not summary.interrupted:
        context.say("no photos found there")
    if counts.unreadable:
        context.say("see `photoage errors` for the photos that could not be read")
    if summary.interrupted:
        context.say("interrupted: finished photos are stored; run the same command again to go on")
