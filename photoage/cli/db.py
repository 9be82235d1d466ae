"""`photoage db`: upgrade, check, describe and back up the database."""

from __future__ import annotations

from pathlib import Path

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line, readable_size


@click.group()
@global_options
def db(context: Context) -> None:
    """Upgrade, check, describe and back up the database.

    \b
    Example:
      photoage db info
    """


@db.command(short_help="Bring the schema up to this version's.")
@global_options
def upgrade(context: Context) -> None:
    """Bring the schema of the database up to this version's; `scan` does so by itself.

    \b
    Example:
      photoage db upgrade
    """
    from photoage.database.connect import current_revision, head_revision
    from photoage.database.store import Store

    with context.reading(any_schema=True) as engine:
        before = current_revision(engine)
    if before == head_revision():
        context.say(f"schema {before}: nothing to upgrade")
        return
    Store.open(context.database).close()  # which waits for no scan, and lets none begin
    context.say(f"upgraded from schema {before or 'none'} to {head_revision()}")


@db.command(short_help="Check the database for damage.")
@global_options
def check(context: Context) -> None:
    """Check the database for damage; exits 1 when there is any. Safe while a scan runs.

    \b
    Example:
      photoage db check
    """
    from photoage.database.connect import check_integrity

    with context.reading(any_schema=True) as engine:
        problems = check_integrity(engine)
    for problem in problems:
        print_line(problem)
    if problems:
        context.say(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found")
        raise click.exceptions.Exit(1)
    print_line("ok")


@db.command(short_help="Describe the database.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@global_options
def info(context: Context, as_json: bool) -> None:
    """Say where the database is, its size, its schema and how much it holds.

    \b
    Example:
      photoage db info --json
    """
    from photoage.database.connect import (
        current_revision,
        database_file,
        database_name,
        database_size,
        database_url,
        head_revision,
        table_counts,
    )
    from photoage.filesystem import filesystem_type

    url = database_url(context.database)
    file = database_file(url)
    with context.reading(any_schema=True) as engine:
        rows, size = table_counts(engine), database_size(engine)
        facts = {
            "database": database_name(url),
            "size": size,
            "file_system": filesystem_type(file) if file else None,
            "schema": current_revision(engine),
            "newest_schema": head_revision(),
            "rows": rows,
        }
    if as_json:
        print_json(facts)
        return
    print_line(f"database     {facts['database']}")
    print_line(f"size         {readable_size(size)}")
    if file:
        print_line(f"file system  {facts['file_system'] or 'unknown'}")
    print_line(f"schema       {facts['schema']} (newest: {facts['newest_schema']})")
    for table, count in rows.items():
        print_line(f"{table:11}  {count:,}")


@db.command(short_help="Copy the database to a file.")
@click.argument("file", type=click.Path(path_type=Path))
@global_options
def backup(context: Context, file: Path) -> None:
    """Copy the database to FILE, whole and consistent, also while a scan runs.

    For SQLite; a PostgreSQL database is copied with pg_dump.

    \b
    Example:
      photoage db backup ~/photoage-backup.db
    """
    from photoage.database.connect import backup as write_backup

    with context.reading(any_schema=True) as engine:
        write_backup(engine, file)
    context.say(f"wrote {file} ({readable_size(file.stat().st_size)})")
