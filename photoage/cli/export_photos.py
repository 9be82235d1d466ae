"""What `photoage export` makes per photo or face instead of one file: XMP sidecars and crops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context
from photoage.cli.output import print_line
from photoage.errors import UsageError

if TYPE_CHECKING:
    from photoage.database.face_filter import FaceFilter

ANY_LEFT = 1  # the exit code when a photo had to be left out, as exiftool and rclone have it
CROP_SIZE = 224  # pixels


@dataclass(frozen=True, slots=True)
class PhotoDestination:
    """Where sidecars (`sidecar`, in `sidecar_dir` or beside the photos) or crops go."""

    sidecar: str | None
    sidecar_dir: str | None
    crops: str | None
    crop_size: int | None
    dry_run: bool

    def check(self) -> None:
        if "" in (self.crops, self.sidecar_dir):
            raise UsageError("the name of the folder is empty")
        if self.sidecar and self.crops:
            raise UsageError("--sidecar and --crops cannot be combined: export twice")
        if self.sidecar_dir and not self.sidecar:
            raise UsageError("--sidecar-dir goes with --sidecar xmp")
        if self.crop_size and not self.crops:
            raise UsageError("--crop-size goes with --crops")
        if self.dry_run and not (self.sidecar or self.crops):
            raise UsageError("--dry-run goes with --sidecar or --crops")

    def export(self, context: Context, faces: FaceFilter) -> None:
        if self.crops:
            export_crops(context, faces, self.crops, self.crop_size or CROP_SIZE, self.dry_run)
        else:
            export_sidecars(context, faces, self.sidecar_dir, self.dry_run)


_OPTIONS = (
    click.option(
        "--sidecar",
        type=click.Choice(["xmp"]),
        help="Write an XMP sidecar per photo, merged with an old one.",
    ),
    click.option(
        "--sidecar-dir",
        type=click.Path(file_okay=False),
        metavar="FOLDER",
        help="Put sidecars under this folder, by the photos' whole paths. [default: beside the photos]",
    ),
    click.option(
        "--crops", type=click.Path(file_okay=False), metavar="FOLDER", help="Write face crops to this folder."
    ),
    click.option(
        "--crop-size",
        type=click.IntRange(16, 1024),
        metavar="PIXELS",
        help=f"Width and height of the crops. [default: {CROP_SIZE}]",
    ),
    click.option(
        "-n", "--dry-run", is_flag=True, help="Only list the sidecars or crops that would be written."
    ),
)


def photo_destinations(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets a checked `destination`; None without any of them."""

    @wraps(function)
    def with_destination(*args: Any, **options: Any) -> Any:
        destination = PhotoDestination(**{name: options.pop(name) for name in PhotoDestination.__slots__})
        destination.check()
        wanted = destination if destination.sidecar or destination.crops else None
        return function(*args, destination=wanted, **options)

    decorated: Callable[..., Any] = with_destination
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def export_sidecars(context: Context, faces: FaceFilter, folder: str | None, dry_run: bool) -> None:
    """Write the sidecars, or list what would be done to which; exit with 1 if one was left out."""
    from photoage.export.sidecars import write_sidecars

    counts: Counter[str] = Counter()
    with context.reading() as engine:
        for sidecar in write_sidecars(engine, faces, folder=folder, dry_run=dry_run):
            counts[sidecar.action] += 1
            if sidecar.problem:
                context.warn(sidecar.problem)
            if dry_run and sidecar.action in ("created", "changed"):
                print_line(f"{'create' if sidecar.action == 'created' else 'change'} {sidecar.path}")
            elif sidecar.action in ("created", "changed"):
                context.detail(f"{sidecar.action} {sidecar.path}")
    would = "would be " if dry_run else ""
    done = ", ".join(f"{counts[action]} {would}{action}" for action in ("created", "changed"))
    context.say(f"sidecars: {done}, {counts['unchanged']} unchanged{_left_out(counts['left'])}")
    if counts["left"]:
        raise click.exceptions.Exit(ANY_LEFT)


def export_crops(context: Context, faces: FaceFilter, folder: str, size: int, dry_run: bool) -> None:
    """Write the crops, or list their files; exit with 1 if one was left out."""
    from photoage.export.crop_files import write_crops

    written = left = 0
    told: str | None = None
    with context.reading() as engine:
        for crop in write_crops(engine, faces, folder, size=size, dry_run=dry_run):
            if crop.problem:
                left += 1
                if crop.problem != told:  # all faces of a photo have the same one
                    context.warn(crop.problem)
                told = crop.problem
                continue
            written += 1
            if dry_run:
                print_line(crop.path)
    context.say(f"crops: {written} {'would be ' if dry_run else ''}written{_left_out(left)}")
    if left:
        raise click.exceptions.Exit(ANY_LEFT)


def _left_out(number: int) -> str:
    return f", {number} left out" if number else ""
