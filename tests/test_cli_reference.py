"""docs/cli.md is what the commands say, and names every one of them."""

from __future__ import annotations

import runpy
from pathlib import Path

import click

from photoage.cli import cli

ROOT = Path(__file__).parent.parent


def test_the_reference_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))["reference"]()
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == made, "run `python scripts/cli_reference.py`"


def test_every_command_and_option_is_in_it() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    context = click.Context(cli)
    commands = {("photoage",): (cli, context)}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        commands["photoage", name] = (command, click.Context(command))
        if isinstance(command, click.Group):
            commands |= {("photoage", name, n): (c, click.Context(c)) for n, c in command.commands.items()}
    for words, (command, own) in commands.items():
        heading = f"# `{' '.join(words)}`\n"
        assert heading in written
        section = written.split(heading)[1].split("\n#")[0]
        assert command.help
        assert "```sh\n" in section or words == ("photoage",), f"{words}: no example"
        for option in command.params:
            if isinstance(option, click.Option) and option.expose_value and not option.hidden:
                assert option.opts[-1] in section, f"{words}: {option.opts}"
                assert option.get_help_record(own)
