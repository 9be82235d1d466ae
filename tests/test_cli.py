"""The commands that show what a database holds: query, errors, runs, stats."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from databases import Place
from small_library import (
    ANNA,
    BROKEN,
    EVIL,
    HEADER,
    LATIN,
    OLD,
    PROGRAM,
    WEIRD,
    Run,
    faces,
    real,
    runner,
    store_library,
)

import photoage
from photoage.cli import cli
from photoage.database.store import Store
from photoage.records import PhotoFile, RunCounts
from photoage.scan.record import ScanSummary


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """In SQLite: that PostgreSQL gives the same rows is for the tests of queries."""
    place = tmp_path_factory.mktemp("database") / "photoage.db"
    store_library(place)
    return place


@pytest.fixture
def run(database: Place) -> Run:
    return runner(database)


def on_a_terminal(database: Place, *args: str) -> str:
    """What the installed program prints on a terminal of 100 columns."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    env = {**os.environ, "PHOTOAGE_DB": str(database), "COLUMNS": "100", "TERM": "xterm-256color"}
    with subprocess.Popen([PROGRAM, *args], env=env, stdout=follower, stderr=subprocess.PIPE) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux tells that the other side was closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(leader)
    return shown.decode()


# --- query -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "ages"),
    [
        ([], [34.25, 8.5, 71.0, 45.0, 5.0]),
        (["--min-age", "34.25"], [34.25, 71.0, 45.0]),
        (["--max-age", "8.5"], [8.5, 5.0]),
        (["--min-age", "8.5", "--max-age", "45"], [34.25, 8.5, 45.0]),
        (["--from-date", "2020"], [71.0, 45.0]),
        (["--to-date", "2019"], [34.25, 8.5]),
        (["--from-date", "2019-05-04", "--to-date", "2019-05-04"], [34.25, 8.5]),
        (["--to-date", "2020-01"], [34.25, 8.5, 71.0]),
        (["--from-date", "2019-06", "--to-date", "2020-06"], [71.0]),
        (["--year", "2019"], [34.25, 8.5]),
        (["--year", "2020-2021", "--min-age", "50"], [71.0]),
        (["--path", "/photos/20*"], [34.25, 8.5, 71.0]),
        (["--path", "anna*"], [34.25, 8.5]),
        (["--path", "2020/*"], [71.0]),
        (["--min-faces", "2"], [34.25, 8.5]),
        (["--max-faces", "1", "--to-date", "2020"], [71.0]),
        (["--min-score", "0.85", "--max-age", "40"], [34.25, 5.0]),
        (["--max-interval", "12"], [8.5, 5.0]),
        (["--sort", "age"], [5.0, 8.5, 34.25, 45.0, 71.0]),
        (["--sort", "age", "--reverse", "--limit", "2"], [71.0, 45.0]),
        (["--sort", "date", "--limit", "3"], [34.25, 8.5, 71.0]),
        (["--min-age", "100"], []),
    ],
)
def test_filters_and_order(run: Run, args: list[str], ages: list[float]) -> None:
    found = [row["age"] for row in json.loads(run("query", "--json", *args).stdout)]
    assert found == ages if args else sorted(found) == sorted(ages)
    assert run("query", "--count", *args).stdout == f"{len(ages)}\n"


def test_csv_has_the_documented_header_and_values(run: Run) -> None:
    text = run("query", "--csv", "--path", "anna.jpg").stdout
    assert text.splitlines()[0] == HEADER
    first, second = csv.DictReader(io.StringIO(text))
    assert first["path"] == ANNA
    numbers = [float(first[name]) for name in ("face_index", "age", "x1", "y2", "photo_width")]
    assert numbers == [0, 34.25, 10, 120.25, 640]
    assert first["taken_at"] == "2019-05-04T12:30:00"
    assert (second["face_index"], second["checkpoint"], second["detector"]) == ("1", "tiny", "scrfd_500m")


