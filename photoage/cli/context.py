"""The global options, and what every command gets from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from photoage.cli.field_names import with_options
from photoage.cli.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True)
class Context:
    """The global options of one invocation. `database` is a path, a URL, or None for the default."""

    database: str | None = None
    verbose: int = 0
    quiet: bool = False
    no_progress: bool = False

    @property
    def progress(self) -> bool:
        """Whether to show a progress bar: wanted, somebody watches, and no other lines come between."""
        return not self.no_progress and not self.quiet and not self.verbose and sys.stderr.isatty()

    @property
    def stderr(self) -> Console:
        """A console on stderr that takes text as it is, without markup."""
        from rich.console import Console

        return Console(stderr=True, markup=False, highlight=False, emoji=False)

    def say(self, message: str) -> None:
        """A message for the user, on stderr; silent with `-q`."""
        if not self.quiet:
            click.echo(visible(message), err=True)

    def warn(self, message: str) -> None:
        """Something the user must know, on stderr, even with `-q`."""
        current = click.get_current_context(silent=True)
        message = message if current is None else with_options(message, current.find_root())
        click.echo(f"photoage: warning: {visible(message)}", err=True)

    def detail(self, message: str) -> None:
        """A message that only `-v` shows."""
        if self.verbose and not self.quiet:
            click.echo(visible(message), err=True)

    @contextmanager
    def reading(self, *, any_schema: bool = False) -> Iterator[Engine]:
        """The database, opened for reading. Raises `DatabaseError`, also when there is none yet."""
        from photoage.database.connect import database_name, open_database

        engine = open_database(self.database, read_only=True, any_schema=any_schema)
        self.detail(f"database: {database_name(engine.url)}")
        try:
            yield engine
        finally:
            engine.dispose()


def _merge(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Add one global option to the invocation's Context, wherever on the line it was given."""
    root = ctx.find_root()
    current = root.obj or Context()
    if value == "":
        raise click.BadParameter("is empty; is a variable not set?", ctx, param)
    given = value not in (None, False, 0)
    root.obj = ctx.obj = replace(current, **{str(param.name): value}) if given else current


def global_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the global options to a command, which gets a `Context` as its first argument.

    They work before and after the command's name; given in both places, the later one counts. Only
    those before it, the program's own, take settings from the environment and the file.
    """
    options = (
        click.option(
            "--db",
            "database",
            metavar="PATH|URL",
            callback=_merge,
            expose_value=False,
            help="Database to use. [env: PHOTOAGE_DB; default: in the user's data folder]",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            callback=_merge,
            expose_value=False,
            help="Say more, on stderr; of a scan, a line for each photo.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, callback=_merge, expose_value=False, help="Only errors on stderr."
        ),
        click.option(
            "--no-progress", is_flag=True, callback=_merge, expose_value=False, help="No progress bar."
        ),
    )
    decorated: Callable[..., Any] = click.pass_obj(function)
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
