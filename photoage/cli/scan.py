"""`photoage scan`: find the faces of a library and estimate their ages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.scan_options import (
    prepare,
    print_passed_over,
    print_summary,
    scan_options,
    scan_progress,
    stop_on_signal,
)

if TYPE_CHECKING:
    from photoage.scan.options import ScanOptions


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="PATH...")
@click.option("--force", is_flag=True, help="Read every photo again, changed or not.")
@click.option("--retry-errors", is_flag=True, help="Try photos again that could not be read before.")
@click.option("--checksum", is_flag=True, help="Detect changes by content instead of size and date.")
@click.option("--redate", is_flag=True, help="Take all dates anew, from metadata and names alone.")
@click.option("-n", "--dry-run", is_flag=True, help="Only list the photos that would be read.")
@click.option("--limit", type=click.IntRange(min=1), help="Read at most this many photos.")
@click.option(
    "--files-from",
    type=click.Path(allow_dash=True),
    metavar="FILE|-",
    help="Scan the files listed there, one per line or NUL-separated.",
)
@scan_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs the work: this machine's processes, or Ray (see docs/cluster.md).",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    help="Ray cluster to use: HOST:PORT, or auto for the one this machine belongs to"
    " [default: a Ray of its own, on this machine].",
)
@click.option(
    "--gpus-per-actor",
    type=click.FloatRange(0, 8, min_open=True),
    default=1.0,
    show_default=True,
    help="GPUs for each age model in Ray; 0.5 puts two on one GPU.",
)
@click.option("--prune", is_flag=True, help="Forget photos that are gone, or excluded now.")
@global_options
def scan(context: Context, paths: tuple[str, ...], **options: Any) -> None:
    """Scan folders (or single photos) for faces and estimate their ages.

    Photos whose size and date have not changed since the last scan are not opened again. A photo
    that cannot be read costs no other photo; `photoage errors` lists them. A photo whose sidecar or
    Takeout file is new, changed or gone gets its date anew.

    \b
    Example:
      photoage scan ~/Pictures
      photoage scan --exclude 'Screenshots' --prune ~/Pictures /mnt/archive
      find . -name '*.jpg' -newer last -print0 | photoage scan --files-from -
    """
    files_from = options.pop("files_from")
    dry_run = options.pop("dry_run")
    if files_from == "":
        raise click.UsageError("the name given with --files-from is empty; is a variable not set?")
    if bool(paths) == bool(files_from):
        raise click.UsageError("give either PATH... or --files-from")
    if options["ray_address"] and options["engine"] != "ray":
        raise click.UsageError("--ray-address is for --engine ray")
    if options["gpus_per_actor"] > 1 and not options["gpus_per_actor"].is_integer():
        raise click.UsageError("--gpus-per-actor above 1 must be a whole number")
    from photoage.photos.walk import files_from as read_list

    roots, choices = prepare(paths, options)
    files = None
    if files_from:
        with click.open_file(files_from, "rb") as file:
            files = list(read_list(file))
    if dry_run:
        _show_plan(context, roots, choices, files)
        return
    from photoage.scan.scan import scan as run_scan

    with stop_on_signal() as stopping, scan_progress(context, roots, choices, files) as progress:
        summary = run_scan(
            roots,
            context.database,
            choices,
            files=files,
            progress=progress,
            should_stop=stopping.is_set,
        )
    print_summary(context, summary)
    if summary.interrupted:
        sys.exit(130)


def _show_plan(context: Context, roots: list[str], options: ScanOptions, files: list[Any] | None) -> None:
    """The photos that a scan would open, one per line on stdout; how many, on stderr."""
    from itertools import islice

    from photoage.cli.text import visible
    from photoage.photos.skips import PassedOver
    from photoage.scan.plan import Action
    from photoage.scan.scan import plan_scan

    passed = PassedOver()
    planned = plan_scan(roots, context.database, options, files=files, passed=passed)
    opened = 0
    for item in islice((p for p in planned if p.action is not Action.UNCHANGED), options.limit):
        click.echo(visible(item.file.path))
        opened += 1
    print_passed_over(context, passed)
    context.say(f"{opened} photos would be opened; nothing was changed")
