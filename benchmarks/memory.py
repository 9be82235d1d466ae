"""Peak memory and speed of a first scan, and the cost of the next one, for libraries of growing size.

    python benchmarks/memory.py [PHOTOS ...] [--megapixels 2] [--work FOLDER]     (default: 500 2000 10000)

The photos are generated (benchmarks/photos.py). Memory is the proportional set size of photoage and all
its workers together, sampled four times a second; ratios are to the smallest library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from photos import generate_photos

INTERVAL = 0.25


def peak_memory(process: psutil.Popen) -> float:
    """The most that a process and its children held together until its end, in MB."""
    peak = 0
    while process.poll() is None:
        total = 0
        for each in [process, *process.children(recursive=True)]:
            try:
                total += each.memory_full_info().pss
            except psutil.Error:
                continue  # ended meanwhile
        peak = max(peak, total)
        time.sleep(INTERVAL)
    return peak / 1e6


def scan(library: Path, database: Path) -> tuple[float, float]:
    """Peak MB and seconds of one scan with defaults and two workers, on the CPU."""
    program = Path(sys.executable).parent / "photoage"
    arguments = ["--db", database, "-q", "scan", "--device", "cpu", "-j", 2, library]
    start = time.perf_counter()
    process = psutil.Popen([str(program), *map(str, arguments)], stdout=subprocess.DEVNULL)
    peak = peak_memory(process)
    if process.returncode != 0:
        raise SystemExit("the scan failed")
    return peak, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="*", type=int, default=[500, 2000, 10000])
    parser.add_argument("--megapixels", type=float, default=2)
    parser.add_argument("--work", type=Path, help="folder for the photos [default: temporary]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="photoage-benchmark-") as temporary:
        work = options.work or Path(temporary)
        print(f"{'photos':>8}{'peak MB':>10}{'ratio':>8}{'photos/s':>10}{'again: s':>10}{'peak MB':>10}")
        first = None
        for count in options.photos:
            library = work / f"library-{count}"
            generate_photos(library, count, megapixels=options.megapixels)
            peak, seconds = scan(library, work / f"{count}.db")
            rescan, again = scan(library, work / f"{count}.db")
            first = first or peak
            rate = count / seconds
            print(
                f"{count:8}{peak:10.0f}{peak / first:8.2f}{rate:10.1f}{again:10.1f}{rescan:10.0f}", flush=True
            )


if __name__ == "__main__":
    main()
