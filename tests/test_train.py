"""`photoage train`: schedules, and runs that survive being killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from labelled_faces import face_network, make_data, variant
from safetensors.torch import load_file

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.model import load_checkpoint
from photoage.ages.predictor import Predictor
from photoage.cli import cli
from photoage.errors import DataError
from photoage.training.config import TrainConfig, TrainProgress, scaled_schedule
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE, UNKNOWN, AlignedFaces, Sample
from photoage.training.distill import AuxiliaryHeads
from photoage.training.loaders import LabelledBatch
from photoage.training.log import read_log
from photoage.training.loop import learning_rate, log_path, state_path, train
from photoage.training.networks import default_teacher
from photoage.training.splits import read_splits
from photoage.training.state import TrainState

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FRAME = FRAME_SIZE + 2 * FRAME_MARGIN


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them; a comparison bit by bit needs always as many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- schedules -----------------------------------------------------------------------------------


def test_crop_sizes_follow_the_schedule() -> None:
    config = TrainConfig(schedule=((112, 2), (128, 1)))
    assert config.epochs == 3
    assert [config.size_at(epoch) for epoch in range(4)] == [112, 112, 128, 128]


def test_another_number_of_epochs_keeps_the_proportions() -> None:
    schedule = ((112, 9), (128, 3))
    assert scaled_schedule(schedule, 12) == schedule
    assert scaled_schedule(schedule, 40) == ((112, 30), (128, 10))
    assert scaled_schedule(schedule, 1) == ((112, 1),)
    for epochs in range(1, 60):
        assert sum(count for _, count in scaled_schedule(schedule, epochs)) == epochs


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    config = TrainConfig(lr=1.0, warmup_steps=10)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


# --- runs ----------------------------------------------------------------------------------------


def faces(count: int, seed: int) -> AlignedFaces:
    """Smooth random pictures stand in for faces: what is tested here is not how well they are learnt."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (FRAME, FRAME, 3), dtype=np.uint8)
    samples = [Sample(Path(f"{20 + i}_{i % 2}_{i % 5}_{i}.jpg"), 20 + i, i % 2, i % 5) for i in range(count)]
    return AlignedFaces(samples, np.stack([variant(base, i) for i in range(count)]), [])


def validation(size: int) -> AlignedFaces:
    many = faces(3, seed=9)
    return AlignedFaces(many.samples, many.crops[:][:, :size, :size].copy(), [])


def tiny_config(folder: Path) -> TrainConfig:
    """Two epochs of three steps, with both teachers, at two crop sizes."""
    return TrainConfig(
        init="none",
        teacher=str(default_teacher()),
        age_teachers=(str(face_network(folder / "network.onnx")), "recogniser"),
        schedule=((64, 1), (80, 1)),
        batch_size=4,
        balanced=("utkface",),
        warmup_steps=1,
        log_every=1,
    )


