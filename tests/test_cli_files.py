"""The commands that write files or look at the installation: export, db, models, doctor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_library import PROGRAM, Run, runner, store_library

import photoage
from photoage.cli import cli

PACKAGE = Path(photoage.__file__).parent


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "photoage.db"
    store_library(path)
    return path


@pytest.fixture
def run(database: Path) -> Run:
    return runner(database)


# --- export ----------------------------------------------------------------------------------


def test_export_takes_the_format_from_the_extension(run: Run, tmp_path: Path) -> None:
    for suffix in ("csv", "json", "jsonl", "CSV"):
        target = tmp_path / f"faces.{suffix}"
        assert run("export", "--min-age", "8", "-o", str(target)).stdout == ""
    queried = run("query", "--min-age", "8", "--csv").stdout_bytes
    assert (tmp_path / "faces.csv").read_bytes() == (tmp_path / "faces.CSV").read_bytes() == queried
    rows = json.loads(run("query", "--min-age", "8", "--json").stdout)
    for row in rows:  # what a query tells beside the columns of the CSV
        del row["sharpness"], row["yaw"]
    assert json.loads((tmp_path / "faces.json").read_text()) == rows
    lines = (tmp_path / "faces.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "faces.CSV", "faces.csv", "faces.json", "faces.jsonl"
    ]  # fmt: skip


def test_export_to_stdout(run: Run) -> None:
    assert run("export", "-o", "-").stdout_bytes == run("query", "--csv").stdout_bytes
    lines = run("export", "-o", "-", "--format", "jsonl").stdout_bytes.splitlines()
    queried = run("query", "--jsonl").stdout_bytes.splitlines()
    assert len(lines) == 5
    assert all(more.startswith(line[:-1]) for line, more in zip(lines, queried, strict=True))


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


def test_an_export_is_added_to_what_is_no_file_of_its_own(run: Run, database: Path, tmp_path: Path) -> None:
    """`(echo header; photoage export -o /dev/stdout; echo footer) > log`, `| wc -l`, and `>(wc -l)`."""
    csv = run("export", "-o", "-").stdout_bytes
    script = f"""
      echo header > log
      {PROGRAM} export -o /dev/stdout --format csv >> log
      (echo header; {PROGRAM} export -o /dev/stdout; echo footer) > group
      {PROGRAM} export -o /dev/stdout | cat > piped
      {PROGRAM} export -o >(cat > substituted); wait $!
    """
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PHOTOAGE_DB": str(database)}
    )
    assert done.returncode == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "log": b"header\n" + csv,
        "group": b"header\n" + csv + b"footer\n",
        "piped": csv,
        "substituted": csv,
    }


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(run: Run, database: Path) -> None:
    done = run("export", "-o", "/dev/full", "--format", "csv", status=1)
    assert done.stdout == ""
    assert done.stderr == "photoage: error: /dev/full: cannot be written (No space left on device)\n"
    for unbuffered in ("", "1"):  # what is buffered is written only as the program ends
        env = {**os.environ, "PHOTOAGE_DB": str(database), "PYTHONUNBUFFERED": unbuffered}
        with open("/dev/full", "wb") as full:
            piped = subprocess.run([PROGRAM, "query"], env=env, stdout=full, stderr=subprocess.PIPE)
        assert piped.returncode == 1
        assert piped.stderr.splitlines()[-1] == b"photoage: error: No space left on device"


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
        ["ok", "scrfd_500m:"], ["ok", "photoage-resnet50:"], ["ok", "photoage-resnet50.int8:"],
        ["ok", "w600k_mbf:"],
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


def test_doctor_finds_two_onnxruntimes_and_prints_what_mends_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "onnxruntime-gpu" if sys.platform == "darwin" else "onnxruntime"
    info = tmp_path / f"{other.replace('-', '_')}-1.31.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 1.31.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = run("doctor", status=1)
    lines = done.stdout.splitlines()
    (fault,) = (number for number, line in enumerate(lines) if line.startswith("FAULT"))
    assert "onnxruntime 1.31.0" in lines[fault]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in lines[fault + 1]
    assert "pip install" in lines[fault + 2]
    assert done.stderr == "1 fault found\n"
