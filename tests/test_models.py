"""The registry of models: what is there, what it must be, and what is said when it is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from photoage.ages.checkpoint import METADATA_KEY, CheckpointInfo
from photoage.ages.intervals import Interval
from photoage.errors import CheckpointError, UsageError
from photoage.faces.detector_files import DEFAULT_SHA256, default_detector
from photoage.faces.recogniser import RECOGNISER, RECOGNISER_SHA256
from photoage.models import checkpoints, default_checkpoint, download, known_models


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights folder with one small but genuine checkpoint file."""
    folder = tmp_path / "weights"
    folder.mkdir()
    info = CheckpointInfo("tiny", 112, Interval(0.9, (0.0,), (5.0,), (5.0,)), licence="for tests only")
    metadata = {METADATA_KEY: json.dumps(asdict(info))}
    save_file({"fc.bias": np.zeros(1, dtype=np.float16)}, folder / "tiny.safetensors", metadata=metadata)
    digest = hashlib.sha256((folder / "tiny.safetensors").read_bytes()).hexdigest()
    pins = {"default": "tiny.safetensors", "files": {"tiny.safetensors": digest}}
    (folder / "weights.json").write_text(json.dumps(pins))
    return folder


@pytest.fixture(autouse=True)
def insightface_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "insightface"
    monkeypatch.setenv("INSIGHTFACE_HOME", str(home))
    return home


def test_default_checkpoint_is_the_pinned_file(weights: Path) -> None:
    assert default_checkpoint(weights) == weights / "tiny.safetensors"
    (model,) = checkpoints(weights)
    assert (model.name, model.licence, model.default) == ("tiny", "for tests only", True)
    assert model.problem() is None


def test_altered_checkpoint_is_refused(weights: Path) -> None:
    with open(weights / "tiny.safetensors", "ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: sha256 \w{12}\.\.\. is not the known one"):
        default_checkpoint(weights)


def test_missing_checkpoint_is_named(weights: Path) -> None:
    (weights / "tiny.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: is missing; reinstall photoage"):
        default_checkpoint(weights)


def test_missing_weights_folder_is_named_and_still_listed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.json: the age checkpoint is not installed"):
        default_checkpoint(tmp_path / "absent")
    detector, age, recogniser = known_models(tmp_path / "absent")
    assert detector.problem() is recogniser.problem() is None
    assert "not installed" in str(age.problem())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"default": "a", "files": {}}', '{"default": "a", "files": 3}']
)
def test_malformed_pins_are_one_clear_error(weights: Path, text: str) -> None:
    (weights / "weights.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"weights\.json: malformed"):
        default_checkpoint(weights)


def test_every_model_has_a_licence_and_the_defaults_a_pin(weights: Path) -> None:
    models = known_models(weights)
    assert {model.kind for model in models if model.default} == {"detector", "age", "recogniser"}
    assert all(model.licence for model in models)
    assert all(model.known_sha256 for model in models if model.default)
    assert models[0].known_sha256 == DEFAULT_SHA256


def test_the_shipped_models_are_unaltered() -> None:
    assert [model.problem() for model in known_models()] == [None] * 4
    assert default_checkpoint().suffix == ".safetensors"


def test_the_recogniser_is_a_model_too() -> None:
    (recogniser,) = (model for model in known_models() if model.kind == "recogniser")
    assert (recogniser.name, recogniser.known_sha256) == (RECOGNISER, RECOGNISER_SHA256)
    assert "non-commercial" in recogniser.licence


def test_downloaded_packs_are_listed(weights: Path, insightface_home: Path) -> None:
    pack = insightface_home / "models" / "buffalo_x"
    pack.mkdir(parents=True)
    shutil.copy(default_detector().path, pack / "det_500m.onnx")
    (insightface_home / "models" / "empty").mkdir()
    (insightface_home / "models" / "loose.onnx").touch()
    found = [model for model in known_models(weights) if model.kind == "detector" and not model.default]
    assert [(model.name, model.path, model.known_sha256) for model in found] == [
        ("buffalo_x", pack / "det_500m.onnx", None)
    ]
    assert found[0].problem() is None
    # A pack that is there is not fetched again.
    assert download("buffalo_x").path == pack / "det_500m.onnx"


@pytest.mark.parametrize("name", ["../evil", "/etc", "a/b", "", ".hidden", "a b"])
def test_download_takes_only_a_pack_name(name: str) -> None:
    with pytest.raises(UsageError, match="not the name of an InsightFace pack"):
        download(name)
