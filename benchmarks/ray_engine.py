"""The Ray engine against the local one on the same cores: same rows, throughput, and what its start costs.

    python benchmarks/ray_engine.py [--photos 2000] [--megapixels 2] [--work FOLDER]

Both scan the same generated photos, one process per core, twice, in turn. The start is timed with one
photo; the ratio is given with it and without it.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from photos import generate_photos

PHOTOAGE = Path(sys.executable).with_name("photoage")
TOLERANCE = 0.0021  # years: an age differs by some 1e-6 with the batch that its face is in, then is rounded


def timed_scan(library: Path, database: Path, *options: str) -> float:
    started = time.perf_counter()
    command = [str(PHOTOAGE), "--db", str(database), "--no-progress", "scan", *options, str(library)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def exported(database: Path) -> list[dict[str, str]]:
    command = [str(PHOTOAGE), "--db", str(database), "query", "--csv"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(csv.DictReader(output.splitlines()), key=lambda row: (row["path"], int(row["face_index"])))


def differences(local: list[dict[str, str]], ray: list[dict[str, str]]) -> list[str]:
    """What is not the same, apart from the time of the scan."""
    if len(local) != len(ray):
        return [f"{len(local)} faces and {len(ray)}"]
    found = []
    for ours, theirs in zip(local, ray, strict=True):
        for key in ours.keys() - {"scanned_at"}:
            same = ours[key] == theirs[key]
            if not same and key.startswith("age"):
                same = abs(float(ours[key]) - float(theirs[key])) <= TOLERANCE
            if not same:
                found.append(f"{ours['path']}: {key} {ours[key]} and {theirs[key]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--megapixels", type=float, default=2)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        generate_photos(work / "one", 1, megapixels=options.megapixels)
        generate_photos(work / "all", options.photos, megapixels=options.megapixels, distinct=200)
        engines = {"local": (), "ray": ("--engine", "ray")}
        starts = {name: timed_scan(work / "one", work / f"{name}-one.db", *engines[name]) for name in engines}
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for name in ("local", "ray", "ray", "local"):  # what else the machine does falls on both
            database = work / f"{name}.db"
            database.unlink(missing_ok=True)
            seconds[name].append(timed_scan(work / "all", database, *engines[name]))
        different = differences(exported(work / "local.db"), exported(work / "ray.db"))
        faces = len(exported(work / "ray.db"))
        size = (work / "ray.db").stat().st_size
    for name, start in starts.items():
        rates = ", ".join(f"{options.photos / (whole - start):.1f}" for whole in seconds[name])
        times = ", ".join(f"{whole:.1f}" for whole in seconds[name])
        print(f"{name:6} one photo in {start:.1f} s, {options.photos} in {times} s: {rates} photos/s")
    print(f"{faces} faces, {len(different)} differences", *different[:5], sep="\n  ")
    print(f"SQLite: {size / faces:.0f} bytes per face, of {faces / options.photos:.2f} faces per photo")
    print(f"start of the Ray engine: {starts['ray'] - starts['local']:.1f} s more than the local one")
    whole = {name: sum(runs) for name, runs in seconds.items()}
    ready = {name: whole[name] - len(runs) * starts[name] for name, runs in seconds.items()}
    print(f"throughput of the Ray engine / local: {whole['local'] / whole['ray']:.2f} with its start,"
          f" {ready['local'] / ready['ray']:.2f} without")  # fmt: skip


if __name__ == "__main__":
    main()
