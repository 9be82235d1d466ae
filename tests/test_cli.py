"""The reading commands, on a real database that the store wrote."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from click.testing import CliRunner, Result

import photoage
from photoage.cli import cli
from photoage.records import Detection, Estimate, PhotoFaces, PhotoFile
from photoage.store import RunCounts, Store

PACKAGE = Path(photoage.__file__).parent
PROGRAM = Path(sys.executable).with_name("photoage")
HEADER = (
    "path,face_index,age,age_low,age_high,det_score,x1,y1,x2,y2,photo_width,photo_height,taken_at,scanned_at,"
    "detector,checkpoint"
)
ANNA = "/photos/2019/anna.jpg"
OLD = "/photos/2020/old.jpg"
LATIN = os.fsdecode(b"/photos/caf\xe9.jpg")
EVIL = "/photos/evil\x1b]0;owned\x07\x9b2J\u202egpj.jpg"
BROKEN = "/photos/broken.jpg"
WEIRD = "/photos/new\nline\x1b[31m.jpg"


def faces(number: int, *ages: float, taken: datetime | None) -> tuple[PhotoFaces, list[Estimate]]:
    found = tuple(
        Detection((10.0 + 100 * i, 20.5, 90.0 + 100 * i, 120.25), np.zeros((5, 2), np.float32), 0.9 - i / 10)
        for i in range(len(ages))
    )
    estimates = [Estimate(age, max(0.0, age - 5 - age / 10), age + 5 + age / 10) for age in ages]
    return PhotoFaces(f"{number:032x}", 640, 480, taken, found), estimates


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "photoage.db"
    with Store.open(path) as store:
        store.begin_run(["/photos"], {}, ("scrfd_500m", "a" * 64), ("tiny", "b" * 64))
        for number, (photo, ages, taken) in enumerate(
            [
                (ANNA, (34.25, 8.5), datetime(2019, 5, 4, 12, 30)),
                (OLD, (71.0,), datetime(2020, 1, 1)),
                (LATIN, (45.0,), datetime(2021, 7, 1)),
                (EVIL, (5.0,), None),
                ("/photos/landscape.jpg", (), datetime(2019, 12, 31, 23, 59, 59)),
            ]
        ):
            store.save_faces(PhotoFile(photo, 1000 + number, 1), *faces(number, *ages, taken=taken))
        store.save_unreadable(PhotoFile(BROKEN, 7, 1), "truncated", f"{BROKEN}: the image ends early")
        store.save_unreadable(PhotoFile(WEIRD, 8, 1), "unknown", f"{WEIRD}: not an image")
        store.commit()
        store.finish_run("finished", RunCounts(seen=7, done=5, unreadable=2, faces=5))
    return path


class Run(Protocol):
    def __call__(self, *args: str, status: int = 0) -> Result: ...


@pytest.fixture
def run(database: Path) -> Run:
    """Run a command on the database and check its exit code."""

    def invoke(*args: str, status: int = 0) -> Result:
        env = {"INSIGHTFACE_HOME": str(database.parent)}  # whatever packs this machine has
        result = CliRunner(env=env).invoke(cli, ["--db", str(database), *args])
        assert result.exit_code == status, result.output
        return result

    return invoke


def real(database: Path, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the installed program, with pipes."""
    env = {**os.environ, "PHOTOAGE_DB": str(database)}
    return subprocess.run([PROGRAM, *args], env=env, input=stdin, capture_output=True)


def on_a_terminal(database: Path, *args: str) -> str:
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
    assert list(array[0]) == HEADER.split(",")
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


def test_paths_are_exact_bytes(run: Run, database: Path) -> None:
    expected = sorted(os.fsencode(path) for path in (ANNA, OLD, LATIN, EVIL))
    nul = real(database, "query", "-0").stdout
    assert sorted(nul.split(b"\0")) == [b"", *expected]
    assert run("query", "--paths", "-0").stdout_bytes == nul
    assert run("query", "--paths").stdout_bytes == nul.replace(b"\0", b"\n")


def test_non_utf8_paths_survive_every_form(run: Run, database: Path) -> None:
    name = ["--path", "caf*"]
    assert (
        real(database, "query", "--csv", *name).stdout.splitlines()[1].startswith(b"/photos/caf\xe9.jpg,0,45")
    )
    for form in ("--json", "--jsonl"):
        parsed = json.loads(run("query", form, *name).stdout_bytes.decode("utf-8"))
        assert (parsed[0] if form == "--json" else parsed)["path"] == LATIN
    assert r"/photos/caf\udce9.jpg" in run("query", *name).stdout


