"""The command group: imports a command when it is called, and turns every error into one line."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import click

from photoage.cli.context import Context
from photoage.cli.field_names import with_options
from photoage.cli.settings import load_settings, name_variables
from photoage.cli.text import visible
from photoage.errors import PhotoageError

INTERRUPTED = 130  # as a shell reports a program that SIGINT ended
HELP = frozenset({"-h", "--help", "--version"})
PIPE_CLOSED = 141  # as a shell reports a program that SIGPIPE ended


class LazyCommand(NamedTuple):
    """Where a command is (`module:name`), and its one-line help."""

    target: str
    help: str

    def load(self) -> click.Command:
        module, _, name = self.target.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


class LazyGroup(click.Group):
    """A group whose commands are imported on first use, and whose `main` is the error boundary."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        name_variables(self, ())

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        command = self.lazy[cmd_name].load()
        name_variables(command, (cmd_name,))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.lazy.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run one command line and exit with its status; errors become one line on stderr."""
        name = prog_name or "photoage"
        self._main_shell_completion({}, name)  # ends here when it is the shell that asks
        try:
            status = self._run(list(sys.argv[1:] if args is None else args), name, extra)
        except BrokenPipeError:
            status = PIPE_CLOSED  # whoever read the output has seen enough
        try:
            sys.stdout.flush()
        except OSError:
            # Nothing more can be written, not even by the interpreter as it ends and tries again, so
            # stdout goes nowhere from here.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except ValueError:
            pass  # closed with the writer that failed: there is nothing left to write
        sys.exit(status)

    def _run(self, args: list[str], prog_name: str, extra: Mapping[str, Any]) -> int:
        root: click.Context | None = None
        try:
            try:
                if not HELP & set(args):  # which must answer whatever the file holds
                    extra = {"default_map": load_settings(self), **extra}
                with self.make_context(prog_name, args, **extra) as root:
                    self.invoke(root)
            finally:
                sys.stdout.flush()  # here, where a full disk is an error like any other
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            message = " ".join(error.format_message().split()).rstrip(".")
            return _fail(error, f"{message}{_source(error)}{_hint(error)}", error.exit_code)
        except PhotoageError as error:
            message = str(error) if root is None else with_options(str(error), root)
            return _fail(error, message, error.exit_code, root)
        except KeyboardInterrupt as error:
            return _fail(error, "interrupted", INTERRUPTED, root)
        except BrokenPipeError:
            raise
        except OSError as error:
            name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
            return _fail(error, f"{name}{error.strerror or error}", 1, root)
        except ImportError as error:
            return _fail(error, f"the installation is incomplete: {error}", 1, root)
        return 0


def _fail(error: BaseException, message: str, status: int, root: click.Context | None = None) -> int:
    """Report an error in one line, after its traceback with `-v`."""
    if root is not None and isinstance(root.obj, Context) and root.obj.verbose:
        click.echo(visible("".join(traceback.format_exception(error)), keep="\n"), err=True, nl=False)
    click.echo(f"photoage: error: {visible(message)}", err=True)
    return status


def _source(error: click.ClickException) -> str:
    """Which environment variable a bad value comes from, if it does."""
    ctx, param = getattr(error, "ctx", None), getattr(error, "param", None)
    if not isinstance(ctx, click.Context) or not isinstance(param, click.Option):
        return ""
    found = ctx.get_parameter_source(str(param.name))
    return f", from {param.envvar}" if found is click.core.ParameterSource.ENVIRONMENT else ""


def _hint(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" (see `{ctx.command_path} --help`)" if isinstance(ctx, click.Context) else ""