def tiny_run(
    out: Path,
    *,
    resume: bool = False,
    die_at: tuple[int, int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    save_every: int = 2,
) -> CheckpointInfo | None:
    """A run; with `die_at`, the process kills itself after that step of that epoch, unsaved."""

    def progress(report: TrainProgress) -> None:
        if (report.epoch, report.step) == die_at and report.validation is None:
            signal.raise_signal(signal.SIGKILL)

    torch.set_num_threads(1)
    return train(
        replace(tiny_config(out.parent), save_every=save_every),
        faces(12, seed=3),
        validation,
        out,
        device=CPU,
        resume=resume,
        progress=progress,
        should_stop=should_stop,
    )


def test_labels_without_gender_and_ethnicity_give_a_loss() -> None:
    torch.manual_seed(0)
    codes, years = torch.full((3,), UNKNOWN), torch.tensor([10.0, 20.0, 30.0])
    nothing, weights = torch.empty(3, 0), torch.ones(3)
    batch = LabelledBatch(
        torch.empty(3, 4, 4, 3), nothing, years, years + 2, codes, codes, codes == 0, codes, years, weights
    )
    loss = AuxiliaryHeads().label_loss(torch.randn(3, 2048), batch, sigma=3.0)
    assert torch.isfinite(loss)
    known = replace(batch, gender=torch.tensor([0, UNKNOWN, 1]))
    assert AuxiliaryHeads().label_loss(torch.randn(3, 2048), known, sigma=3.0) > loss


def test_what_is_frozen_gets_no_gradients_and_keeps_its_statistics() -> None:
    state = TrainState(TrainConfig(init="none", freeze="layer3"), CPU)
    state.train_mode()
    backbone = state.model.backbone
    assert not backbone.bn1.training
    assert not backbone.layer3[5].bn3.training
    assert backbone.layer4[0].bn1.training
    trained = {id(parameter) for parameter in state.parameters}
    assert not trained & {id(parameter) for parameter in backbone.layer3.parameters()}
    assert {id(parameter) for parameter in backbone.layer4.parameters()} <= trained
    assert {id(parameter) for parameter in state.heads.parameters()} <= trained


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "age.safetensors"
    assert tiny_run(out, save_every=1000) is not None
    return out


def assert_same_result(out: Path, unbroken: Path) -> None:
    """Bit by bit: the checkpoint, and the model, averaged model, heads and optimiser behind it."""
    for a, b in ((out, unbroken), (state_path(out), state_path(unbroken))):
        ours, theirs = load_file(a), load_file(b)
        assert ours.keys() == theirs.keys()
        different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
        assert different == []
    # How often the state was saved is part of the recipe, and differs here on purpose.
    infos = [replace(load_checkpoint(path)[0], recipe={}) for path in (out, unbroken)]
    assert infos[0] == infos[1]
    steps = [
        [(e["epoch"], e.get("step"), e.get("age")) for e in read_log(log_path(p))] for p in (out, unbroken)
    ]
    assert steps[0] == steps[1]


def test_a_run_stopped_and_killed_resumes_to_the_same_weights(unbroken: Path, tmp_path: Path) -> None:
    out, die_at = tmp_path / "age.safetensors", (1, 3)  # one step after a state was saved
    assert tiny_run(out, should_stop=lambda: True) is None
    assert not out.exists()
    assert [(e["epoch"], e["step"]) for e in read_log(log_path(out))] == [(0, 1)]

    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom test_train import tiny_run\n"
        f"tiny_run(Path({str(out)!r}), resume=True, die_at={die_at!r})"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [(e["epoch"], e.get("step")) for e in read_log(log_path(out))][-1] == die_at
    with log_path(out).open("a") as log:
        log.write('{"epoch": 1, "st')  # what a kill in the middle of a line leaves

    assert tiny_run(out, resume=True) is not None
    assert_same_result(out, unbroken)
    seconds = [entry["seconds"] for entry in read_log(log_path(out)) if "seconds" in entry]
    assert seconds == sorted(seconds), "the time before the kill counts"


def test_a_finished_run_stays_as_it_is(unbroken: Path) -> None:
    before = unbroken.read_bytes()
    info = tiny_run(unbroken, resume=True)
    assert info is not None
    assert info == load_checkpoint(unbroken)[0]
    assert unbroken.read_bytes() == before
    assert info.crop_size == 80
    assert info.metrics["validation"]["all"]["count"] == 3
    assert info.init == "none"
    assert info.recipe["teacher"] == "w600k_mbf.onnx"
    assert info.recipe["age_teachers"] == ["network.onnx", "recogniser"]


def test_a_run_cannot_go_on_with_other_choices(unbroken: Path) -> None:
    config = replace(tiny_config(unbroken.parent), lr=0.1)
    with pytest.raises(DataError, match=r"age\.state: was trained with lr=0\.0003, not 0\.1"):
        train(config, faces(12, seed=3), validation, unbroken, device=CPU, resume=True)


def test_a_damaged_state_is_one_clear_error(tmp_path: Path) -> None:
    out = tmp_path / "age.safetensors"
    state_path(out).write_bytes(b"junk")
    with pytest.raises(DataError, match=r"age\.state: not a resumable training state"):
        tiny_run(out, resume=True)


def test_too_few_faces_for_a_batch_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 training faces do not fill one batch of 4"):
        train(tiny_config(tmp_path), faces(3, seed=3), validation, tmp_path / "a.safetensors", device=CPU)


# --- the command ---------------------------------------------------------------------------------


def train_command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["train", "--device", "cpu", *map(str, arguments)])


