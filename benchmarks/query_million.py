"""Time typical queries on a generated database of 1,000,000 faces, and show their query plans.

    python benchmarks/query_million.py [FILE] [--faces N]

FILE is kept and used again when it exists; without it, a temporary one is made.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, event

from photoage.ages.intervals import calibrate, for_strata, residual_table
from photoage.database.connect import open_database
from photoage.database.face_filter import FaceFilter
from photoage.database.query import count_faces, iter_faces, iter_paths

FACES_PER_PHOTO = (0.35, 0.28, 0.17, 0.09, 0.05, 0.03, 0.03)  # share of photos with 0, 1, 2 ... faces
REPEATS = 3


PHOTO = (
    "id, path, size, mtime_ns, content_hash, width, height, taken_at, status, error_kind, error_message,"
    " detector_id, detect_key, scan_run_id, scanned_at"
)

RUN = (
    "id, started_at, status, roots, options, detector_id, checkpoint_id, version, photos_seen, unchanged,"
    " done, unreadable, missing, relinked, duplicates, re_estimated, faces"
)


def generate(file: Path, faces: int, seed: int = 1) -> None:
    """Fill a new database with random photos, folder by folder in no particular order."""
    open_database(str(file), create=True).dispose()
    random = np.random.default_rng(seed)
    mean = sum(number * share for number, share in enumerate(FACES_PER_PHOTO))
    counts = random.choice(len(FACES_PER_PHOTO), size=int(faces / mean * 1.02), p=FACES_PER_PHOTO)
    counts = counts[: int(np.searchsorted(np.cumsum(counts), faces)) + 1]
    counts[-1] -= counts.sum() - faces
    landmarks = json.dumps([[round(x * 117.31, 2), round(x * 93.47, 2)] for x in range(1, 6)])
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;")
        connection.execute("INSERT INTO detector VALUES (1, 'scrfd_500m_bnkps', 'd')")
        connection.execute(
            "INSERT INTO checkpoint (id, name, sha256, residuals) VALUES (1, 'resnet50', 'c', ?)",
            (json.dumps(_residuals(random)),),
        )
        run = (1, "2026-01-01T00:00:00Z", "finished", "[]", "{}", 1, 1, "0", *[0] * 9)
        connection.execute(f"INSERT INTO scan_run ({RUN}) VALUES ({', '.join('?' * len(run))})", run)
        marks = ", ".join("?" * 15)
        connection.executemany(f"INSERT INTO photo ({PHOTO}) VALUES ({marks})", _photos(random, len(counts)))
        photo_ids = np.repeat(np.arange(1, len(counts) + 1), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        indices = np.arange(faces) - first
        boxes = random.uniform(0, 3000, (faces, 4)).round(3)
        scores = random.beta(8, 2, faces).round(3)
        connection.executemany(
            "INSERT INTO face (id, photo_id, face_index, x1, y1, x2, y2, det_score, landmarks)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            zip(
                range(1, faces + 1),
                photo_ids.tolist(),
                indices.tolist(),
                *boxes.T.tolist(),
                scores.tolist(),
                [landmarks] * faces,
                strict=True,
            ),
        )
        ages = np.clip(random.normal(34, 18, faces), 0.5, 99).round(3)
        widths = random.uniform(4, 14, faces).round(3)
        connection.executemany(
            "INSERT INTO estimate"
            " (id, face_id, checkpoint_id, age, age_low, age_high, current, latest, stratum, age_source)"
            " VALUES (?, ?, 1, ?, ?, ?, 1, 1, ?, ?)",
            zip(
                range(1, faces + 1),
                range(1, faces + 1),
                ages.tolist(),
                (ages - widths).round(3).tolist(),
                (ages + widths).round(3).tolist(),
                (random.random(faces) < 0.3).astype(int).tolist(),
                ["person" if is_person else "face" for is_person in random.random(faces) < 0.2],
                strict=True,
            ),
        )
        connection.executescript("PRAGMA analysis_limit = 1000; ANALYZE;")
        connection.commit()


def _residuals(random: np.random.Generator) -> dict[str, Any]:
    """Errors that grow with age, and are larger for small faces."""
    predicted = random.uniform(0, 90, 5000).astype(np.float32)
    age = predicted + random.normal(0, 1 + predicted / 8).astype(np.float32)
    strata = (np.arange(5000) % 5 == 0).astype(np.intp)
    age = np.where(strata, predicted + 1.2 * (age - predicted), age).astype(np.float32)
    table = residual_table(for_strata(calibrate(predicted, age), predicted, age, strata, np.ones(5000)))
    assert table is not None
    return table


def _photos(random: np.random.Generator, number: int) -> Iterator[tuple[Any, ...]]:
    per_folder = 200
    folders = random.permutation(number // per_folder + 1)
    for index in range(number):
        folder = int(folders[index // per_folder])
        year, month, event_number = 2000 + folder % 26, folder // 26 % 12 + 1, folder // 312
        day = index % 28 + 1
        path = f"/home/ann/Pictures/{year}/{year}-{month:02} event {event_number:03}/IMG_{index:07}.JPG"
        taken_at = f"{year}-{month:02}-{day:02}T12:{index % 60:02}:00" if index % 10 else None
        yield (
            index + 1, path, 2_000_000 + index * 7919 % 4_000_000, 1_500_000_000_000_000_000 + index,
            f"{index * 2654435761 % 2**64:032x}", 4000, 3000, taken_at, "done", None, None, 1, "key", 1,
            "2026-01-01T00:00:00Z",
        )  # fmt: skip


def queries() -> dict[str, FaceFilter]:
    """Typical questions by the options that ask them."""
    return {
        "--min-age 60 --max-age 62": FaceFilter(min_age=60, max_age=62),
        "--min-age 30 --max-age 32": FaceFilter(min_age=30, max_age=32),
        "--min-age 80": FaceFilter(min_age=80),
        "--min-age 30 --max-age 32 --limit 20": FaceFilter(min_age=30, max_age=32, limit=20),
        "--min-age 98.9 --limit 20": FaceFilter(min_age=98.9, limit=20),
        "--min-age 60 --prob 0.8": FaceFilter(min_age=60, prob=0.8),
        "--max-age 12 --prob 0.5": FaceFilter(max_age=12, prob=0.5),
        "--min-age 30 --max-age 40 --prob 0.5": FaceFilter(min_age=30, max_age=40, prob=0.5),
        "--min-age 18 --prob 0.95 --limit 20": FaceFilter(min_age=18, prob=0.95, limit=20),
        "--min-age 20 --limit 20": FaceFilter(min_age=20, limit=20),
        "--limit 20": FaceFilter(limit=20),
        "--sort path --reverse --limit 20": FaceFilter(descending=True, limit=20),
        "--min-age 20 --sort age --limit 20": FaceFilter(min_age=20, sort="age", limit=20),
        "--sort age --reverse --limit 20": FaceFilter(sort="age", descending=True, limit=20),
        "--min-age 30 --max-age 32 --sort date --limit 20": FaceFilter(
            min_age=30, max_age=32, sort="date", limit=20
        ),
        "--sort date --limit 20": FaceFilter(sort="date", limit=20),
        "--sort date --reverse --limit 20": FaceFilter(sort="date", descending=True, limit=20),
        "--sort score --limit 20": FaceFilter(sort="score", limit=20),
        "--sort interval --limit 20": FaceFilter(sort="interval", limit=20),
        "--sort faces --reverse --limit 20": FaceFilter(sort="faces", descending=True, limit=20),
        "--min-age 30 --max-age 32 --max-interval 10": FaceFilter(min_age=30, max_age=32, max_interval=10),
        "--min-age 60 --max-age 70 --from-date 2019-01-01 --to-date 2019-12-31": FaceFilter(
            min_age=60, max_age=70, from_date=date(2019, 1, 1), to_date=date(2019, 12, 31)
        ),
        "--from-date 2019-07-01 --to-date 2019-07-07": FaceFilter(
            from_date=date(2019, 7, 1), to_date=date(2019, 7, 7)
        ),
        "--path '/home/ann/Pictures/2019/*' --min-age 60": FaceFilter(
            path_glob="/home/ann/Pictures/2019/*", min_age=60
        ),
        "--path 'IMG_00012*' --min-age 20": FaceFilter(path_glob="IMG_00012*", min_age=20),
        "--path '/nowhere/*' --min-age 20 --limit 20": FaceFilter(
            path_glob="/nowhere/*", min_age=20, limit=20
        ),
        "--min-faces 6 --min-age 60": FaceFilter(min_faces=6, min_age=60),
        "--min-faces 6 --limit 20": FaceFilter(min_faces=6, limit=20),
        "(no filter)": FaceFilter(),
    }


def measure(engine: Engine, run: Callable[[], int]) -> tuple[int, float, float, list[str]]:
    """What `run` gives, its median seconds by the clock and of the processor, its statements' plans.

    On a busy machine, the processor's time is the one that tells.
    """
    statements: list[tuple[str, Any]] = []

    def record(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    try:
        found = run()
    finally:
        event.remove(engine, "before_cursor_execute", record)
    wall, busy = [], []
    for _ in range(REPEATS):
        start, start_busy = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    plans = []
    with engine.connect() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("; ".join(row[3] for row in rows))
    return found, statistics.median(wall), statistics.median(busy), plans


def report(engine: Engine) -> None:
    for options, faces in queries().items():
        runs: dict[str, Callable[[], int]] = {
            "rows": lambda f=faces: sum(1 for _ in iter_faces(engine, f)),  # type: ignore[misc]
            "count": lambda f=faces: count_faces(engine, f),  # type: ignore[misc]
            "paths": lambda f=faces: sum(1 for _ in iter_paths(engine, f)),  # type: ignore[misc]
        }
        print(f"\nphotoage query {options}")
        for name, run in runs.items():
            found, wall, busy, plans = measure(engine, run)
            print(f"  {name:5} {found:9,} {wall * 1000:8.1f} ms ({busy * 1000:.1f} ms processor)")
            for plan in plans:
                print(f"        {plan}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--faces", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.file or Path(folder) / "million.db"
        if not file.exists():
            start = time.perf_counter()
            generate(file, options.faces)
            size = file.stat().st_size / 1e6
            print(f"generated {options.faces:,} faces in {time.perf_counter() - start:.0f} s, {size:.0f} MB")
        engine = open_database(str(file), read_only=True)
        try:
            report(engine)
        finally:
            engine.dispose()


if __name__ == "__main__":
    main()
