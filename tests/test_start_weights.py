"""What a training run starts from, checkpoints, and teachers."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet50

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.intervals import Interval
from photoage.ages.model import AgeModel, initial_model, load_checkpoint, save_checkpoint
from photoage.errors import CheckpointError
from photoage.faces.detector_files import default_detector
from photoage.training.age_teacher import AgeTeacher
from photoage.training.distill import Teacher

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torchvision's own file looks like: a ResNet-50 with 1,000 classes."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("hub") / "resnet50.pth"
    torch.save(resnet50(weights=None).state_dict(), path)
    return path


def test_torchvision_weights_start_all_but_the_head(classifier: Path) -> None:
    weights = torch.load(classifier, weights_only=True)
    started = initial_model(str(classifier)).backbone.state_dict()
    assert torch.equal(started["layer4.2.conv3.weight"], weights["layer4.2.conv3.weight"])
    assert started["fc.weight"].shape == (1, 2048)


def test_imagenet_weights_that_cannot_be_fetched_say_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(CheckpointError) as caught:
        initial_model("imagenet")
    message = str(caught.value)
    assert "https://download.pytorch.org/models/resnet50-11ad3fa6.pth" in message
    assert "no route to host" in message
    assert f"put it in {tmp_path / 'hub' / 'checkpoints'}, or use `init` FILE or `init` none" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_altered_imagenet_weights_in_the_cache_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(classifier.read_bytes())
    with pytest.raises(CheckpointError, match=r"resnet50-11ad3fa6\.pth: sha256 .* is not torchvision's"):
        initial_model("imagenet")


def test_unusable_start_weights_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_bytes(b"junk")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    save_file({"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "other.safetensors")
    for name, cause in {
        "missing.safetensors": "no such file",
        "junk.pth": "not a readable state dict",
        "junk.safetensors": "not a readable safetensors file",
        "other.pth": "not ResNet-50 weights",
        "other.safetensors": "is missing or has another shape",
    }.items():
        with pytest.raises(CheckpointError) as caught:
            initial_model(str(tmp_path / name))
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert cause in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_keeps_weights_and_metadata(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model, path = AgeModel(), tmp_path / "a.safetensors"
    info = CheckpointInfo("tiny", 96, Interval(0.9, (0.0, 50.0), (1.0, 2.0), (3.0, 4.0)), init="none")
    save_checkpoint(path, model.backbone, info)
    loaded, weights = load_checkpoint(path)
    assert loaded == info
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=1e-3, rtol=1e-3)
    assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    started = initial_model(str(path)).backbone.state_dict()
    assert all(torch.equal(started[name], value) for name, value in weights.items())


def test_an_unusable_teacher_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for path in (tmp_path / "junk.onnx", tmp_path / "missing.onnx", default_detector().path):
        with pytest.raises(CheckpointError, match="not usable as a teacher") as caught:
            Teacher(path, CPU)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "cause"), [("junk", ""), ("missing", ""), ("recogniser", "its input is not N x 3 x S x S")]
)
def test_an_unusable_age_teacher_is_one_clear_error(tmp_path: Path, kind: str, cause: str) -> None:
    path = tmp_path / f"{kind}.onnx"
    if kind == "junk":
        path.write_bytes(b"junk")
    if kind == "recogniser":
        path = default_detector().path
    with pytest.raises(CheckpointError, match="not usable as an age teacher") as caught:
        AgeTeacher(path, CPU)
    assert str(caught.value).startswith(f"{path}: ")
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)