def test_json_forms_agree_and_have_the_fields_of_the_csv(run: Run) -> None:
    array = json.loads(run("query", "--json").stdout)
    lines = [json.loads(line) for line in run("query", "--jsonl").stdout.splitlines()]
    assert array == lines
    assert list(array[0]) == [*HEADER.split(","), "sharpness", "yaw"]
    assert json.loads(run("query", "--json", "--min-age", "100").stdout) == []
    assert run("query", "--jsonl", "--min-age", "100").stdout == ""


def test_piped_listing_is_one_plain_line_per_face(run: Run) -> None:
    result = run("query", "--path", "/photos/20*")
    assert result.stdout.splitlines() == [
        f" 34.2    26-43     0  2019-05-04  {ANNA}",
        f"  8.5     3-14     1  2019-05-04  {ANNA}",
        f" 71.0    59-83     0  2020-01-01  {OLD}",
    ]
    assert result.stderr == "3 faces\n"
    assert run("query", "--min-age", "100").stderr == "no face matches\n"
    assert run("-q", "query", "--min-age", "100").stderr == ""


def test_paths_are_exact_bytes(run: Run, database: Place) -> None:
    expected = sorted(os.fsencode(path) for path in (ANNA, OLD, LATIN, EVIL))
    nul = real(database, "query", "-0").stdout
    assert sorted(nul.split(b"\0")) == [b"", *expected]
    assert run("query", "--paths", "-0").stdout_bytes == nul
    assert run("query", "--paths").stdout_bytes == nul.replace(b"\0", b"\n")


def test_non_utf8_paths_survive_every_form(run: Run, database: Place) -> None:
    name = ["--path", "caf*"]
    assert (
        real(database, "query", "--csv", *name).stdout.splitlines()[1].startswith(b"/photos/caf\xe9.jpg,0,45")
    )
    for form in ("--json", "--jsonl"):
        parsed = json.loads(run("query", form, *name).stdout_bytes.decode("utf-8"))
        assert (parsed[0] if form == "--json" else parsed)["path"] == LATIN
    assert r"/photos/caf\udce9.jpg" in run("query", *name).stdout


def test_print0_and_xargs_reach_a_file_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "faces.db"
    names = ["new\nline .jpg", "-n.jpg", 'it\'s "so".jpg', os.fsdecode(b"caf\xe9.jpg")]
    with Store.open(path) as store:
        store.begin_run([str(tmp_path)], {}, ("d", "a" * 64), ("c", "b" * 64))
        for number, name in enumerate(names):
            (tmp_path / name).touch()
            store.save_many([(PhotoFile(str(tmp_path / name), number, 1), *faces(number, 30.0))])
        store.commit()
        store.finish_run("finished", RunCounts(seen=len(names)))
    env = {**os.environ, "PHOTOAGE_DB": str(path)}
    for form in ("-0", r"--print '{path}\0'"):
        words = f"{PROGRAM} query {form} | xargs -0 ls -d --quoting-style=literal --zero --"
        done = subprocess.run(["bash", "-c", words], env=env, capture_output=True, check=True)
        listed = done.stdout.split(b"\0")[:-1]
        assert sorted(listed) == sorted(os.fsencode(tmp_path / name) for name in names)


def test_year_stands_alone_and_makes_sense(run: Run) -> None:
    for date in ("--from-date", "--to-date"):
        result = run("query", "--year", "2019", date, "2019", status=2)
        assert "--year cannot be combined" in result.stderr
    for years in ("19", "2019-2012", "2012-", "0000", "2019-05"):
        result = run("query", "--year", years, status=2)
        assert f"{years!r} is not a year such as 2019" in result.stderr
        assert result.stderr.count("\n") == 1