def test_from_images_to_a_checkpoint_that_predicts(tmp_path: Path) -> None:
    data, out, cache = tmp_path / "data", tmp_path / "run" / "age.safetensors", tmp_path / "cache"
    make_data(data, 12)
    (data / "holiday.jpg").write_bytes(b"")
    arguments = [
        "--data", data, "--out", out, "--cache", cache, "--init", "none", "--teacher", "none",
        "--schedule", "64x1", "--batch-size", "4", "-j", "1",
    ]  # fmt: skip
    done = train_command(*arguments)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith(f"{out}: validation, all: MAE ")
    assert done.stdout.count("\n") == 1
    assert "1 images without a usable label skipped: holiday.jpg" in done.stderr
    assert "epoch 1/1: validation MAE all " in done.stderr
    made = {path.name for path in out.parent.iterdir()}
    assert made == {"age.safetensors", "age.state", "age.log.jsonl", "age.png", "age.splits.csv"}
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    sides = read_splits(out.with_suffix(".splits.csv"))
    assert len(sides) == 12
    assert {"train", "val"} <= set(sides.values())
    predictor = Predictor(out, CPU)
    assert predictor.info.crop_size == 64
    assert predictor.info.data["splits"] == "age.splits.csv"
    assert predictor.info.data["train"] + predictor.info.data["val"] <= 12
    assert "/" not in json.dumps(predictor.info.recipe)
    assert len(predictor.estimate(torch.zeros(2, 64, 64, 3, dtype=torch.uint8))) == 2

    # A second run must not overwrite the first by accident; resuming a finished one does nothing.
    before = out.read_bytes()
    again = train_command(*arguments)
    assert again.exit_code == 2
    assert "continue it with --resume or delete it" in again.stderr
    resumed = train_command(*arguments, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.stdout == done.stdout
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--schedule", "64"], 2, "is not SIZExEPOCHS"),
        (["--schedule", "16x1"], 2, "is not SIZExEPOCHS"),
        (["--schedule", "64x0"], 2, "is not SIZExEPOCHS"),
        (["--schedule", "64x1", "--epochs", "2"], 2, "--schedule or --epochs, not both"),
        (["--batch-size", "1"], 2, "'--batch-size'"),
        (["--share", "0.5"], 2, "--share needs the name of a set"),
        (["--share", "utkface=2"], 2, "does not end in a number from 0 to 1"),
        (["--taught", "utkface=101"], 2, "does not end in a number from 0 to 100"),
        (["--taught", "family=3"], 2, "no training photo is of the set 'family'"),
        (["--share", "family=0.5"], 2, "no training photo is of the set 'family' (sets: utkface)"),
        (["--noisy", "family"], 2, "no training photo is of the set 'family'"),
        (["--balance", "family"], 2, "no training photo is of the set 'family'"),
        (["--teacher", "missing.onnx"], 1, "missing.onnx: not usable as a teacher"),
        (["--age-teacher", "missing.onnx"], 1, "missing.onnx: not usable as an age teacher"),
        (["--splits", "{splits}"], 1, "no image of the data is in the split val"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    data, splits = tmp_path / "data", tmp_path / "splits.csv"
    names = [path.name for path in make_data(data, 4)]
    splits.write_text("file,split\n" + "".join(f"{name},train\n" for name in names))
    if "--splits" not in arguments:
        arguments = [*arguments, "--splits", str(tmp_path / "good.csv")]
        sides = ["train", "train", "train", "val"]
        rows = [f"{name},{side}\n" for name, side in zip(names, sides, strict=True)]
        (tmp_path / "good.csv").write_text("file,split\n" + "".join(rows))
    given = [argument.format(splits=splits) for argument in arguments]
    options = ["--cache", tmp_path / "cache", "--init", "none", "-j", "1"]
    if "--batch-size" not in given:
        options += ["--batch-size", "2"]
    done = train_command("--data", data, "--out", tmp_path / "age.safetensors", *options, *given)
    assert done.exit_code == status
    last = done.stderr.splitlines()[-1]
    assert last.startswith("photoage: error: ")
    assert message in last
    assert "Traceback" not in done.stderr


def test_without_matplotlib_training_goes_on_and_says_so(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    make_data(tmp_path / "data", 4)
    out = tmp_path / "age.safetensors"
    options = ["--cache", tmp_path / "cache", "--init", "none", "-j", "1", "--batch-size", "96"]
    done = train_command("--data", tmp_path / "data", "--out", out, *options)
    assert "no learning curve: matplotlib is not installed" in done.stderr
    assert done.exit_code == 1  # too few images here
