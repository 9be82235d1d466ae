"""Time typical queries on a PostgreSQL database of 5,000,000 generated faces.

    createdb --encoding UTF8 photoage_benchmark
    python benchmarks/query_postgres.py postgresql://USER@HOST/photoage_benchmark [--faces N] [--plans]

The database is filled if it is empty, by the server itself, and used again when it is not; the role must be
a superuser to fill it (foreign keys are not checked meanwhile). `dropdb photoage_benchmark` in the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from query_million import queries
from sqlalchemy import Engine, event, text

from photoage.database.connect import database_size, open_database, table_counts
from photoage.database.query import count_faces, iter_faces, iter_paths

PROGRAM = Path(sys.executable).with_name("photoage")
REPEATS = 3
PROGRAMS = (
    "--help",
    "query --min-age 60 --max-age 62 --count",
    "query --min-age 60 --max-age 62 --csv --limit 1000",
    "query --min-age 60 --max-age 60.2",
    "query --min-age 60 --max-age 60.5",
    "query --min-age 60 --max-age 62",
    "query --min-age 60 --max-age 62 --csv",
    "query --min-age 20 --limit 20 --csv",
)
MEAN_FACES = 1.42  # of a photo, see `faces` below

# Folder by folder in no particular order; 35 % of the photos have no face, some have six.
FILL = """
SET LOCAL session_replication_role = replica;
INSERT INTO detector (id, name, sha256) VALUES (1, 'scrfd_500m_bnkps', 'd');
INSERT INTO checkpoint (id, name, sha256) VALUES (1, 'resnet50', 'c');
INSERT INTO scan_run SELECT 1, '2026-01-01T00:00:00Z', NULL, 'finished', '[]', '{{}}', 1, 1, '0',
    0, 0, 0, 0, 0, 0, 0, 0, 0;
SELECT setseed(0.5);
INSERT INTO photo (id, path, size, mtime_ns, content_hash, width, height, taken_at, status, error_kind,
    error_message, detector_id, detect_key, scan_run_id, scanned_at)
SELECT i,
    format('/home/ann/Pictures/%s/%s-%s event %s/IMG_%s.JPG', year, year, lpad(month::text, 2, '0'),
           lpad((folder / 312)::text, 4, '0'), lpad(i::text, 7, '0')),
    2000000 + i % 4000000, 1500000000000000000 + i, md5(i::text), 4000, 3000,
    CASE WHEN i % 10 > 0 THEN format('%s-%s-%sT12:%s:00', year, lpad(month::text, 2, '0'),
                                     lpad((i % 28 + 1)::text, 2, '0'), lpad((i % 60)::text, 2, '0')) END,
    'done', NULL, NULL, 1, 'key', 1, '2026-01-01T00:00:00Z'
FROM generate_series(1, {photos}) AS i,
    LATERAL (SELECT (i / 200 * 7919::bigint % ({photos} / 200 + 1))::int AS folder) AS f,
    LATERAL (SELECT 2000 + folder % 26 AS year, folder / 26 % 12 + 1 AS month) AS m;
INSERT INTO face (id, photo_id, face_index, x1, y1, x2, y2, det_score, landmarks)
SELECT row_number() OVER (), photo, index,
    trunc(random() * 3e6) / 1e3, trunc(random() * 3e6) / 1e3,
    trunc(random() * 3e6) / 1e3, trunc(random() * 3e6) / 1e3, round((0.5 + random() / 2)::numeric, 3)::float,
    '[[117.31, 93.47], [234.62, 186.94], [351.93, 280.41], [469.24, 373.88], [586.55, 467.35]]'
FROM (SELECT i AS photo, random() AS lot FROM generate_series(1, {photos}) AS i OFFSET 0) AS photos,
    LATERAL generate_series(0, width_bucket(lot, ARRAY[0.35, 0.63, 0.80, 0.89, 0.94, 0.97]) - 1) AS index
    LIMIT {faces};
INSERT INTO estimate (id, face_id, checkpoint_id, age, age_low, age_high, current)
SELECT id, id, 1, age, round((age - width)::numeric, 3)::float,
    round((age + width)::numeric, 3)::float, true
FROM (SELECT id, round(least(99, greatest(0.5, 34 + 18 * sqrt(-2 * ln(1 - random())) * cos(6.2832 * random())
      ))::numeric, 3)::float AS age, 4 + random() * 10 AS width FROM face OFFSET 0) AS faces;
"""


def fill(url: str, faces: int) -> None:
    engine = open_database(url, create=True)
    start = time.perf_counter()
    with engine.begin() as connection:
        for statement in FILL.format(faces=faces, photos=int(faces / MEAN_FACES * 1.03)).split(";\n"):
            if statement.strip():
                connection.execute(text(statement.replace("::", r"\:\:")))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    print(f"generated in {time.perf_counter() - start:.0f} s; {database_size(engine) / 1e6:,.0f} MB")
    print(", ".join(f"{count:,} {table}s" for table, count in table_counts(engine).items()))
    engine.dispose()


def timed(run: Callable[[], object]) -> tuple[object, float]:
    """What a run gives, and its median seconds; the first run, which may read the disk, does not count."""
    found, seconds = run(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return found, statistics.median(seconds)


def plans(engine: Engine, run: Callable[[], object]) -> list[str]:
    """How the server runs the statements of a run."""
    statements = []

    def record(connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    run()
    event.remove(engine, "before_cursor_execute", record)
    with engine.connect() as connection:
        return [
            row[0]
            for statement, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)  # type: ignore[arg-type]
        ]


def report(engine: Engine, show_plans: bool, only: str) -> None:
    for options, wanted in queries().items():
        if only not in options:
            continue
        runs: dict[str, Callable[[], object]] = {
            "rows": lambda f=wanted: sum(1 for _ in iter_faces(engine, f)),  # type: ignore[misc]
            "count": lambda f=wanted: count_faces(engine, f),  # type: ignore[misc]
            "paths": lambda f=wanted: sum(1 for _ in iter_paths(engine, f)),  # type: ignore[misc]
        }
        print(f"\nphotoage query {options}")
        for name, run in runs.items():
            found, seconds = timed(run)
            print(f"  {name:5} {found:9,} {seconds * 1000:9.1f} ms")
            if show_plans:
                print("\n".join(f"        {line}" for line in plans(engine, run)))


def report_program(url: str) -> None:
    """The whole program, from the command line to the last byte."""
    env = {**os.environ, "PHOTOAGE_DB": url, "PHOTOAGE_QUIET": "1"}

    def run(command: str) -> None:
        subprocess.run([PROGRAM, *command.split()], env=env, check=True, stdout=subprocess.DEVNULL)

    for command in PROGRAMS:
        print(f"photoage {command}: {timed(lambda c=command: run(c))[1]:.2f} s")  # type: ignore[misc]
    for command in ("stats", "export -o -"):
        start = time.perf_counter()
        run(command)
        print(f"photoage {command}: {time.perf_counter() - start:.1f} s, once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--faces", type=int, default=5_000_000)
    parser.add_argument("--plans", action="store_true")
    parser.add_argument(
        "--only", default="", help="only queries whose options contain this, then the program"
    )
    options = parser.parse_args()
    engine = open_database(options.url, create=True)
    if not table_counts(engine)["photo"]:
        fill(options.url, options.faces)
    engine.dispose()
    engine = open_database(options.url, read_only=True)
    try:
        report(engine, options.plans, options.only)
    finally:
        engine.dispose()
    print()
    report_program(options.url)


if __name__ == "__main__":
    main()
