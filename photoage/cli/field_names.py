"""Options in errors and warnings: the core names the fields that it was given, users know the options."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

_FIELD = re.compile(r"`([a-z][a-z_]*)`")
# Fields that are not called as their options.
OPTION_OF = {"path_glob": "path", "persons": "person", "descending": "reverse", "template": "print"}


def with_options(message: str, root: click.Context) -> str:
    """The message with `` `min_age` `` as --min-age, where the command that runs has such an option."""
    if not _FIELD.search(message) or not isinstance(root.command, click.Group):
        return message
    command = root.command.get_command(root, root.invoked_subcommand or "")
    options = {} if command is None else dict(_options(command))

    def option(match: re.Match[str]) -> str:
        name = OPTION_OF.get(match[1], match[1]).replace("_", "-")
        return options.get(name, match[0])

    return _FIELD.sub(option, message)


def _options(command: click.Command) -> Iterator[tuple[str, str]]:
    """The long options of a command and of those below it, by their names without dashes."""
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            if option.startswith("--"):
                yield option.removeprefix("--"), option
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _options(below)
