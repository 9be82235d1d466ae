"""Exports as Parquet and SQLite files, read by pyarrow, sqlite3 and the sqlite3 program's own checks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path

import pyarrow.parquet
import pytest
from small_library import ANNA, HEADER, LATIN, PROGRAM, Run, runner, store_library

from photoage.database.query import FaceRow
from photoage.database.tables import decode_path
from photoage.errors import PhotoageError
from photoage.export import tabular
from photoage.export.tabular import write_parquet, write_sqlite

ROW = FaceRow(
    "/photos/a.jpg", 0, 31.0, 22.123, 40.5, 0.87, 1.5, 2.0, 30.25, 40.0, 640, 480, None,
    "2026-01-02T03:04:05Z", "scrfd_500m", "photoage-resnet50",
)  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tabular") / "photoage.db"
    store_library(path)
    return path


@pytest.fixture
def run(database: Path) -> Run:
    return runner(database)


def test_parquet_has_the_columns_with_their_types_and_the_values_of_the_json(
    run: Run, tmp_path: Path
) -> None:
    target = tmp_path / "faces.parquet"
    run("export", "--sort", "age", "-o", str(target))
    table = pyarrow.parquet.read_table(target)
    assert ",".join(table.column_names) == HEADER
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["path"], types["age"], types["face_index"]) == ("string", "double", "int32")
    assert (types["taken_at"], types["scanned_at"]) == ("string", "timestamp[us, tz=UTC]")
    rows = table.to_pylist()
    assert [row["age"] for row in rows] == [5.0, 8.5, 34.25, 45.0, 71.0]
    dated = next(row for row in rows if row["path"] == ANNA)
    assert dated["taken_at"] == "2019-05-04T12:30:00"
    assert dated["scanned_at"].tzinfo is not None
    assert rows[0]["taken_at"] is None
    for row in rows:
        row["path"] = decode_path(row["path"])
        row["scanned_at"] = row["scanned_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    target = tmp_path / "faces.json"
    run("export", "--sort", "age", "-o", str(target))
    assert rows == json.loads(target.read_text())
    assert LATIN in [row["path"] for row in rows]
    piped = run("export", "--sort", "age", "-o", "-", "--format", "parquet")
    assert piped.stdout_bytes == target.with_suffix(".parquet").read_bytes()


@pytest.mark.parametrize("suffix", ["sqlite", "db"])
def test_sqlite_is_one_table_with_the_rows_of_faces_view(
    run: Run, database: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"faces.{suffix}"
    target.write_text("old")
    run("export", "-o", str(target))
    with closing(sqlite3.connect(target)) as exported, closing(sqlite3.connect(database)) as source:
        assert exported.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert exported.execute("SELECT name FROM sqlite_master").fetchall() == [("faces",)]
        columns = exported.execute("SELECT name, type FROM pragma_table_info('faces')").fetchall()
        assert ",".join(name for name, _ in columns) == HEADER
        assert dict(columns)["age"] == "REAL"
        order = "ORDER BY path, face_index"
        rows = exported.execute(f"SELECT * FROM faces {order}").fetchall()
        assert rows == source.execute(f"SELECT * FROM faces_view {order}").fetchall()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_nothing_found_is_a_file_without_rows(run: Run, tmp_path: Path) -> None:
    for suffix in ("parquet", "sqlite"):
        run("export", "--min-age", "100", "-o", str(tmp_path / f"faces.{suffix}"))
    assert pyarrow.parquet.read_table(tmp_path / "faces.parquet").num_rows == 0
    with closing(sqlite3.connect(tmp_path / "faces.sqlite")) as exported:
        assert exported.execute("SELECT count(*) FROM faces").fetchone() == (0,)


def test_row_groups_keep_memory_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "ROWS", 500)

    def rows(number: int) -> Iterator[FaceRow]:
        return (ROW._replace(path=f"/photos/{i:06}.jpg") for i in range(number))

    peaks = []
    for number in (1000, 10_000):
        tracemalloc.start()
        with open(tmp_path / "faces.parquet", "wb") as file:
            assert write_parquet(rows(number), file) == number
        (tmp_path / "faces.db").unlink(missing_ok=True)
        assert write_sqlite(rows(number), tmp_path / "faces.db") == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
    assert pyarrow.parquet.ParquetFile(tmp_path / "faces.parquet").metadata.num_row_groups == 20


def test_a_time_that_is_none_names_the_photo(tmp_path: Path) -> None:
    for change in ({"taken_at": "soon"}, {"scanned_at": ""}):
        with (
            open(tmp_path / "x", "wb") as file,
            pytest.raises(PhotoageError, match=r"/photos/a.jpg: the database holds a time that is none"),
        ):
            write_parquet([ROW._replace(**change)], file)  # type: ignore[arg-type]


def test_without_pyarrow_one_line_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("export", "-o", str(tmp_path / "faces.parquet"), status=1)
    assert "pip install pyarrow" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_sqlite_to_stdout_is_a_usage_error(run: Run) -> None:
    assert "cannot be written to stdout" in run("export", "-o", "-", "--format", "sqlite", status=2).stderr


def test_export_never_replaces_a_photoage_database(run: Run, database: Path, tmp_path: Path) -> None:
    backup, link = tmp_path / "backup.db", tmp_path / "link.csv"
    shutil.copy(database, backup)
    link.symlink_to(database)
    before = backup.read_bytes()
    for target in (database, backup, link):
        result = run("export", "-o", str(target), status=2)
        assert result.stderr == f"photoage: error: {target}: is a photoage database; name another file\n"
    assert backup.read_bytes() == before
    assert run("query", "--count").stdout == "5\n"


def test_an_sqlite_file_that_a_program_has_open_is_not_replaced(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "faces.db"
    run("export", "-o", str(target))
    with closing(sqlite3.connect(target)) as busy:
        busy.execute("PRAGMA journal_mode = WAL")
        busy.execute("DELETE FROM faces")
        busy.commit()
        result = run("export", "-o", str(target), status=2)
        assert "is an SQLite file in use" in result.stderr
    run("export", "-o", str(target))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(run: Run, database: Path) -> None:
    for form, status, cause in (("sqlite", 2, "cannot be written to"), ("parquet", 1, "No space left")):
        done = run("export", "-o", "/dev/full", "--format", form, status=status)
        assert cause in done.stderr
        assert done.stderr.count("\n") == 1
    with open("/dev/full", "wb") as full:
        words = [PROGRAM, "--db", database, "export", "-o", "-", "--format", "parquet"]
        piped = subprocess.run(words, stdout=full, stderr=subprocess.PIPE)
    assert (piped.returncode, piped.stderr) == (1, b"photoage: error: No space left on device\n")
