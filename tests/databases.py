"""Databases in tests: filled by a store, seen by Python's own module, and used by other processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine

from photoage.database.connect import check_integrity, open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.known import KnownPhoto
from photoage.database.query import iter_faces
from photoage.database.store import Store
from photoage.records import Detection, Estimate, PhotoDate, PhotoFaces, PhotoFile

DETECTOR = ("scrfd", "d" * 64)
CHECKPOINT = ("first", "1" * 64)
LATER_CHECKPOINT = ("second", "2" * 64)
LATIN = os.fsdecode(b"/p/caf\xe9.jpg")


Place = Path | str  # a file, or the URL of a database of a server


@contextmanager
def opened(path: Place, **options: bool) -> Iterator[Engine]:
    engine = open_database(path, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def run_sql(place: Place, *statements: str) -> list[tuple[object, ...]]:
    """What the last statement gives, by the driver alone."""
    if isinstance(place, str):
        with psycopg.connect(place.replace("+psycopg", "")) as server:
            for statement in statements:
                cursor = server.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(place)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


@contextmanager
def another_process(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed a line, and is killed in the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


HOLD_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(60)
"""


def without_privileges(code: str, *arguments: str | Path) -> str:
    """What a Python process prints for which file permissions count, even when root runs the tests."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions, and setpriv is not there to change that")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# --- through a store ----------------------------------------------------------------------------


def begin(store: Store, checkpoint: tuple[str, str] = CHECKPOINT, roots: Sequence[str] = ("/p",)) -> int:
    return store.begin_run(roots, {"force": False}, DETECTOR, checkpoint)


def detections(number: int) -> tuple[Detection, ...]:
    landmarks = (np.arange(10, dtype=np.float32) / np.float32(3)).reshape(5, 2)
    return tuple(
        Detection((10 + i, 20.0, 30.12345, 40.0), landmarks + np.float32(i), 0.87654) for i in range(number)
    )


TAKEN = PhotoDate(2020, 2, 3, 4, 5, 6)


def save(
    store: Store, path: str, *ages: float, size: int = 100, content: str = "c", mtime_ns: int = 1
) -> int:
    faces = PhotoFaces(content, 640, 480, detections(len(ages)))
    estimates = [Estimate(age, age - 5, age + 5) for age in ages]
    file = PhotoFile(path, size, mtime_ns, "", TAKEN, "exif")
    (photo_id,) = store.save_many([(file, faces, estimates)])
    return photo_id


def another_writer(place: Place, first: Store) -> Store:
    """A second connection that writes for the same scan run: what the lock of scans keeps out."""
    writer = Store(open_database(place))
    run = {name: value for name, value in vars(first).items() if name not in vars(writer)}
    vars(writer).update(run)
    writer.known.detector_id = first.known.detector_id
    writer.known.checkpoint_id = first.known.checkpoint_id
    return writer


PHOTOS = [f"/p/{number:03}.jpg" for number in range(120)]


def photo(path: str, faces: int | None = None) -> tuple[PhotoFile, PhotoFaces, list[Estimate]]:
    """What `Store.save_many` takes of a photo; its number decides how many faces it has."""
    ages = [float(20 + index) for index in range(int(path[-7:-4]) % 4 if faces is None else faces)]
    found = PhotoFaces("c", 640, 480, detections(len(ages)))
    return PhotoFile(path, 100, 1), found, [Estimate(age, age - 5, age + 5) for age in ages]


def known(store: Store, path: str) -> KnownPhoto:
    return store.known.by_path([path])[path]


def stored_ages(path: Place) -> list[float]:
    with opened(path, read_only=True) as engine:
        return [face.age for face in iter_faces(engine, FaceFilter())]


def assert_sound(path: Place) -> None:
    with opened(path, read_only=True) as engine:
        assert check_integrity(engine) == []
