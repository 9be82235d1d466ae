"""An installed wheel, outside the checkout, has everything that the program needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photoage installed from a freshly built wheel, without its dependencies."""
    wheels, target = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(CHECKOUT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return target


def run(installed: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import photoage, sys; assert photoage.__file__.startswith(sys.argv.pop(1)), photoage.__file__; "
    code += "from photoage.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PHOTOAGE_DB": str(tmp_path / "x.db")}
    return subprocess.run(
        [sys.executable, "-c", code, str(installed), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_migrations_and_checkpoint_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    scanned = run(installed, tmp_path, "scan", str(CHECKOUT / "sample_library" / "people"))
    assert scanned.returncode == 0, scanned.stderr
    counted = run(installed, tmp_path, "query", "--count")
    assert counted.stdout.strip() == "2", counted.stderr
    verified = run(installed, tmp_path, "models", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
