"""Output formats: exact columns, bounded decimals, no formulas, no lost rows."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from photoage.database.query import FaceRow
from photoage.export.writers import write_csv, write_json, write_jsonl

HEADER = (
    "path,face_index,age,age_low,age_high,det_score,x1,y1,x2,y2,photo_width,photo_height,"
    "taken_at,scanned_at,detector,checkpoint,date_source,person,age_source,page"
)
ROW = FaceRow(
    "/photos/a.jpg", 0, 31.0, 22.12345, 40.5, 0.87, 1.5, 2.0, 30.25, 40.0, 640, 480, None,
    "2026-01-02T03:04:05Z", "scrfd_500m", "photoage-resnet50",
)  # fmt: skip


def as_csv(*rows: FaceRow) -> str:
    file = io.StringIO(newline="")
    assert write_csv(rows, file) == len(rows)
    return file.getvalue()


def test_csv_header_and_numbers() -> None:
    header, line = as_csv(ROW).splitlines()
    assert header == HEADER
    assert line == (
        "/photos/a.jpg,0,31.0,22.123,40.5,0.87,1.5,2.0,30.25,40.0,640,480,,2026-01-02T03:04:05Z,"
        "scrfd_500m,photoage-resnet50,,,face,1"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_text_that_a_spreadsheet_would_run_is_neutralised(start: str) -> None:
    text = as_csv(ROW._replace(detector=f"{start}cmd|' /C calc'!A0"))
    cell = list(csv.reader(io.StringIO(text, newline="")))[1][14]
    assert cell.startswith("'" + start)


def test_csv_survives_every_separator_in_a_name() -> None:
    path = '/a "quoted", comma;\nnewline é 🎖️.jpg'
    rows = list(csv.reader(io.StringIO(as_csv(ROW._replace(path=path), ROW), newline="")))
    assert rows[1][0] == path
    assert len(rows) == 3


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_and_json_lines_hold_the_same(count: int) -> None:
    rows = [ROW._replace(face_index=i) for i in range(count)]
    document, lines = io.StringIO(), io.StringIO()
    assert write_json(rows, document) == write_jsonl(rows, lines) == count
    parsed: list[dict[str, Any]] = json.loads(document.getvalue())
    assert parsed == [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [list(item) for item in parsed] == [HEADER.split(",")] * count
    assert all(item["age_low"] == 22.123 and item["taken_at"] is None for item in parsed)


def test_bytes_of_a_path_that_are_not_text_leave_as_the_file_decides() -> None:
    rows = [ROW._replace(path="/photos/caf\udce9.jpg")]
    raw = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape", newline="")
    write_csv(rows, raw)
    raw.flush()
    assert b"/photos/caf\xe9.jpg" in raw.buffer.getvalue()  # type: ignore[attr-defined]
    escaped = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="")
    write_jsonl(rows, escaped)
    escaped.flush()
    assert json.loads(escaped.buffer.getvalue())["path"] == "/photos/caf\udce9.jpg"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "number", [0.0, 1.0, 0.001, 0.0004, 1e-7, 12.345, 12.3456, 99.9996, 1e16, 1 / 3, 2.5e-5]
)
def test_csv_numbers_are_rounded_to_three_decimals(number: float) -> None:
    cells = as_csv(ROW._replace(age=number, face_index=1234567)).splitlines()[1].split(",")
    assert cells[1:3] == ["1234567", str(round(number, 3))]


def test_csv_shows_what_is_no_text_in_a_column_of_text() -> None:
    # SQLite keeps a blob in any column; a type of ours never wrote it.
    row = ROW._replace(taken_at=b"2019")  # type: ignore[arg-type]
    assert as_csv(row).splitlines()[1].split(",")[12] == "b'2019'"
