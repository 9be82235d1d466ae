"""What stands in for options that are not given: environment variables and a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from photoage.errors import UsageError

VARIABLE = "PHOTOAGE_CONFIG"


def config_file() -> Path:
    """The file of the user's settings, which need not exist unless PHOTOAGE_CONFIG names it."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("photoage", appauthor=False) / "config.toml"


def load_settings(root: click.Group) -> dict[str, Any]:
    """The settings of the file as click's `default_map`: by parameter, in a dict per command.

    Raises `UsageError`, which names the file and the key, for whatever is wrong with any of them.
    """
    file = config_file()
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        if os.environ.get(VARIABLE):
            raise UsageError(f"{file}: no such file, but {VARIABLE} names it") from error
        return {}
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{file}: is not TOML ({error})") from error
    try:
        return _settings(table, root, ())
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error


def name_variables(command: click.Command, words: tuple[str, ...]) -> None:
    """Let every option that may have a setting take it from PHOTOAGE_COMMAND_OPTION as well.

    Not by click's own naming, which uses the names of parameters instead of those of options.
    """
    for key, option in options_of(command, words).items():
        option.envvar = "_".join(("photoage", *words, key)).upper().replace("-", "_")
    if words and isinstance(command, click.Group):
        for name, inner in command.commands.items():
            name_variables(inner, (*words, name))


def options_of(command: click.Command, words: tuple[str, ...]) -> dict[str, click.Option]:
    """The options of a command that may have a setting, by their long names without the dashes.

    `words` is the command without `photoage`. The global options, which every command takes, have
    theirs at the top.
    """
    return {
        key: option
        for option in command.params
        if isinstance(option, click.Option)
        and option.allow_from_autoenv
        and not option.is_eager
        and (option.expose_value or not words)
        and (key := next((name[2:] for name in option.opts if name.startswith("--")), None))
    }


def all_options(root: click.Group) -> Iterator[tuple[tuple[str, ...], str, click.Option]]:
    """Every option that may have a setting: its command's words, its key, itself."""
    commands: list[tuple[tuple[str, ...], click.Command]] = [((), root)]
    while commands:
        words, command = commands.pop(0)
        yield from ((words, key, option) for key, option in options_of(command, words).items())
        if isinstance(command, click.Group):
            context = click.Context(command)
            inner = [
                ((*words, name), command.get_command(context, name))
                for name in command.list_commands(context)
            ]
            commands[:0] = [(name, found) for name, found in inner if found is not None]


def _settings(table: dict[str, Any], command: click.Command, words: tuple[str, ...]) -> dict[str, Any]:
    """A table of the file as click wants it. Raises `ValueError`."""
    options = options_of(command, words)
    context = click.Context(command)
    inner = command.list_commands(context) if isinstance(command, click.Group) else []
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = name.replace("_", "-")
        where = f"[{'.'.join(words)}] {name}" if words else name
        if key in options:
            found[str(options[key].name)] = _value(value, options[key], where)
        elif key not in inner:
            owner = " ".join(("photoage", *words))
            raise ValueError(f"{where}: is not a setting of `{owner}`{_guess(key, [*options, *inner])}")
        elif not isinstance(value, dict):
            raise ValueError(f"{where}: is a command; its settings are a table [{'.'.join((*words, name))}]")
        else:
            assert isinstance(command, click.Group)
            subcommand = command.get_command(context, key)
            assert subcommand is not None
            found[key] = _settings(value, subcommand, (*words, key))
    return found


def _value(value: Any, option: click.Option, where: str) -> Any:
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {value!r} is neither true nor false")
        return value
    if option.multiple:
        if not isinstance(value, list):
            raise ValueError(f'{where}: {value!r} is not a list, such as ["a", "b"]')
        return [_scalar(item, option, where) for item in value]
    return _scalar(value, option, where)


def _scalar(value: Any, option: click.Option, where: str) -> str:
    """The value as it would be typed, once it is certain that the option takes it."""
    is_text = isinstance(option.type, click.types.StringParamType | click.Path)
    if isinstance(value, bool | list | dict) or (is_text and not isinstance(value, str)):
        kind = "text in quotes" if is_text else "one value"
        raise ValueError(f"{where}: {value!r} is not {kind}")
    text = os.path.expanduser(value) if isinstance(option.type, click.Path) else str(value)
    try:
        option.type.convert(text, option, None)
    except click.BadParameter as error:
        raise ValueError(f"{where}: {error.message.rstrip('.')}") from error
    return text


def _guess(key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]}?)" if close else f"; there are {', '.join(sorted(set(known)))}"
