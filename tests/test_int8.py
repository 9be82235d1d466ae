"""The 8-bit form of the age model: shipped, made, and held against the checkpoint it belongs to."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from labelled_faces import make_data, portraits

from photoage.ages.checkpoint import int8_path, read_checkpoint_info
from photoage.ages.model import load_model, normalise, save_checkpoint
from photoage.ages.predictor import Predictor
from photoage.cli import cli
from photoage.errors import CheckpointError, DeviceError
from photoage.models import default_checkpoint
from photoage.training.quantise import QuantiseJob, calibration_crops

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    """(4, 112, 112, 3) uint8 RGB crops of four people."""
    faces = [
        cv2.resize(face[30:230, 30:230], (112, 112), interpolation=cv2.INTER_AREA) for face in portraits()
    ]
    return torch.from_numpy(np.stack(faces))


def test_a_scan_in_floating_point_ends_without_reports_of_leaks(sample_library: Path, tmp_path: Path) -> None:
    photo = sample_library / "people" / "grace_hopper.jpg"
    words = [
        sys.executable,
        "-m",
        "photoage",
        "--db",
        tmp_path / "a.db",
        "scan",
        "--precision",
        "float",
        photo,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr.splitlines() == ["1 photo: 1 read, 0 unchanged; 1 new face"]


def test_a_cpu_estimates_in_8_bits_as_in_float(crops: torch.Tensor) -> None:
    auto, exact = Predictor(default_checkpoint(), CPU), Predictor(default_checkpoint(), CPU, "float")
    assert (auto.precision, exact.precision) == ("int8", "float32")
    difference = (auto.predict(crops) - exact.predict(crops)).abs()
    assert float(difference.mean()) < 0.5
    assert float(difference.max()) < 1.5


def test_the_shipped_8_bit_form_names_no_path_of_the_machine_that_made_it() -> None:
    assert b"site-packages" not in int8_path(default_checkpoint()).read_bytes()


def test_fewer_threads_are_for_its_own_work_only(
    crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(*arguments: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return normalise(*arguments)

    monkeypatch.setattr("photoage.ages.predictor.normalise", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        Predictor(default_checkpoint(), CPU, threads=1).predict(crops)
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


def test_the_8_bit_form_of_another_checkpoint_is_not_used(tmp_path: Path, crops: torch.Tensor) -> None:
    checkpoint = tmp_path / "own.safetensors"
    shutil.copy(default_checkpoint(), checkpoint)
    assert Predictor(checkpoint, CPU).precision != "int8"
    shutil.copy(int8_path(default_checkpoint()), int8_path(checkpoint))
    assert Predictor(checkpoint, CPU).precision == "int8"  # the same weights under another name
    info = read_checkpoint_info(checkpoint)
    model = load_model(checkpoint)
    model.backbone.fc.bias.data += 1
    save_checkpoint(checkpoint, model.backbone, info)
    assert Predictor(checkpoint, CPU).precision != "int8"
    with pytest.raises(CheckpointError, match=r"own\.int8\.onnx: was made from another checkpoint"):
        Predictor(checkpoint, CPU, "int8")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="8-bit precision is for the CPU only"):
        Predictor(default_checkpoint(), torch.device("cuda"), "int8")
    checkpoint = tmp_path / "own.safetensors"
    shutil.copy(default_checkpoint(), checkpoint)
    with pytest.raises(CheckpointError, match=r"own\.int8\.onnx: not a usable 8-bit model"):
        Predictor(checkpoint, CPU, "int8")
    int8_path(checkpoint).write_bytes(b"no model")
    with pytest.raises(CheckpointError, match=r"own\.int8\.onnx: not a usable 8-bit model"):
        Predictor(checkpoint, CPU, "int8")
    assert Predictor(checkpoint, CPU).precision != "int8"


def test_quantise_makes_the_8_bit_form_beside_the_checkpoint(tmp_path: Path, crops: torch.Tensor) -> None:
    checkpoint = tmp_path / "own.safetensors"
    shutil.copy(default_checkpoint(), checkpoint)
    make_data(tmp_path / "data", 40)  # more than a batch, and not two
    done = CliRunner().invoke(
        cli,
        ["models", "quantise", str(checkpoint), "--data", str(tmp_path / "data"), "--cache", str(tmp_path)],
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(int8_path(checkpoint))
    assert b"site-packages" not in int8_path(checkpoint).read_bytes(), "paths of the machine that made it"
    made, exact = Predictor(checkpoint, CPU), Predictor(checkpoint, CPU, "float")
    assert made.precision == "int8"
    assert float((made.predict(crops) - exact.predict(crops)).abs().mean()) < 1.5
    job = QuantiseJob(checkpoint, (tmp_path / "data",), tmp_path)
    calibrating = torch.from_numpy(calibration_crops(job, exact.info.crop_size))
    change = made.predict(calibrating).mean() - exact.predict(calibrating).mean()
    assert abs(float(change)) < 0.001, "8 bits move the mean"


def test_quantising_without_training_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = CliRunner().invoke(
        cli, ["models", "quantise", str(default_checkpoint()), "--data", str(tmp_path / "data")]
    )
    assert done.exit_code == 1
    assert str(tmp_path / "data") in done.stderr
