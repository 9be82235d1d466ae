"""A small library in a database, and ways to run the program on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
from click.testing import CliRunner, Result
from databases import Place

from photoage.cli import cli
from photoage.database.store import Store
from photoage.records import Detection, Estimate, PhotoDate, PhotoFaces, PhotoFile, RunCounts

PROGRAM = Path(sys.executable).with_name("photoage")
HEADER = (
    "path,face_index,age,age_low,age_high,det_score,x1,y1,x2,y2,photo_width,photo_height,taken_at,scanned_at,"
    "detector,checkpoint,date_source,person,age_source,page"
)
ANNA = "/photos/2019/anna.jpg"
OLD = "/photos/2020/old.jpg"
LATIN = os.fsdecode(b"/photos/caf\xe9.jpg")
EVIL = "/photos/evil\x1b]0;owned\x07\x9b2J\u202egpj.jpg"
BROKEN = "/photos/broken.jpg"
WEIRD = "/photos/new\nline\x1b[31m.jpg"


def faces(number: int, *ages: float) -> tuple[PhotoFaces, list[Estimate]]:
    found = tuple(
        Detection((10.0 + 100 * i, 20.5, 90.0 + 100 * i, 120.25), np.zeros((5, 2), np.float32), 0.9 - i / 10)
        for i in range(len(ages))
    )
    estimates = [Estimate(age, max(0.0, age - 5 - age / 10), age + 5 + age / 10) for age in ages]
    return PhotoFaces(f"{number:032x}", 640, 480, found), estimates


def store_library(path: Place) -> None:
    """Make a database with five photos, five faces on four of them, and two unreadable files."""
    with Store.open(path) as store:
        store.begin_run(["/photos"], {}, ("scrfd_500m", "a" * 64), ("tiny", "b" * 64))
        for number, (photo, ages, taken) in enumerate(
            [
                (ANNA, (34.25, 8.5), "2019-05-04T12:30:00"),
                (OLD, (71.0,), "2020-01-01T00:00:00"),
                (LATIN, (45.0,), "2021-07-01T00:00:00"),
                (EVIL, (5.0,), None),
                ("/photos/landscape.jpg", (), "2019-12-31T23:59:59"),
            ]
        ):
            date = (PhotoDate.parse(taken), "exif") if taken else (None, None)
            store.save_many([(PhotoFile(photo, 1000 + number, 1, "", *date), *faces(number, *ages))])
        store.save_unreadable(PhotoFile(BROKEN, 7, 1), "truncated", f"{BROKEN}: the image ends early")
        store.save_unreadable(PhotoFile(WEIRD, 8, 1), "unknown", f"{WEIRD}: not an image")
        store.commit()
        store.finish_run("finished", RunCounts(seen=7, done=5, unreadable=2, faces=5))


class Run(Protocol):
    def __call__(self, *args: str, status: int = 0) -> Result: ...


def runner(database: Place) -> Run:
    """Runs a command on the database, in this process, and checks its exit code."""

    def invoke(*args: str, status: int = 0) -> Result:
        home = database.parent if isinstance(database, Path) else "/nonexistent"
        env = {"INSIGHTFACE_HOME": str(home)}  # whatever packs this machine has
        result = CliRunner(env=env).invoke(cli, ["--db", str(database), *args])
        assert result.exit_code == status, result.output
        return result

    return invoke


def real(database: Place, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the installed program, with pipes."""
    env = {**os.environ, "PHOTOAGE_DB": str(database)}
    return subprocess.run([PROGRAM, *args], env=env, input=stdin, capture_output=True)