def test_print_fills_in_a_template(run: Run, database: Place) -> None:
    args = ("query", "--path", "/photos/20*", "--print")
    assert run(*args, r"{path}\t{age:.1f}\n").stdout == f"{ANNA}\t34.2\n{ANNA}\t8.5\n{OLD}\t71.0\n"
    assert run(*args, r"{{{name}}} in {folder}, {year:>6}\\ ").stdout == (
        "{anna.jpg} in /photos/2019,   2019\\ " * 2 + "{old.jpg} in /photos/2020,   2020\\ "
    )
    assert run(*args, "x", "--limit", "2").stdout == "xx"
    undated = ("query", "--max-age", "5", "--print")
    assert run(*undated, "<{taken_at}{year}>").stdout == "<>"
    raw = real(database, "query", "--path", "caf*", "--print", r"{path}\0").stdout
    assert raw == b"/photos/caf\xe9.jpg\0"
    assert "8.5\t" in on_a_terminal(database, "query", "--print", r"{age}\t{path}\n")


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{agee}", "{agee} is not a field; there are path, face_index, age,"),
        ("{}", "{} is not a field"),
        ("{0}", "{0} is not a field"),
        ("{path.__class__}", "{path.__class__} is not a field"),
        ("{path[0]}", "{path[0]} is not a field"),
        ("{path!r}", "{path} takes a format"),
        ("{age:{face_index}}", "{age} takes a format"),
        ("{age:d}", "'{age:d}' is not a template"),
        ("{path:.1f}", "'{path:.1f}' is not a template"),
        ("{age", "'{age' is not a template"),
        (r"\x41", r"\x is not an escape; there are \t \n \r \0"),
    ],
)
def test_a_template_that_makes_no_sense_is_one_line(run: Run, template: str, cause: str) -> None:
    result = run("query", "--print", template, status=2)
    assert cause in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_template_is_a_form_of_output(run: Run) -> None:
    assert "cannot be combined" in run("query", "--print", "x", "--csv", status=2).stderr


def test_a_terminal_gets_a_table_and_no_control_characters(database: Place) -> None:
    shown = on_a_terminal(database, "query")
    assert "Age" in shown.splitlines()[0]
    assert r"evil\u001b]0;owned\u0007\u009b2J\u202egpj.jpg" in "".join(shown.split())
    for args in ("query --csv", "query -0", "errors"):
        shown = on_a_terminal(database, *args.split())
        assert "/photos" in shown
        for driver in ("\x1b]", "\x1b[31m", "\x07", "\x9b", "\u202e"):
            assert driver not in shown


def test_json_on_a_terminal_is_still_json(database: Place) -> None:
    rows = json.loads(on_a_terminal(database, "query", "--json"))
    assert {row["path"] for row in rows} == {ANNA, OLD, LATIN, EVIL}


def test_a_reader_that_stops_early_is_no_error(database: Place) -> None:
    env = {**os.environ, "PHOTOAGE_DB": str(database)}
    for form in ("", "--json"):
        words = shlex.join([str(PROGRAM), "query", *form.split()])
        # `true` reads nothing: the pipe is closed before or while photoage writes.
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; ({words}; echo status $? >&2) | true"],
            env=env,
            capture_output=True,
        )
        assert done.stderr.decode().replace("5 faces\n", "") in ("status 141\n", "status 0\n")


