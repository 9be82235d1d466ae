"""`photoage people import`: names that other programs gave to faces."""

from __future__ import annotations

from pathlib import Path

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_line
from photoage.cli.text import visible


@click.command("import", short_help="Take names from regions in photos and sidecars.")
@click.option(
    "--digikam",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take names from this digiKam database (digikam4.db) instead of the photos' metadata.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be named.")
@global_options
def import_names(context: Context, digikam: Path | None, dry_run: bool) -> None:
    """Take over the names that other programs gave to the faces of stored photos.

    Read are face regions (MWG's mwg-rs, Microsoft's MP:RegionInfo) in the photos and in their sidecars
    IMG.JPG.xmp and IMG.xmp; and, where a photo has one face, PersonInImage and the people of a Google
    Takeout. A region finds its face by overlap. A group of faces takes the name that its named faces agree
    on. What you named or corrected yourself stays; what contradicts it is listed.

    \b
    Example:
      photoage people import -n
      photoage people import --digikam ~/Pictures/digikam4.db
    """
    from photoage.database.changes import changing
    from photoage.people.imports import import_people
    from photoage.people.refresh import refresh_persons

    with changing(context.database, dry_run=dry_run) as connection:
        found = import_people(connection, digikam)
        refresh_persons(connection)
    for line in (*found.conflicts, *found.unmatched):
        print_line(visible(line))
    would = "would be " if dry_run else ""
    context.say(
        f"{len(found.named)} faces {would}named, {found.persons} persons; {len(found.conflicts)} conflicts, "
        f"{len(found.unmatched)} names without a face"
    )
