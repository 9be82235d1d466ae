"""`photoage config`: where the settings are, and which of them count."""

from __future__ import annotations

import os
from typing import Any

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_line
from photoage.cli.settings import all_options, config_file


@click.group(no_args_is_help=True)
@global_options
def config(context: Context) -> None:
    """Show the settings: what stands in for options that are not given.

    \b
    Example:
      photoage config path
      photoage config show
    """


@config.command()
@global_options
def path(context: Context) -> None:
    """Print the file that holds the settings, if it exists.

    \b
    Example:
      "$EDITOR" "$(photoage config path)"
    """
    print_line(str(config_file()))


def _shown(key: str, value: Any) -> Any:
    """The value, without the password that a database's URL may have."""
    if key != "db" or "://" not in value:
        return value
    from photoage.database.connect import database_name, database_url
    from photoage.errors import DatabaseError

    try:
        return database_name(database_url(value))
    except DatabaseError:
        return "(not shown: no URL of a database)"


@config.command()
@global_options
def show(context: Context) -> None:
    """List the settings that there are, and their sources.

    \b
    Example:
      photoage config show
    """
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    shown = 0
    for words, key, option in all_options(root.command):
        settings: Any = root.default_map or {}
        for word in words:
            settings = settings.get(word, {})
        variable = str(option.envvar)
        if os.environ.get(variable):
            value, source = os.environ[variable], variable
        elif option.name in settings:
            value, source = settings[option.name], str(config_file())
        else:
            continue
        print_line(f"{'.'.join((*words, key))} = {_shown(key, value)!r}  ({source})")
        shown += 1
    if not shown:
        context.say(f"no settings; {config_file()} and the environment have none")
