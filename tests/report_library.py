"""Libraries to report on: real photos with stored faces whose ages and dates the test chooses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from decoded import decode_photo

from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.store import Store
from photoage.export.report.build import ReportSummary, write_report
from photoage.records import Detection, Estimate, PhotoDate, PhotoFaces, PhotoFile, RunCounts

# Where the detector finds Grace Hopper's eyes, nose and mouth in people/grace_hopper.jpg.
LANDMARKS = np.array([[225, 197], [305, 194], [268, 242], [235, 280], [299, 278]], dtype=np.float32)


class Stored(NamedTuple):
    """A photo of the library: where, when, and how old its faces look."""

    name: str | bytes
    ages: tuple[float, ...]
    taken: datetime | None = None
    there: bool = True


def make_library(portrait: Path, folder: Path, photos: Iterable[Stored]) -> Path:
    """Copies of one portrait with these faces, a little apart from each other, and their database."""
    database = folder.with_suffix(".db")
    size = decode_photo(str(portrait)).rgb.shape
    shifts = np.random.default_rng(3).uniform(-30, 30, (1000, 2)).astype(np.float32)
    with Store.open(database) as store:
        store.begin_run([str(folder)], {}, ("scrfd_500m", "a" * 64), ("tiny", "b" * 64))
        for number, photo in enumerate(photos):
            path = os.path.join(str(folder), os.fsdecode(photo.name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(portrait, path)
            found = os.stat(path)
            faces = tuple(
                Detection((150.0 + i, 120.0, 350.0, 330.0), LANDMARKS + shifts[i % 1000], 0.8)
                for i in range(len(photo.ages))
            )
            taken = photo.taken and PhotoDate.of(photo.taken)
            source = "exif" if taken else None
            file = PhotoFile(path, found.st_size, found.st_mtime_ns, "", taken, source)
            estimates = [Estimate(age, max(0.0, age - 6), age + 8) for age in photo.ages]
            content = PhotoFaces(f"{number:032x}", size[1], size[0], faces)
            store.save_many([(file, content, estimates)])
            if not photo.there:
                os.unlink(path)
        store.commit()
        store.finish_run("finished", RunCounts())
    return database


def make_report(database: Path, file: Path, wanted: FaceFilter | None = None) -> ReportSummary:
    engine = open_database(str(database), read_only=True)
    try:
        with open(file, "wb") as out:
            return write_report(engine, wanted or FaceFilter(), out, workers=2)
    finally:
        engine.dispose()
