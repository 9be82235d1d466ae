"""What a container may use of its machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from photoage import machine


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up tree of control groups; this process is in `/slice/scan`."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/slice/scan\n")
    (tmp_path / "slice" / "scan").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    return tmp_path


def test_without_a_quota_all_processors_count(groups: Path) -> None:
    assert machine.available_cores() == 64
    (groups / "slice" / "scan" / "cpu.max").write_text("max 100000\n")
    assert machine.available_cores() == 64


def test_a_quota_counts_rounded_up(groups: Path) -> None:
    """As `docker run --cpus=2.5` on a machine with 64 cores."""
    (groups / "slice" / "scan" / "cpu.max").write_text("250000 100000\n")
    assert machine.available_cores() == 3


def test_the_quota_of_an_outer_group_counts_too(groups: Path) -> None:
    (groups / "slice" / "scan" / "cpu.max").write_text("max 100000\n")
    (groups / "slice" / "cpu.max").write_text("200000 100000\n")
    assert machine.available_cores() == 2
    (groups / "slice" / "cpu.max").write_text("1000 100000\n")
    assert machine.available_cores() == 1


def test_a_quota_of_the_first_version_counts(groups: Path) -> None:
    (groups / "cpu").mkdir()
    for name, value in (("quota", "-1"), ("period", "100000")):
        (groups / "cpu" / f"cpu.cfs_{name}_us").write_text(value)
    assert machine.available_cores() == 64
    (groups / "cpu" / "cpu.cfs_quota_us").write_text("400000")
    assert machine.available_cores() == 4


def test_nothing_else_counts_processors() -> None:
    """What does would start 64 workers in a container that may use two of them."""
    for path in Path(machine.__file__).parent.rglob("*.py"):
        if path != Path(machine.__file__):
            assert not re.search("cpu_count|getaffinity", path.read_text("utf-8")), path


def test_a_limit_of_memory_counts(groups: Path) -> None:
    unlimited = machine.available_memory()
    assert unlimited > 1 << 20
    (groups / "slice" / "memory.max").write_text("1048576\n")
    assert machine.available_memory() == 1 << 20