def test_a_terminal_gets_a_table_and_no_control_characters(database: Path) -> None:
    shown = on_a_terminal(database, "query")
    assert "Age" in shown.splitlines()[0]
    assert r"evil\u001b]0;owned\u0007\u009b2J\u202egpj.jpg" in "".join(shown.split())
    for args in ("query --csv", "query -0", "errors"):
        shown = on_a_terminal(database, *args.split())
        assert "/photos" in shown
        for driver in ("\x1b]", "\x1b[31m", "\x07", "\x9b", "\u202e"):
            assert driver not in shown


def test_json_on_a_terminal_is_still_json(database: Path) -> None:
    rows = json.loads(on_a_terminal(database, "query", "--json"))
    assert {row["path"] for row in rows} == {ANNA, OLD, LATIN, EVIL}


def test_a_reader_that_stops_early_is_no_error(database: Path) -> None:
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


def test_head_of_a_long_answer(tmp_path: Path) -> None:
    path = tmp_path / "long.db"
    with Store.open(path) as store:
        store.begin_run(["/p"], {}, ("d", "a" * 64), ("c", "b" * 64))
        for number in range(800):
            photo = PhotoFile(f"/p/{'long' * 50}/{number:05}.jpg", number, 1)
            store.save_faces(photo, *faces(number, 30.0, taken=None))
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


# --- export ----------------------------------------------------------------------------------


def test_export_takes_the_format_from_the_extension(run: Run, tmp_path: Path) -> None:
    for suffix, form in (("csv", "--csv"), ("json", "--json"), ("jsonl", "--jsonl"), ("CSV", "--csv")):
        target = tmp_path / f"faces.{suffix}"
        result = run("export", "--min-age", "8", "-o", str(target))
        assert result.stdout == ""
        assert target.read_bytes() == run("query", "--min-age", "8", form).stdout_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faces.CSV", "faces.csv", "faces.json", "faces.jsonl"
    ]  # fmt: skip


def test_export_to_stdout(run: Run) -> None:
    assert run("export", "-o", "-").stdout_bytes == run("query", "--csv").stdout_bytes
    assert run("export", "-o", "-", "--format", "jsonl").stdout_bytes == run("query", "--jsonl").stdout_bytes


def test_format_option_beats_the_extension(run: Run, tmp_path: Path) -> None:
    run("export", "-o", str(tmp_path / "faces.txt"), "--format", "json")
    assert len(json.loads((tmp_path / "faces.txt").read_text())) == 5


