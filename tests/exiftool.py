"""exiftool, the reference for what other programs read in a sidecar."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def exiftool(*arguments: str | Path) -> str:
    """What exiftool prints; skips where it is not installed, unless that is a fault."""
    program = shutil.which("exiftool")
    if program is None:
        if os.environ.get("PHOTOAGE_TEST_REQUIRE"):
            pytest.fail("exiftool is not installed")
        pytest.skip("exiftool is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_tags(*files: Path) -> list[dict[str, Any]]:
    """All XMP tags of each file, in order."""
    found: list[dict[str, Any]] = json.loads(exiftool("-struct", "-j", "-XMP:all", *files))
    return found


def read_regions(file: Path) -> list[dict[str, Any]]:
    regions: list[dict[str, Any]] = read_tags(file)[0]["RegionInfo"]["RegionList"]
    return regions


def write_sidecar(file: Path, *assignments: str) -> None:
    """A sidecar as exiftool makes it."""
    exiftool("-q", "-o", file, *assignments)


def region(x: float, y: float, width: float, height: float, **fields: str) -> str:
    """A region, as exiftool's command line takes it."""
    area = f"Area={{X={x},Y={y},W={width},H={height},Unit=normalized}}"
    return "{" + ",".join([area, *(f"{name}={value}" for name, value in fields.items())]) + "}"


def region_info(width: int, height: int, *regions: str) -> str:
    size = f"AppliedToDimensions={{W={width},H={height},Unit=pixel}}"
    return f"-XMP-mwg-rs:RegionInfo={{{size},RegionList=[{','.join(regions)}]}}"
