"""`photoage completion`: the script that makes a shell complete photoage's command lines."""

from __future__ import annotations

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_line


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
def completion(context: Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and their values.

    \b
    Example:
      photoage completion bash > ~/.local/share/bash-completion/completions/photoage
      photoage completion zsh > "${fpath[1]}/_photoage"
      photoage completion fish > ~/.config/fish/completions/photoage.fish
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    completer = get_completion_class(shell)
    assert completer is not None
    for line in completer(root.command, {}, "photoage", "_PHOTOAGE_COMPLETE").source().splitlines():
        print_line(line)
