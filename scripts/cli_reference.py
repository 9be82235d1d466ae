"""Write docs/cli.md, the reference of all commands, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from photoage.cli import cli

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """\
# Commands

Made from what `--help` says by `python scripts/cli_reference.py`; do not edit. An option that is not given
is taken from the environment variable named at its end, else from the [configuration file](configuration.md).
Every command also takes the options of `photoage` itself. Exit codes: 0 done, 1 failed, 2 wrong usage, 130
interrupted.
"""


def reference() -> str:
    """The text of docs/cli.md."""
    root = click.Context(cli, info_name="photoage", **cli.context_settings)
    parts = [HEAD, *_command(cli, root, ())]
    return "\n".join(parts).rstrip() + "\n"


def _command(command: click.Command, context: click.Context, words: tuple[str, ...]) -> Iterator[str]:
    yield f"{'#' * min(2 + len(words[1:]), 3)} `{' '.join(('photoage', *words))}`\n"
    yield f"    {' '.join(command.get_usage(context).removeprefix('Usage: ').split())}\n"
    yield from _help(inspect.cleandoc(command.help or ""))
    options = [line for option in command.get_params(context) if (line := _option(option, context, words))]
    if options:
        yield "\n".join(options) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context), (*words, name))


def _help(text: str) -> Iterator[str]:
    for block in text.split("\n\n"):
        if block.startswith("\b\nExample:\n"):
            lines = inspect.cleandoc(block.removeprefix("\b\nExample:\n")).splitlines()
            yield "\n".join(("```sh", *lines, "```")) + "\n"
        else:
            yield _escaped(block.removeprefix("\b\n")) + "\n"


def _option(option: click.Parameter, context: click.Context, words: tuple[str, ...]) -> str | None:
    """One line of the list; None for what every command has: --help and, but at the top, global options."""
    record = option.get_help_record(context)
    if not isinstance(option, click.Option) or record is None or "--help" in option.opts:
        return None
    if words and not option.expose_value:
        return None
    variable = f" `{option.envvar}`" if option.envvar else ""
    return f"* `{record[0]}`: {_escaped(' '.join(record[1].split()))}{variable}"


def _escaped(text: str) -> str:
    """Text in which Markdown sees no markup: file patterns and placeholders are full of it."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_<>|])", r"\\\1", part) for part in parts[::2]]  # the others are code
    return "`".join(parts)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
