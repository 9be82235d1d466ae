"""`photoage stats`: a library at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line

if TYPE_CHECKING:
    from photoage.database.stats import LibraryStats

BAR = 40  # characters of the longest bar


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON object with all counts.")
@click.option(
    "--folders",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="List this many folders, those with the most faces. JSON has them all.",
)
@click.option("--people", is_flag=True, help="Also persons, those with most faces first.")
@global_options
def stats(context: Context, as_json: bool, folders: int, people: bool) -> None:
    """Show how many photos and faces there are, by age, year and folder.

    \b
    Example:
      photoage stats
      photoage stats --json
    """
    from photoage.database.persons import stored_persons
    from photoage.database.stats import library_stats

    persons = []
    with context.reading() as engine:
        counted = library_stats(engine)
        if people:
            persons = stored_persons(engine)
    if as_json:
        print_json(
            {
                "photos": counted.photos,
                "photos_with_faces": counted.photos_with_faces,
                "faces": counted.faces,
                "by_status": counted.by_status,
                "ages": [age_bin._asdict() for age_bin in counted.ages],
                "years": [year._asdict() for year in counted.years],
                "folders": [folder._asdict() for folder in counted.folders],
                **({"people": [person._asdict() for person in persons]} if people else {}),
            }
        )
    else:
        _show(counted, folders)
        if persons:
            print_line()
            print_line(f"{'Person':<11} {'faces':>10} {'photos of':>10}")
        for person in persons:
            years = "-".join(dict.fromkeys(date[:4] for date in (person.first, person.last) if date))
            print_line(f"{'':<11} {person.faces:>10,} {years:>10}  {person.label}")


def _show(counted: LibraryStats, folders: int) -> None:
    statuses = ", ".join(f"{count:,} {status}" for status, count in counted.by_status.items())
    print_line(f"{counted.photos:,} photos ({statuses}); {counted.faces:,} faces")
    if counted.ages:
        most = max(age_bin.faces for age_bin in counted.ages)
        print_line()
        print_line("Faces by estimated age")
        for low, high, number in counted.ages:
            bar = "#" * round(BAR * number / max(most, 1))
            print_line(f"{low:>7}-{high - 1:<3} {number:>10,}  {bar}".rstrip())
    if counted.years:
        print_line()
        print_line(f"{'Year taken':<11} {'faces':>10} {'photos':>10}")
        for year, photos, number in counted.years:
            print_line(f"{year or 'unknown':>11} {number:>10,} {photos:>10,}")
    largest = sorted(counted.folders, key=lambda folder: (-folder.faces, folder.folder))[:folders]
    if largest:
        print_line()
        print_line(f"{'Folder':<11} {'faces':>10} {'photos':>10}")
        for name, photos, number in largest:
            print_line(f"{'':<11} {number:>10,} {photos:>10,}  {name}")
    if hidden := len(counted.folders) - len(largest):
        print_line(f"and {hidden:,} more folders (--folders)")
