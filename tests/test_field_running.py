"""Locales, closed streams, empty names, lists from Windows, far times and narrow terminals."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from databases import begin, opened, save
from small_library import PROGRAM, runner
from sqlalchemy import event

from photoage.cli.output import Column, _print_table
from photoage.database.scanned_file import scanned_files
from photoage.database.store import Store
from photoage.database.tables import encode_path
from photoage.export.excel import excel_style
from photoage.export.writers import write_csv
from photoage.photos.walk import examine, files_from
from photoage.records import PhotoFile, WalkProblem
from photoage.scan.plan import Action, Plan, Planned, PlanOptions
from photoage.scan.reuse import reuse

OIL = os.fsdecode("/p/Öl 🎖.jpg".encode())
BYTES = os.fsdecode(b"/p/caf\xe9.jpg")


# --- locales ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "photoage.db"
    with Store.open(path) as store:
        begin(store)
        for name in (OIL, BYTES):
            save(store, name, 30.0)
        store.commit()
    return path


@pytest.fixture(scope="module", params=["C", "latin-1"])
def locale_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale in which Python does not read paths as UTF-8."""
    name = request.param
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": name}
    if name == "latin-1":
        if shutil.which("localedef") is None:
            pytest.skip("localedef is not installed")
        folder = tmp_path_factory.mktemp("locales")
        place = folder / "de_DE.ISO-8859-1"
        made = subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", place], capture_output=True)
        if not place.exists():
            pytest.skip(f"no such locale can be made: {made.stderr.decode(errors='replace')}")
        environment |= {"LC_ALL": place.name, "LOCPATH": str(folder)}
    code = "import sys; print(sys.getfilesystemencoding())"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.stdout.strip() != "utf-8"
    return environment


def in_locale(environment: dict[str, str], *arguments: str | bytes | Path) -> bytes:
    done = subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    return done.stdout


def test_answers_are_the_same_in_every_locale(database: Path, locale_of: dict[str, str]) -> None:
    run = runner(database)
    words = ("--db", database, "query")
    assert in_locale(locale_of, *words, "--csv") == run("query", "--csv").stdout_bytes
    (line,) = in_locale(locale_of, *words, "--path", b"\xc3\x96l*").splitlines()
    assert line.endswith(os.fsencode(OIL))


def test_paths_are_stored_the_same_in_every_locale(locale_of: dict[str, str]) -> None:
    """Also by whoever uses photoage's modules without its program."""
    code = (
        "import os, sys; from photoage.database.tables import encode_path, decode_path\n"
        "for name in (b'/p/\\xc3\\x96l \\xf0\\x9f\\x8e\\x96.jpg', b'/p/caf\\xe9.jpg'):\n"
        "    stored = encode_path(os.fsdecode(name))\n"
        "    assert os.fsencode(decode_path(stored)) == name\n"
        "    print(ascii(stored))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=locale_of, capture_output=True, text=True)
    assert done.stdout.splitlines() == [ascii(encode_path(OIL)), ascii(encode_path(BYTES))], done.stderr


# --- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("errors >&-", 0, "no file is unreadable"),
        ("errors >&- 2>&-", 0, ""),
        ("errors <&-", 0, "no file is unreadable"),
        ("query --csv >&-", 1, "photoage: error: Bad file descriptor"),
        ("query --csv 2>&-", 0, ""),
        ("scan --files-from - <&-", 1, "photoage: error: Bad file descriptor"),
    ],
)
def test_closed_streams_fail_only_what_needs_them(
    database: Path, command: str, status: int, message: str
) -> None:
    line = f"exec '{PROGRAM}' --db '{database}' {command}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, encoding="utf-8", errors="replace")
    assert (done.returncode, done.stderr.strip()) == (status, message)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", ""],
        ["scan", "/p", ""],
        ["watch", ""],
        ["scan", "--files-from", ""],
        ["scan", "--exclude", "", "/p"],
        ["scan", "--checkpoint", "", "/p"],
        ["--db", "", "query"],
        ["query", "--db", ""],
        ["forget", ""],
    ],
)
def test_an_empty_name_is_an_error_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner(tmp_path / "db")(*arguments, status=2)
    assert "is a variable not set?" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_are_read_in_the_encodings_that_programs_write(encoding: str, end: str) -> None:
    names = ["/absent/one.jpg", "/absent/Öl.jpg", *(f"/absent/{number}.jpg" for number in range(100))]
    data = "".join(name + end for name in names).encode(encoding)
    for lines in ([data], [data[i : i + 1] for i in range(len(data))], data.splitlines(keepends=True)):
        assert [entry.path for entry in files_from(lines)] == names