def test_export_replaces_a_file_and_keeps_a_link(run: Run, tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    run("export", "-o", str(link))
    assert link.is_symlink()
    assert len(json.loads(target.read_text())) == 5
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("place", ["absent/faces.csv", "folder.csv", "file/faces.csv"])
def test_export_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    result = run("export", "-o", str(tmp_path / place), status=1)
    assert result.stderr.startswith(f"photoage: error: {tmp_path / place}: cannot be written")
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_a_failed_export_leaves_the_old_file(database: Path, tmp_path: Path) -> None:
    """A database that is damaged where the export gets to only after it began to write."""
    damaged, target = tmp_path / "damaged.db", tmp_path / "faces.csv"
    content = bytearray(database.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    for start in range(page * 2, len(content), page):
        content[start : start + 8] = b"\xff" * 8
    damaged.write_bytes(content)
    target.write_text("old")
    result = CliRunner().invoke(cli, ["--db", str(damaged), "export", "-o", str(target)])
    assert result.exit_code == 1
    assert result.stderr.startswith("photoage: error: ")
    assert result.stderr.count("\n") == 1
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if "damaged" not in path.name) == ["faces.csv"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(database: Path) -> None:
    done = real(database, "export", "-o", "/dev/full", "--format", "csv")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"photoage: error: /dev/full: cannot be written (No space left on device)\n"
    env = {**os.environ, "PHOTOAGE_DB": str(database)}
    with open("/dev/full", "wb") as full:
        piped = subprocess.run([PROGRAM, "query"], env=env, stdout=full, stderr=subprocess.PIPE)
    assert piped.returncode == 1
    assert piped.stderr.splitlines()[-1] == b"photoage: error: No space left on device"


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


# --- db --------------------------------------------------------------------------------------


def test_db_info_check_and_upgrade(run: Run, database: Path) -> None:
    info = json.loads(run("db", "info", "--json").stdout)
    assert info["database"] == str(database)
    assert info["schema"] == info["newest_schema"]
    assert (info["rows"]["photo"], info["rows"]["face"]) == (7, 5)
    assert str(database) in run("db", "info").stdout
    assert run("db", "check").stdout == "ok\n"
    assert "nothing to upgrade" in run("db", "upgrade").stderr


def test_db_backup_is_a_whole_database(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    run("db", "backup", str(target))
    copied = CliRunner().invoke(cli, ["query", "--json", "--db", str(target)])
    assert copied.stdout == run("query", "--json").stdout
    assert "exists already" in run("db", "backup", str(target), status=1).stderr


def test_db_check_finds_damage(database: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    content = bytearray(database.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    content[page * 4 : page * 5] = b"\xff" * page
    damaged.write_bytes(content)
    result = CliRunner().invoke(cli, ["db", "check", "--db", str(damaged)])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert result.stdout != "ok\n"


@pytest.mark.parametrize(
    "args",
    [["query"], ["export", "-o", "-"], ["errors"], ["runs"], ["stats"], ["db", "info"], ["db", "check"],
     ["db", "upgrade"], ["db", "backup", "x.db"]],
    ids=" ".join,
)  # fmt: skip
def test_reading_commands_need_a_database(args: list[str], tmp_path: Path) -> None:
    missing, other = tmp_path / "none.db", tmp_path / "text.db"
    other.write_text("just a text file " * 100)
    for path, cause in ((missing, "photoage scan"), (other, "not a database")):
        result = CliRunner().invoke(cli, [*args, "--db", str(path)])
        if args == ["db", "check"] and path == other:
            continue
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("photoage: error: ")
        assert str(path) in result.stderr
        assert cause in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
    assert not missing.exists()


# --- models and doctor -----------------------------------------------------------------------


def test_models_path_and_list(run: Run) -> None:
    path = Path(run("models", "path", "detector").stdout.removesuffix("\n"))
    assert path.name == "scrfd_500m_bnkps.onnx"
    listed = json.loads(run("models", "list", "--json").stdout)
    assert set(listed[0]) >= {"name", "kind", "licence", "sha256", "size", "path"}
    assert all("non-commercial" in model["licence"] for model in listed)
    shown = run("models", "list").stdout
    assert listed[0]["sha256"] in shown
    assert listed[0]["licence"] in shown


def test_models_verify(run: Run) -> None:
    assert [line.split()[:2] for line in run("models", "verify").stdout.splitlines()] == [
        ["ok", "scrfd_500m:"], ["ok", "photoage-resnet50:"]
    ]  # fmt: skip
    assert run("models", "path", "age").stdout.endswith(".safetensors\n")


def test_models_verify_exits_1_for_an_altered_model(tmp_path: Path) -> None:
    """In a copy of the package whose checkpoint is another file than the pinned one."""
    copy = tmp_path / "photoage"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    (copy / "weights" / "photoage-resnet50.safetensors").write_bytes(b"something else")
    words = [sys.executable, "-c", "from photoage.cli import main; main()", "models", "verify"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FAILED  photoage-resnet50: " in done.stdout
    assert "is not the known one" in done.stdout
    assert "ok      scrfd_500m: " in done.stdout
    assert done.stderr == ""


def test_doctor_reports_and_its_exit_code_follows(run: Run) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == (0 if report["ok"] else 1)
    checks = {check["name"]: check for check in report["checks"]}
    assert {"onnxruntime", "detector session", "torch", "HEIC", "AVIF", "database"} <= set(checks)
    assert report["ok"] == all(check["status"] != "fault" for check in report["checks"])
    for name in ("onnxruntime", "detector session", "torch", "HEIC"):
        assert checks[name]["status"] == "ok", checks[name]


def test_doctor_finds_two_onnxruntimes_and_prints_what_mends_it(database: Path, tmp_path: Path) -> None:
    other = "onnxruntime-gpu" if sys.platform == "darwin" else "onnxruntime"
    info = tmp_path / f"{other.replace('-', '_')}-1.31.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 1.31.0\n")
    env = {**os.environ, "PHOTOAGE_DB": str(database), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([PROGRAM, "doctor"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (fault,) = (number for number, line in enumerate(lines) if line.startswith("FAULT"))
    assert "onnxruntime 1.31.0" in lines[fault]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in lines[fault + 1]
    assert "pip install" in lines[fault + 2]
    assert done.stderr == "1 fault found\n"
