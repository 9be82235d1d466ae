"""What this process may use of the machine: processors and memory, also where a container gives it less."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Processors, but no more than the affinity and the quota of this process allow; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in _cpu_quotas():
        cores = min(cores, math.ceil(quota / period))
    return max(1, cores)


def available_memory() -> int:
    """Bytes of memory that can be used without swapping, but no more than this process's limit."""
    limits = [int(limit) for (limit, *_) in _cgroup_files("memory.max") if limit.isdecimal()]
    with contextlib.suppress(OSError, ValueError):  # version 1, where no limit is a very large one
        limits.append(int((CGROUPS / "memory/memory.limit_in_bytes").read_text()))
    return min([int(psutil.virtual_memory().available), *limits])


def _cpu_quotas() -> Iterator[tuple[int, int]]:
    """Microseconds of processor time, in how many microseconds."""
    for quota, period in _cgroup_files("cpu.max"):
        if quota.isdecimal():  # else it is `max`
            yield int(quota), int(period)
    with contextlib.suppress(OSError, ValueError):  # version 1
        quota, period = ((CGROUPS / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            yield int(quota), int(period)


def _cgroup_files(name: str) -> Iterator[list[str]]:
    """The words in a file of this process's control group (version 2), and of the groups around it."""
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    own = PurePosixPath(next((line[3:] for line in lines if line.startswith("0::")), "/"))
    for group in (own, *own.parents):
        with contextlib.suppress(OSError):
            yield (CGROUPS / str(group).lstrip("/") / name).read_text().split()
