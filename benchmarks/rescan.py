"""What the second scan of an unchanged library costs per file, for libraries of different sizes.

    python benchmarks/rescan.py [FILES ...] [--photos N] [--before CHECKOUT]

(by default 10000 100000 --photos 200)

For each number of files: small files are generated; the plan of a first scan is timed; every file is
stored with one face, as a first scan would; then the library is scanned for real, in a process of its
own, which must find every file unchanged. For comparison, N real photos are scanned for the first
time, models and all. With `--before`, the checkout of an earlier version scans the same library as well, by
turns with this one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from sqlalchemy import Engine, event

from photoage.database.store import Store
from photoage.photos.walk import walk
from photoage.records import Detection, Estimate, PhotoFaces, PhotoFile, RunCounts
from photoage.scan.model_files import resolve_models
from photoage.scan.options import ScanOptions
from photoage.scan.scan import plan_scan, scan

CHECKOUT = Path(__file__).parents[1]
PORTRAIT = CHECKOUT / "sample_library" / "people" / "eileen_collins.png"
PER_FOLDER = 500
ROUNDS = 3
OPTIONS = ScanOptions(device="cpu")
FACE = Detection((10.0, 10.0, 90.0, 90.0), np.full((5, 2), 50.0, dtype=np.float32), 0.9)


def generate_files(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f"{i // PER_FOLDER:04}" / f"IMG_{i:06}.jpg"
        if i % PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % i + b"." * (i % 4000))


def generate_photos(folder: Path, count: int) -> None:
    """Different photos of 512 x 512 pixels with one face each."""
    folder.mkdir()
    with Image.open(PORTRAIT) as source:
        portrait = source.convert("RGB")
    for i in range(count):
        lit = ImageEnhance.Brightness(portrait).enhance(0.8 + 0.4 * i / count)
        lit.save(folder / f"{i:06}.jpg", quality=90)


def store_all(library: Path, database: Path) -> None:
    """Store every file as a first scan would, each with one face."""
    models = resolve_models(OPTIONS)
    with Store.open(str(database)) as store:
        store.begin_run(
            [str(library)],
            OPTIONS.recorded(),
            (models.detector.name, models.detector.sha256),
            (models.info.name, models.checkpoint_sha256),
        )
        for number, file in enumerate(walk([str(library)])):
            assert isinstance(file, PhotoFile)
            digest = hashlib.blake2b(file.path.encode(), digest_size=16).hexdigest()
            faces = PhotoFaces(digest, 100, 100, (FACE,))
            store.save_many([(file, faces, [Estimate(30.0, 20.0, 40.0)])])
            if number % 64 == 63:
                store.commit()
        store.finish_run("finished", RunCounts())


def measure(library: Path, database: Path) -> dict[str, float]:
    """One scan in this process, with its peak memory and that of its largest worker."""
    executed = 0

    def count(*_: object) -> None:
        nonlocal executed
        executed += 1

    event.listen(Engine, "before_cursor_execute", count)
    begun = time.perf_counter()
    counts = scan([str(library)], str(database), OPTIONS).counts
    return {
        "files": counts.seen,
        "unchanged": counts.unchanged,
        "seconds": time.perf_counter() - begun,
        "statements": executed,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def in_own_process(library: Path, database: Path, checkout: Path = CHECKOUT) -> dict[str, float]:
    begun = time.perf_counter()
    script = str(checkout / "benchmarks" / "rescan.py")
    command = [sys.executable, script, "--measure", str(library), str(database)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(done.stdout)
    return result | {"whole_seconds": time.perf_counter() - begun}


def show(result: dict[str, float], what: str) -> None:
    each = result["seconds"] / result["files"] * 1e6
    print(
        f"  {what}: {result['seconds']:.2f} s ({result['whole_seconds']:.2f} s with starting Python),"
        f" {each:,.1f} us per file, {result['statements']:.0f} SQL statements,"
        f" peak memory {result['peak_mb']:.0f} MB, largest worker {result['worker_mb']:.0f} MB"
    )


def compare(files: int, photo_us: float, before: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        library, database = Path(folder) / "library", Path(folder) / "photoage.db"
        generate_files(library, files)
        print(f"{files:,} files")
        begun = time.perf_counter()
        assert sum(1 for _ in plan_scan([str(library)], str(database), OPTIONS)) == files
        planned = time.perf_counter()
        store_all(library, database)
        stored = time.perf_counter()
        print(
            f"  first scan: {(planned - begun) / files * 1e6:,.1f} us per file to plan,"
            f" {(stored - planned) / files * 1e6:,.1f} us to store with one face;"
            f" database {database.stat().st_size / files:,.0f} bytes per file"
        )
        second = in_own_process(library, database)
        assert second["unchanged"] == files
        show(second, "second scan")
        if photo_us:
            ratio = photo_us / (second["seconds"] / files * 1e6)
            print(f"  a first scan of photos takes {ratio:,.0f} times as long per file")
        if before is not None:
            compare_versions(library, database, before)


def compare_versions(library: Path, database: Path, before: Path) -> None:
    """This version and an earlier one, which has a database of its own, by turns."""
    old = database.with_name("before.db")
    store = "import sys, pathlib, rescan; rescan.store_all(*map(pathlib.Path, sys.argv[1:]))"
    path = os.pathsep.join([str(before / "benchmarks"), str(before)])
    command = [sys.executable, "-c", store, str(library), str(old)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, cwd=before, check=True)
    rounds = [
        (in_own_process(library, old, before)["seconds"], in_own_process(library, database)["seconds"])
        for _ in range(ROUNDS)
    ]
    ratios = ", ".join(f"{after / earlier:.2f}" for earlier, after in rounds)
    earlier, after = (sorted(side)[ROUNDS // 2] for side in zip(*rounds, strict=True))
    print(
        f"  earlier version {earlier:.2f} s, this one {after:.2f} s (medians of {ROUNDS}),"
        f" ratio {after / earlier:.2f} (by turns: {ratios})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the second scan of an unchanged library.")
    parser.add_argument("files", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--photos", type=int, default=200, help="real photos to compare with; 0: none")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version to compare with")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    photo_us = 0.0
    if arguments.photos:
        with tempfile.TemporaryDirectory() as folder:
            generate_photos(Path(folder) / "library", arguments.photos)
            first = in_own_process(Path(folder) / "library", Path(folder) / "photoage.db")
        print(f"{arguments.photos:,} photos")
        show(first, "first scan")
        photo_us = first["seconds"] / first["files"] * 1e6
    for files in arguments.files:
        compare(files, photo_us, arguments.before)


if __name__ == "__main__":
    main()