def test_names_ended_by_nul_stay_what_they_are() -> None:
    data = b"/a\0/b\n.jpg\0/\xff.jpg\0"
    assert [entry.path for entry in files_from([data])] == ["/a", "/b\n.jpg", "/\udcff.jpg"]


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nanoseconds", [2**63 + 5, 13_569_465_600 * 10**9, -(2**63) - 5, 1])
def test_a_time_that_no_database_holds_is_the_same_everywhere(tmp_path: Path, nanoseconds: int) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"photo")
    try:
        os.utime(photo, ns=(nanoseconds, nanoseconds))
    except OverflowError:
        pytest.skip("the system has no such time")
    now = examine(str(photo))
    assert not isinstance(now, WalkProblem)
    with Store.open(tmp_path / "db") as store:
        begin(store)
        save(store, now.path, 30.0, size=now.size, mtime_ns=now.mtime_ns)
        store.commit()
        options = PlanOptions(store.known.detector_id, store.detect_key)
        ((planned,),) = Plan([now], store.known, options)
        assert planned.action is Action.UNCHANGED
    with opened(tmp_path / "db", read_only=True) as engine:
        assert scanned_files(engine, [now.path])[now.path].difference(now) is None
    assert now.is_same_version(os.stat(photo))


# --- output -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "separators"),
    [
        ({"LC_ALL": "C"}, ",."),
        ({"LC_ALL": "en_US.UTF-8"}, ",."),
        ({"LC_ALL": "de_DE.UTF-8"}, ";,"),
        ({"LC_NUMERIC": "fr_FR.UTF-8", "LANG": "en_US.UTF-8"}, ";,"),
        ({"LC_ALL": "C.UTF-8", "LC_NUMERIC": "fr_FR.UTF-8"}, ",."),
        ({"LANG": "pt_BR"}, ";,"),
        ({"LANG": "de_CH.UTF-8"}, ",."),
        ({"LANG": "es_MX.UTF-8"}, ",."),
        ({"LANG": "xx_XX"}, ",."),
    ],
)
def test_excel_gets_the_separators_of_the_locale(environment: dict[str, str], separators: str) -> None:
    style = excel_style(environment)
    assert (style.separator + style.decimal, style.begin) == (separators, "\ufeff")


def test_csv_for_excel_reads_back(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_NUMERIC"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    run = runner(database)
    plain = list(csv.reader(io.StringIO(run("query", "--csv").stdout)))
    text = run("query", "--csv", "--excel").stdout
    assert text.startswith("\ufeffpath;face_index;age;")
    found = list(csv.reader(io.StringIO(text[1:]), delimiter=";"))
    assert found[0] == plain[0]
    for row, other in zip(found[1:], plain[1:], strict=True):
        assert [cell.replace(",", ".") for cell in row[1:12]] == other[1:12]
        assert (row[0], row[12:]) == (other[0], other[12:])
    assert run("query", "--excel").stdout == text
    assert "cannot be combined" in run("query", "--excel", "--json", status=2).stderr
    assert "is for CSV" in run("export", "--excel", "-o", "x.jsonl", status=2).stderr


def test_formulas_and_separators_are_neutral_in_excel() -> None:
    from photoage.database.query import FaceRow

    row = FaceRow("=1;2.jpg", 0, 1.5, 0.0, 2.0, 0.5, -1.5, 0.0, 1.0, 1.0, 9, 9, None, "", "a,b", "@c")
    out = io.StringIO()
    write_csv([row], out, excel_style({"LANG": "de_DE"}))
    line = out.getvalue().splitlines()[1]
    assert line.startswith('"\'=1;2.jpg";0;1,5;0,0;2,0;0,5;-1,5;')
    assert ";a,b;'@c;" in line


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_narrow_terminal_keeps_the_path(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = "/photos/Urlaub 2019/Sardinien und Korsika/IMG_20190504_123000.jpg"
    columns = (Column("Age", 5, right=True), Column("90 %", 7), Column("Taken", 10), Column("Photo"))
    _print_table(columns, [("34.2", "29-39", "2019-05-04", path)], header=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    places = [line for line in lines[1:] if "/" in line or "IMG" in line or "2019" in line]
    longest = max(len(line.split("2019-05-04")[-1].strip()) for line in places)
    assert longest >= min(28, width - 4, len(path)) * 0.6
    joined = "".join("".join(line.split("2019-05-04")[-1].split()) for line in lines)
    assert path.replace(" ", "") in joined
    assert "34.2" in "".join(lines)


# --- copies -----------------------------------------------------------------------------------


def test_many_copies_cost_as_many_statements_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    executed: list[str] = []
    with Store.open(tmp_path / "db") as store:
        begin(store)
        save(store, str(tmp_path / "a.jpg"), 30.0, 40.0)
        options = PlanOptions(store.known.detector_id, store.detect_key)
        numbers = []
        event.listen(store.known.connection, "before_cursor_execute", lambda *each: executed.append(each[2]))
        for count in (1, 200):
            executed.clear()
            copies = [PhotoFile(str(tmp_path / f"{count}-{number}.jpg"), 100, 1) for number in range(count)]
            for copy in copies:
                Path(copy.path).write_bytes(b"photo")
            found = reuse(store, [(Planned(copy, None, Action.COMPARE), "c") for copy in copies], options)
            assert {reused.kind for reused in found if reused} == {"copy"}
            numbers.append(len(executed))
        store.commit()
    assert numbers[0] == numbers[1]
