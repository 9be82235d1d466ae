"""`photoage forget`: remove photos from the database."""

from __future__ import annotations

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_paths
from photoage.errors import UsageError


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="PATH|GLOB...")
@click.option("-n", "--dry-run", is_flag=True, help="Only list the photos that would be forgotten.")
@global_options
def forget(context: Context, names: tuple[str, ...], dry_run: bool) -> None:
    """Remove photos with their faces from the database. No file is touched.

    A PATH is a photo, or a folder with everything in it, whether it is still there or not. A GLOB is one
    as `photoage query --path` takes. When no photo in the database has one of the names, nothing is
    forgotten.

    The next scan of a folder finds its photos again, unless it leaves them out: with --exclude.

    \b
    Example:
      photoage forget -n ~/Pictures/Screenshots
      photoage forget ~/Pictures/Screenshots '*/WhatsApp/*.jpg'
    """
    if "" in names:
        raise UsageError("a path that was given is empty; is a variable not set?")
    from photoage.database.connect import database_errors
    from photoage.database.forget import find, iter_found
    from photoage.database.forget import forget as forget_photos
    from photoage.database.store import Store
    from photoage.people.refresh import refresh_persons

    with context.reading() as engine:  # which also says so where there is no database yet
        found = find(engine, names)
        if dry_run:
            print_paths(iter_found(engine, names), nul=False)
    if not dry_run:
        with Store.open(context.database) as store:
            found = forget_photos(store, names)
            with database_errors(store.name):
                refresh_persons(store.known.connection)
            store.commit()
    photos = f"{found.photos:,} photo{'' if found.photos == 1 else 's'}"
    faces = f"{found.faces:,} face{'' if found.faces == 1 else 's'}"
    context.say(f"{photos} with {faces} {'would be ' if dry_run else ''}forgotten; no file was touched")
