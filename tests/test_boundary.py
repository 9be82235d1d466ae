"""The frame around every command: lazy imports, help, global options, errors and exit codes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from photoage import __version__
from photoage.cli import COMMANDS, cli
from photoage.cli.lazy import LazyCommand, LazyGroup
from photoage.cli.text import visible

PROGRAM = Path(sys.executable).with_name("photoage")
HEAVY = {"torch", "insightface", "onnxruntime", "sqlalchemy", "alembic", "cv2", "numpy", "rich", "PIL"}


def there(name: str) -> bool:
    return importlib.util.find_spec(COMMANDS[name].target.partition(":")[0]) is not None


def every_command() -> Iterator[tuple[str, ...]]:
    """The words of every command and subcommand."""
    for name, lazy in COMMANDS.items():
        if there(name):
            yield (name,)
            command = lazy.load()
            if isinstance(command, click.Group):
                yield from ((name, sub) for sub in command.commands)


def run(*args: str, group: click.Group = cli, env: dict[str, str] | None = None) -> Result:
    return CliRunner(env=env).invoke(group, args)


# --- help ------------------------------------------------------------------------------------


def modules_after(*args: str) -> set[str]:
    """The top names of the modules that a real run of the program has imported when it ends."""
    code = (
        "import sys\nfrom photoage.cli import main\n"
        f"sys.argv = {['photoage', *args]!r}\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_imports_nothing_heavy() -> None:
    assert modules_after("--help") & HEAVY == set()


@pytest.mark.parametrize("name", [name for name in COMMANDS if there(name)])
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    assert modules_after(name, "--help") & HEAVY == set()


def test_help_is_fast() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([PROGRAM, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, command in COMMANDS.items():
        assert f"  {name}" in result.output
        assert command.help in " ".join(result.output.split())


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_and_an_example(words: tuple[str, ...], flag: str) -> None:
    result = run(*words, flag)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "Example" in result.output
    assert f"photoage {' '.join(words)}" in result.output.split("Example", 1)[1]
    for option in ("--db", "--verbose", "--quiet", "--no-progress"):
        assert option in result.output
    if "Commands:" in result.output:
        assert "..." not in result.output.split("Commands:")[1]  # no help cut short


def test_version() -> None:
    assert run("--version").output == f"photoage {__version__}\n"


def test_no_command_is_a_usage_error_that_shows_the_help() -> None:
    result = run()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr
    assert result.stdout == ""


# --- global options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "env", "named"),
    [
        (["--db", "one.db", "query"], {}, "one.db"),
        (["query", "--db", "two.db"], {}, "two.db"),
        (["--db", "one.db", "query", "--db", "two.db"], {}, "two.db"),
        (["query"], {"PHOTOAGE_DB": "env.db"}, "env.db"),
        (["--db", "one.db", "query"], {"PHOTOAGE_DB": "env.db"}, "one.db"),
        (["query", "--db", "two.db"], {"PHOTOAGE_DB": "env.db"}, "two.db"),
        (["db", "--db", "three.db", "info"], {}, "three.db"),
        (["db", "info", "--db", "four.db"], {}, "four.db"),
        (["query"], {"XDG_DATA_HOME": "/nonexistent/data", "PHOTOAGE_DB": ""}, "/nonexistent/data/photoage"),
    ],
)
def test_where_the_database_is_named(args: list[str], env: dict[str, str], named: str) -> None:
    result = run(*args, env={"PHOTOAGE_DB": "", **env})
    assert result.exit_code == 1
    assert named in result.stderr
    assert "photoage scan" in result.stderr
    assert result.stderr.count("\n") == 1


# --- errors ----------------------------------------------------------------------------------


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LazyGroup:
    """A group with commands that fail in each way, imported lazily like the real ones."""
    (tmp_path / "trial_commands.py").write_text(
        "import click\n"
        "from photoage.cli.context import global_options\n"
        "from photoage.errors import DatabaseError, UsageError\n"
        "def failing(error):\n"
        "    @click.command()\n"
        "    @global_options\n"
        "    def command(context):\n"
        "        raise error\n"
        "    return command\n"
        "core = failing(DatabaseError('a\\x1b[31m.db: is \\u202eodd'))\n"
        "usage = failing(UsageError('no sense'))\n"
        "interrupted = failing(KeyboardInterrupt())\n"
        "system = failing(PermissionError(13, 'Permission denied', 'some\\nfile'))\n"
        "stopped = failing(click.exceptions.Exit(130))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    names = ("core", "usage", "interrupted", "system", "stopped")
    lazy = {name: LazyCommand(f"trial_commands:{name}", name) for name in names}
    return LazyGroup("photoage", lazy={**lazy, "absent": LazyCommand("no_such_module_here:x", "")})


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("core", 1, r"photoage: error: a\u001b[31m.db: is \u202eodd"),
        ("usage", 2, "photoage: error: no sense"),
        ("interrupted", 130, "photoage: error: interrupted"),
        ("system", 1, r"photoage: error: some\u000afile: Permission denied"),
        ("stopped", 130, ""),
        (
            "absent",
            1,
            "photoage: error: the installation is incomplete: No module named 'no_such_module_here'",
        ),
    ],
)
def test_an_error_is_one_line_and_a_status(trial: LazyGroup, command: str, status: int, message: str) -> None:
    result = run(command, group=trial)
    assert (result.exit_code, result.stderr.removesuffix("\n"), result.stdout) == (status, message, "")


def test_verbose_adds_the_traceback(trial: LazyGroup) -> None:
    result = run("core", "-v", group=trial)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("photoage: error: ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--foo"], "No such option '--foo' (see `photoage --help`)"),
        (["query", "--foo"], "(see `photoage query --help`)"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["query", "extra"], "unexpected extra argument"),
        (["query", "--min-age", "old"], "'old' is not a valid float"),
        (["query", "--min-age", "-3"], "-3"),
        (["query", "--min-score", "2"], "0<=x<=1"),
        (["query", "--sort", "size"], "'size' is not one of"),
        (["query", "--from-date", "2019-13"], "'2019-13' is not a date"),
        (["query", "--to-date", "2019-02-30"], "'2019-02-30' is not a date"),
        (["query", "--json", "--csv"], "--json and --csv cannot be combined"),
        (["query", "--count", "-0"], "--print0 and --count cannot be combined"),
        (["query", "--min-age", "90", "--max-age", "10"], "90"),
        (["query", "--from-date", "2020", "--to-date", "2019"], "2020"),
        (["query", "--min-faces", "3", "--max-faces", "2"], "3"),
        (["export"], "say where to: -o FILE"),
        (["export", "-o", "faces.xlsx"], "none of .csv, .json, .jsonl, .parquet, .sqlite, .db"),
        (["export", "-o", "faces"], "none of .csv, .json, .jsonl, .parquet, .sqlite, .db"),
        (["export", "-o", "-", "--format", "xml"], "'xml' is not one of"),
        (["models", "path", "nose"], "'nose' is not one of"),
        (["models", "download"], "Missing argument"),
        (["models", "download", "../x"], "not the name of an InsightFace pack"),
        (["db", "backup"], "Missing argument 'FILE'"),
        (["query", "--db"], "requires an argument"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(args: list[str], message: str, tmp_path: Path) -> None:
    result = run(*args, env={"PHOTOAGE_DB": str(tmp_path / "none.db")})
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("photoage: error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


# --- text ------------------------------------------------------------------------------------


def test_visible_leaves_nothing_that_drives_a_terminal() -> None:
    ranges = ((0, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF))
    for control in (chr(code) for first, last in ranges for code in range(first, last + 1)):
        shown = visible(f"a{control}b")
        assert shown == f"a\\u{ord(control):04x}b"
        assert shown.isprintable()


def test_visible_keeps_names_as_people_write_them() -> None:
    name = "Größe – 家族 👨‍👩‍👧 שלום (1).jpg"
    assert visible(name) == name
    assert visible("a\nb\x1b", keep="\n") == "a\nb\\u001b"


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_real_exit_codes(tmp_path: Path) -> None:
    env = {**os.environ, "PHOTOAGE_DB": str(tmp_path / "none.db")}
    for args, status in ((["--version"], 0), (["query"], 1), (["query", "--foo"], 2)):
        assert subprocess.run([PROGRAM, *args], env=env, capture_output=True).returncode == status