def test_the_module_is_the_program() -> None:
    done = subprocess.run([sys.executable, "-m", "photoage", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"photoage {photoage.__version__}\n")


def test_head_of_a_long_answer(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with Store.open(path) as store:
        store.begin_run(["/p"], {}, ("d", "a" * 64), ("c", "b" * 64))
        for number in range(800):
            photo = PhotoFile(f"/p/{'long' * 50}/{number:05}.jpg", number, 1)
            store.save_many([(photo, *faces(number, 30.0))])
        store.commit()
        store.finish_run("finished", RunCounts(seen=800))
    env = {**os.environ, "PHOTOAGE_DB": str(path)}
    for form in ("", "--csv", "-0"):
        words = shlex.join([str(PROGRAM), "query", *form.split()])
        done = subprocess.run(
            ["bash", "-c", f"({words}; echo status $? >&2) | head -c 10"], env=env, capture_output=True
        )
        assert len(done.stdout) == 10
        assert done.stderr == b"status 141\n"


# --- errors, runs, stats ---------------------------------------------------------------------


def test_errors_lists_files_with_kind_and_cause(run: Run) -> None:
    listed = {row["path"]: row for row in json.loads(run("errors", "--json").stdout)}
    assert set(listed) == {BROKEN, WEIRD}
    assert listed[BROKEN]["kind"] == "truncated"
    assert "the image ends early" in listed[BROKEN]["message"]
    lines = run("errors").stdout.splitlines()
    assert f"truncated     {BROKEN}  the image ends early" in lines
    assert r"unknown       /photos/new\u000aline\u001b[31m.jpg  not an image" in lines
    assert len(lines) == 2
    assert sorted(run("errors", "-0").stdout_bytes.split(b"\0")) == sorted([b"", *map(os.fsencode, listed)])


def test_runs(run: Run) -> None:
    (only,) = json.loads(run("runs", "--json").stdout)
    assert (only["status"], only["roots"], only["detector"], only["checkpoint"]) == (
        "finished", ["/photos"], "scrfd_500m", "tiny"
    )  # fmt: skip
    assert only["counts"]["photos_seen"] == 7
    assert only["started_at"].endswith("Z")
    (line,) = run("runs").stdout.splitlines()
    assert line.split()[0] == "1"
    assert line.split()[-5:] == ["7", "5", "5", "2", "/photos"]


def test_stats(run: Run) -> None:
    counted = json.loads(run("stats", "--json").stdout)
    assert (counted["photos"], counted["faces"], counted["photos_with_faces"]) == (7, 5, 4)
    assert counted["by_status"] == {"done": 5, "unreadable": 2, "missing": 0}
    assert {(entry["low"], entry["faces"]) for entry in counted["ages"] if entry["faces"]} == {
        (5, 2), (30, 1), (45, 1), (70, 1)
    }  # fmt: skip
    years = {entry["year"]: (entry["photos"], entry["faces"]) for entry in counted["years"]}
    assert years == {2019: (2, 2), 2020: (1, 1), 2021: (1, 1), None: (3, 1)}
    assert {"folder": "/photos/2020", "photos": 1, "faces": 1} in counted["folders"]
    lines = run("stats").stdout.splitlines()
    assert lines[0] == "7 photos (5 done, 2 unreadable, 0 missing); 5 faces"
    assert ["5-9", "2", "#" * 40] in [line.split() for line in lines]
    assert any(line.split() == ["2", "1", "/photos/2019"] for line in lines)
    assert run("stats", "--folders", "1").stdout.splitlines()[-1] == "and 2 more folders (--folders)"


MESSAGES = {
    "query --min-age 60 --max-age 50": "--min-age 60.0 is above --max-age 50.0: nothing can match",
    "export -o - --path ''": "--path is empty or holds a NUL character: nothing can match",
    "query --print {agee}": "--print: {agee} is not a field",
    "scan --offline --detector no-such-pack .": "and --offline is set",
}


def test_warnings_of_the_core_name_options_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = ScanSummary(1, RunCounts(), warnings=["`det_size` 640 finds little, `no_option` none"])
    monkeypatch.setattr("photoage.scan.scan.scan", lambda *given, **options: summary)
    told = run("scan", str(tmp_path)).stderr
    assert "photoage: warning: --det-size 640 finds little, `no_option` none\n" in told


@pytest.mark.parametrize("line", MESSAGES)
def test_messages_of_the_core_name_the_options_of_the_command(database: Path, line: str) -> None:
    done = CliRunner().invoke(cli, ["--db", str(database), *shlex.split(line)])
    assert done.exit_code in (1, 2)
    assert MESSAGES[line] in done.stderr
    assert "`" not in done.stderr
