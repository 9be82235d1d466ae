"""Settings from the environment and the configuration file."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from small_library import PROGRAM, store_library

from photoage.cli import cli
from photoage.cli.settings import all_options, config_file

DOCS = Path(__file__).parent.parent / "docs" / "configuration.md"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "photoage.db"
    store_library(path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "my config.toml"


def run(config: Path, text: str, *args: str, env: dict[str, str] | None = None, status: int = 0) -> Result:
    config.write_text(text, encoding="utf-8")
    result = CliRunner(env={"PHOTOAGE_CONFIG": str(config), **(env or {})}).invoke(cli, args)
    assert result.exit_code == status, result.output
    return result


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(
    config: Path, database: Path
) -> None:
    base = f'db = "{database}"\n'
    file = f"{base}[query]\nlimit = 3\n"
    variable = {"PHOTOAGE_QUERY_LIMIT": "2"}
    assert run(config, base, "query", "--count").stdout == "5\n"
    assert run(config, file, "query", "--count").stdout == "3\n"
    assert run(config, file, "query", "--count", env={"PHOTOAGE_QUERY_LIMIT": ""}).stdout == "3\n"
    assert run(config, file, "query", "--count", env=variable).stdout == "2\n"
    assert run(config, file, "query", "--count", "--limit", "1", env=variable).stdout == "1\n"


@pytest.mark.parametrize(
    ("args", "variable", "named"),
    [
        (["query"], "", "file.db"),
        (["query"], "variable.db", "variable.db"),
        (["--db", "before.db", "query"], "variable.db", "before.db"),
        (["query", "--db", "after.db"], "variable.db", "after.db"),
        (["--db", "before.db", "query", "--db", "after.db"], "", "after.db"),
    ],
)
def test_where_the_database_is_named(config: Path, args: list[str], variable: str, named: str) -> None:
    result = run(config, 'db = "/nowhere/file.db"', *args, env={"PHOTOAGE_DB": variable}, status=1)
    assert named in result.stderr


def test_global_options(config: Path, database: Path) -> None:
    ask = ("--db", str(database), "query", "--min-age", "100")
    assert run(config, "", *ask).stderr == "no face matches\n"
    assert run(config, "quiet = true", *ask).stderr == ""
    assert run(config, "", *ask, env={"PHOTOAGE_QUIET": "1"}).stderr == ""
    assert run(config, "quiet = true", *ask, env={"PHOTOAGE_QUIET": "0"}).stderr == "no face matches\n"
    assert "database: " in run(config, "verbose = 1", *ask).stderr
    # Those of the program, not of the command: PHOTOAGE_QUERY_QUIET is nothing.
    assert run(config, "", *ask, env={"PHOTOAGE_QUERY_QUIET": "1"}).stderr == "no face matches\n"


def test_lists_flags_and_numbers_reach_a_scan(config: Path, tmp_path: Path, sample_library: Path) -> None:
    scan = ("--db", str(tmp_path / "none.db"), "scan", "--dry-run", str(sample_library / "white_house"))
    everything = run(config, "", *scan).stdout.splitlines()
    names = [Path(path).name for path in everything]
    assert len(names) > 2
    text = f'[scan]\nexclude = ["{names[0]}", "{names[1]}"]\nlimit = 1\n'
    assert run(config, text, *scan).stdout.splitlines() == everything[2:3]
    excluded = {"PHOTOAGE_SCAN_EXCLUDE": f"{names[0]} {names[1]} {names[2]}"}
    assert run(config, "[scan]\ndry_run = true\n", *scan, env=excluded).stdout.splitlines() == everything[3:]
    assert run(config, text, *scan, "-E", "nothing", "--limit", "2").stdout.splitlines() == everything[:2]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("quiett = true", "quiett: is not a setting of `photoage` (did you mean quiet?)"),
        ("[scan]\nwokers = 4", "[scan] wokers: is not a setting of `photoage scan` (did you mean workers?)"),
        ("[runs]\nx = 4", "[runs] x: is not a setting of `photoage runs`; there are json"),
        ("[query]\ncsv = true", "[query] csv: is not a setting"),
        ("[scan]\nquiet = true", "[scan] quiet: is not a setting"),
        ("[nonsense]", "nonsense: is not a setting of `photoage`; there are"),
        ("scan = 4", "scan: is a command; its settings are a table [scan]"),
        ("[db.backup]", "db: {'backup': {}} is not text in quotes"),
        ("[scan]\nworkers = 'four'", "[scan] workers: 'four' is not a valid integer"),
        ("[scan]\nworkers = 0", "[scan] workers: 0 is not in the range x>=1"),
        ("[scan]\nworkers = 4.5", "[scan] workers: '4.5' is not a valid integer"),
        ("[scan]\nworkers = true", "[scan] workers: True is not one value"),
        ("[scan]\nfollow = 1", "[scan] follow: 1 is neither true nor false"),
        ("[scan]\nfollow = 'yes'", "[scan] follow: 'yes' is neither true nor false"),
        ("[scan]\nexclude = 'Screenshots'", "[scan] exclude: 'Screenshots' is not a list"),
        ("[scan]\nexclude = [1]", "[scan] exclude: 1 is not text in quotes"),
        ("[scan]\ndetector = 5", "[scan] detector: 5 is not text in quotes"),
        ("[query]\nsort = 'size'", "[query] sort: 'size' is not one of"),
        ("[query]\nfrom-date = '2019-13'", "[query] from-date: '2019-13' is not a date"),
        ("verbose = 'very'", "verbose: 'very' is not a valid integer"),
        ("db = ", "is not TOML (Invalid value (at end of document))"),
        ("quiet = true\nquiet = true", "is not TOML (Cannot overwrite a value (at "),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line(config: Path, text: str, cause: str) -> None:
    result = run(config, text, "query", status=2)
    assert result.stderr.startswith(f"photoage: error: {config}: {cause}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_dates_and_choices_may_be_written_as_what_they_look_like(config: Path, database: Path) -> None:
    text = f'db = "{database}"\n[scan]\ndet-size = 960\n[query]\nfrom-date = 2020-01-01\nto_date = 2020\n'
    assert run(config, text, "query", "--count").stdout == "1\n"
    assert "scan.det-size = '960'" in run(config, text, "config", "show").stdout


def test_a_bad_variable_is_named(config: Path) -> None:
    result = run(config, "", "query", env={"PHOTOAGE_QUERY_LIMIT": "many"}, status=2)
    assert "'many' is not a valid integer range, from PHOTOAGE_QUERY_LIMIT" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_file_that_is_named_must_be_there(config: Path, tmp_path: Path) -> None:
    for path, cause in ((config, "no such file, but PHOTOAGE_CONFIG names it"), (tmp_path, "cannot be read")):
        result = CliRunner(env={"PHOTOAGE_CONFIG": str(path)}).invoke(cli, ["query"])
        assert result.exit_code == 2
        assert result.stderr.startswith(f"photoage: error: {path}: {cause}")
    config.write_bytes(b"db = '\xff'")
    assert CliRunner(env={"PHOTOAGE_CONFIG": str(config)}).invoke(cli, ["query"]).exit_code == 2


def test_help_and_version_answer_whatever_the_file_holds(config: Path) -> None:
    for args in (["--help"], ["scan", "-h"], ["--version"]):
        assert run(config, "nonsense", *args).stderr == ""


def test_the_default_place(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "PHOTOAGE_CONFIG"}
    env |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    where = subprocess.run([PROGRAM, "config", "path"], env=env, capture_output=True, text=True, check=True)
    path = Path(where.stdout.removesuffix("\n"))
    assert (path.name, path.parent.name) == ("config.toml", "photoage")
    assert subprocess.run([PROGRAM, "config", "show"], env=env, check=True, capture_output=True).stdout == b""
    path.parent.mkdir(parents=True)
    path.write_text("\ufeffverbose = 2\n", encoding="utf-8")  # as Notepad saves it
    shown = subprocess.run([PROGRAM, "config", "show"], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout == f"verbose = '2'  ({path})\n"


def test_show_tells_what_counts_and_where_it_comes_from(config: Path) -> None:
    text = "quiet = true\n[scan]\nworkers = 4\nexclude = ['a', 'b']\n[models.list]\njson = true\n"
    shown = run(config, text, "config", "show", env={"PHOTOAGE_SCAN_WORKERS": "2"}).stdout
    assert shown.splitlines() == [  # in the order of the help
        f"quiet = True  ({config})",
        f"scan.exclude = ['a', 'b']  ({config})",
        "scan.workers = '2'  (PHOTOAGE_SCAN_WORKERS)",
        f"models.list.json = True  ({config})",
    ]


def test_the_documented_file_is_right(config: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    shown = run(config, example, "config", "show").stdout
    assert "scan.workers = '4'" in shown
    assert len(shown.splitlines()) == len([line for line in example.splitlines() if "=" in line])


def test_every_option_has_a_variable_of_its_own() -> None:
    options: list[tuple[Any, str, click.Option]] = list(all_options(cli))
    variables = [str(option.envvar) for _, _, option in options]
    assert len(set(variables)) == len(variables) > 50
    assert all(re.fullmatch("PHOTOAGE(_[A-Z0-9]+)+", variable) for variable in variables)
    assert {"PHOTOAGE_DB", "PHOTOAGE_NO_PROGRESS", "PHOTOAGE_SCAN_DET_SIZE", "PHOTOAGE_QUERY_PATH"} <= set(
        variables
    )


def test_without_the_variable_the_file_is_in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOAGE_CONFIG", "")
    assert config_file().name == "config.toml"


def test_config_show_hides_the_password_of_the_database(config: Path) -> None:
    """docs/database.md: no message shows it."""
    url = "postgresql://anna:seCret@nas/photos"
    for text, env in ((f'db = "{url}"\n', {}), ("", {"PHOTOAGE_DB": url})):
        shown = run(config, text, "config", "show", env=env).stdout
        assert "seCret" not in shown
        assert "postgresql://anna:***@nas/photos" in shown
    assert (
        "seCret" not in run(config, 'db = "postgresql://anna:seCret@nas:x/photos"\n', "config", "show").stdout
    )
    assert "'/a/b.db'" in run(config, 'db = "/a/b.db"\n', "config", "show").stdout
