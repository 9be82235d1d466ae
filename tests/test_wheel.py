"""The wheel in a fresh environment, installed as pipx and uv do, has everything that the program needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photoage` of an environment with the wheel; the wheel's dependencies are those of this one."""
    wheels, environment = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(CHECKOUT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.glob("photoage_cli-*.whl")
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    # Lines of a .pth file add folders, but not what those folders' own .pth files add: not this checkout.
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = next(Path(paths["scripts"]).glob("python*"))
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return Path(paths["scripts"]) / "photoage"


def run(program: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PHOTOAGE_DB": str(tmp_path / "x.db")}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [program, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_migrations_checkpoint_and_pages_are_in_the_wheel(program: Path, tmp_path: Path) -> None:
    scanned = run(program, tmp_path, "scan", str(CHECKOUT / "sample_library" / "people"))
    assert scanned.returncode == 0, scanned.stderr
    counted = run(program, tmp_path, "query", "--count")
    assert counted.stdout.strip() == "2", counted.stderr
    verified = run(program, tmp_path, "models", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for page in (("report",), ("people", "page")):
        written = run(program, tmp_path, *page, "-o", "page.html")
        assert written.returncode == 0, written.stderr


def test_the_program_runs_from_the_wheel(program: Path, tmp_path: Path) -> None:
    code = "import photoage; print(photoage.__file__)"
    python = program.with_name("python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(program.parents[1])
