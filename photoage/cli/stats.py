"""`photoage stats`: a library at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line

if TYPE_CHECKING:
    from photoage.stats import LibraryStats

BAR = 40  # characters of the longest bar


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all counts.")
@click.option(
    "--folders",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Folders to show.",
)
@global_options
def stats(context: Context, as_json: bool, folders: int) -> None:
    """Show how many photos and faces there are, by age, year of capture and folder.

    \b
    Example:
      photoage stats
      photoage stats --json
    """
    from dataclasses import asdict

    from photoage.stats import library_stats

    with context.reading() as engine:
        counted = library_stats(engine)
    if as_json:
        document = asdict(counted)
        for name in ("by_year", "by_folder"):
            entries = document[name].items()
            document[name] = {key: {"photos": photos, "faces": faces} for key, (photos, faces) in entries}
        print_json(document)
    else:
        _show(counted, folders)


def _show(counted: LibraryStats, folders: int) -> None:
    from photoage.stats import HISTOGRAM_STEP

    statuses = ", ".join(f"{count:,} {status}" for status, count in counted.by_status.items())
    print_line(f"{counted.photos:,} photos ({statuses or 'none'}), {counted.faces:,} faces")
    if counted.faces:
        print_line()
        print_line("Faces by estimated age")
        most = max(counted.age_histogram.values())
        for start in range(0, max(counted.age_histogram) + 1, HISTOGRAM_STEP):
            count = counted.age_histogram.get(start, 0)
            bar = "█" * round(BAR * count / most)
            print_line(f"{start:>4}-{start + HISTOGRAM_STEP - 1:<4}{count:>9,}  {bar}".rstrip())
        print_line()
        print_line("Faces by age bin")
        for name, count in counted.by_age_bin.items():
            print_line(f"{name:>8} {count:>9,}")
    for title, entries in (
        ("By year of capture", {str(year): counts for year, counts in counted.by_year.items()}),
        ("By folder", dict(sorted(counted.by_folder.items(), key=lambda e: -e[1][1])[:folders])),
    ):
        if entries:
            print_line()
            print_line(f"{title:<24}photos    faces")
            for name, (photos, faces) in entries.items():
                print_line(f"{'':>18}{photos:>12,}{faces:>9,}  {name}")
    hidden = len(counted.by_folder) - folders
    if hidden > 0:
        print_line(f"and {hidden:,} more folders (--folders N shows more)")
