"""`photoage doctor`: what is installed and really used."""

from __future__ import annotations

from dataclasses import asdict

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import print_json, print_line

_MARKS = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@global_options
def doctor(context: Context, as_json: bool) -> None:
    """Report what is installed and really used; exits 1 when something is at fault.

    Looks at the ONNX Runtime distributions, the providers of a live detector session, PyTorch's
    device, HEIC and AVIF support, the database and its file system, and the models' checksums.
    A machine without a GPU is not at fault.

    \b
    Example:
      photoage doctor
      photoage doctor --json
    """
    from photoage.doctor import examine

    checks = []
    for check in examine(context.database):
        checks.append(check)
        if not as_json:
            print_line(f"{_MARKS[check.status]}  {check.name}: {check.detail}")
            for command in check.remedy:
                print_line(f"           fix: {command}")
    faults = sum(check.status == "fault" for check in checks)
    if as_json:
        print_json({"ok": not faults, "checks": [asdict(check) for check in checks]})
    if faults:
        context.say(f"{faults} fault{'s' if faults > 1 else ''} found")
        raise click.exceptions.Exit(1)
