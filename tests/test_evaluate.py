"""`photoage evaluate` and `models calibrate` on real images."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from labelled_faces import make_data, portraits, save

from photoage.ages.checkpoint import CheckpointInfo
from photoage.ages.intervals import (
    Interval,
)
from photoage.ages.model import AgeModel, load_checkpoint, save_checkpoint
from photoage.ages.predictor import Predictor
from photoage.cli import cli
from photoage.training.dataset import read_utkface
from photoage.training.evaluate import EvaluateJob, chosen_samples, evaluate_crops
from photoage.training.evaluate_scan import evaluate_scanned
from photoage.training.prints import grey_copy
from photoage.training.splits import write_splits

pytestmark = pytest.mark.slow

CROP = 64
Evaluate = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five faces, one image without a face, one malformed name."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, 5)
    save(folder / "30_0_0_20170101000009000.jpg.chip.jpg", np.full((200, 200, 3), 90, np.uint8))
    save(folder / "39_1_20170101000009001.jpg.chip.jpg", np.full((200, 200, 3), 90, np.uint8))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained age model with a wide interval."""
    torch.manual_seed(0)
    model = AgeModel()
    model.backbone.fc.bias.data.fill_(40.0)
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    interval = Interval(0.9, (0.0, 60.0), (20.0, 30.0), (25.0, 35.0))
    save_checkpoint(path, model.backbone, CheckpointInfo("untrained", CROP, interval, flip_average=True))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def evaluate(cache: Path) -> Evaluate:
    def run(*arguments: str | Path) -> Result:
        options = ["--device", "cpu", "-j", "1", "--cache", str(cache)]
        return CliRunner().invoke(cli, ["evaluate", *options, *map(str, arguments)])

    return run


def test_all_images_of_a_folder_are_measured(
    evaluate: Evaluate, folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    png = tmp_path / "figures.png"
    done = evaluate("--data", folder, "--checkpoint", checkpoint, "--json", "--plot", png)
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) == {
        "checkpoint", "split", "mode", "count", "mae", "cs5", "bias", "coverage", "width", "by_age",
        "by_gender", "by_ethnicity", "by_colour", "by_set", "secondary", "missed",
        "malformed", "missed_files", "malformed_files",
    }  # fmt: skip
    assert (figures["count"], figures["missed"], figures["malformed"]) == (5, 1, 1)
    assert (figures["checkpoint"], figures["split"], figures["mode"]) == ("untrained", None, "crops")
    assert figures["missed_files"] == ["30_0_0_20170101000009000.jpg.chip.jpg"]
    assert "1 images without a detection left out: 30_0_0" in done.stderr
    assert "1 images without a usable label left out: 39_1_2017" in done.stderr
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_crop_and_a_scanned_photo_give_the_same_estimate(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    job = EvaluateJob((folder,), checkpoint, tmp_path, device="cpu", workers=1)
    crops, scanned = evaluate_crops(job), evaluate_scanned(job)
    assert scanned.samples == crops.samples
    assert scanned.missed == crops.missed
    assert scanned.malformed == crops.malformed
    np.testing.assert_allclose(scanned.predicted, crops.predicted, atol=0.1)
    widths = [[estimate.age_high - estimate.age_low for estimate in m.estimates] for m in (crops, scanned)]
    np.testing.assert_allclose(*widths, atol=0.01)

    # The figures by hand: the untrained model says about 40 for everybody.
    assert sorted(crops.age.tolist()) == [5, 25, 34, 40, 62]
    figures, errors = crops.figures(), crops.predicted - crops.age
    assert figures["mae"] == pytest.approx(np.abs(errors).mean(), abs=0.01)
    assert figures["bias"] == pytest.approx(errors.mean(), abs=0.01)
    assert figures["width"] == pytest.approx(45, abs=0.01)


def test_whole_photos_go_through_a_scan_and_missed_faces_count(
    evaluate: Evaluate, sample_library: Path, checkpoint: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for source, target in {
        "people/eileen_collins.png": "36_1_0_1.png",
        "white_house/obama_2012.jpg": "more/51_0_1_2.jpg",
        "orientations/6.jpg": "more/52_0_1_3.jpg",
        "places/china.jpg": "20_0_0_4.jpg",
        "damaged/empty.jpg": "21_0_0_5.jpg",
        "places/flower.jpg": "flower.jpg",
    }.items():
        shutil.copy(sample_library / source, photos / target)
    done = evaluate("--data", photos, "--checkpoint", checkpoint, "--end-to-end", "--json")
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["mode"] == "end-to-end"
    assert (figures["count"], figures["missed"], figures["malformed"]) == (3, 2, 1)
    assert sorted(figures["missed_files"]) == ["20_0_0_4.jpg", "21_0_0_5.jpg"]
    assert figures["by_gender"]["0"]["count"] == 2
    assert "Traceback" not in done.stderr


def test_only_the_chosen_split_is_measured(
    evaluate: Evaluate, folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    samples, _ = read_utkface(folder, folder)
    sides = {s.name: "val" if s.age == 62 else "train" if s.age < 20 else "test" for s in samples}
    csv = tmp_path / "splits.csv"
    write_splits(csv, samples, sides, range(len(samples)))
    done = evaluate("--data", folder, "--checkpoint", checkpoint, "--splits", csv)
    assert done.exit_code == 0, done.stderr
    assert "untrained (crops, split test)" in done.stdout
    rows = {line[:20].strip(): line[20:].split() for line in done.stdout.splitlines()}
    assert rows["all faces"][0] == "3"
    assert rows["age 60-69"] == ["0", "-", "-", "-", "-", "-"]
    assert rows["ages 21-60"][0] == "3"
    chosen, malformed = chosen_samples(EvaluateJob((folder,), checkpoint, tmp_path, csv, "val"))
    assert [[sample.age for sample in samples] for samples in chosen] == [[62]]
    assert len(malformed) == 1


def test_sets_are_measured_apart_and_calibrated_together(
    evaluate: Evaluate, folder: Path, checkpoint: Path, cache: Path, tmp_path: Path
) -> None:
    family, csv, made = tmp_path / "family", tmp_path / "splits.csv", tmp_path / "made.safetensors"
    family.mkdir()
    for i, face in enumerate(portraits()):
        save(family / f"{i}.jpg", grey_copy(face) if i == 0 else face)
    rows = "".join(f"{i}.jpg,{10 * i},{10 * i + 4},val\n" for i in range(4))
    (family / "labels.csv").write_text("file,age_low,age_high,split\n" + rows + "gone.jpg,1,2,val\n")
    samples, _ = read_utkface(folder, folder)
    write_splits(
        csv, samples, {s.name: "val" if s.age < 50 else "train" for s in samples}, range(len(samples))
    )
    data = ["--data", str(folder), "--splits", str(csv), "--data", str(family)]
    options = [*data, "--cache", str(cache), "--out", str(made)]
    calibrated = CliRunner().invoke(cli, ["models", "calibrate", str(checkpoint), *options])
    assert calibrated.exit_code == 0, calibrated.stderr
    assert [line.split(",")[0] for line in calibrated.stdout.splitlines()[:3]] == [
        "all: 8 faces", "family: 4 faces", "utkface: 4 faces",
    ]  # fmt: skip
    assert "gone.jpg (line 6: there is no such file)" in calibrated.stderr
    (before, weights), (after, same) = load_checkpoint(checkpoint), load_checkpoint(made)
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert after.interval != before.interval
    assert after.data["sets"]["family"] == {"train": 0, "val": 4}

    png = tmp_path / "figures.png"
    done = evaluate(*data, "--split", "val", "--checkpoint", made, "--albums", "--json", "--plot", png)
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {name: row["count"] for name, row in figures["by_set"].items()} == {"family": 4, "utkface": 4}
    assert figures["by_set"]["family"]["by_colour"]["grey"]["count"] == 1
    assert figures["by_set"]["family"]["by_age"]["30-39"]["count"] == 1
    # The interval holds the very photos that calibrated it, to what bf16 rounds: all come out too old, and
    # the bound is the error of one of them.
    ages = [row for own in figures["by_set"].values() for row in own["by_age"].values() if row["count"]]
    assert len(ages) == 8
    assert all(0 < row["bias"] < row["width"] + 0.25 for row in ages)
    assert set(figures["copies"]) == {"grey", "sepia", "faded", "faded grey"}
    assert figures["copies"]["grey"]["all"]["count"] == 8
    assert len(figures["chances"]) == 2 * 3 * 5
    assert png.read_bytes().startswith(b"\x89PNG")
    table = evaluate(*data, "--split", "val", "--checkpoint", made, "--albums").stdout
    assert "utkface --min-age 60" in table
    assert "faded grey, minors" in table


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--data", "nowhere"], 2, "'nowhere' does not exist"),
        (["--data", "{data}", "--split", "val"], 2, "--split needs --splits"),
        (["--data", "{data}", "--splits", "{checkpoint}"], 1, "not a splits file"),
        (["--data", "{data}", "--splits", "{other}"], 1, "no image of"),
        (["--data", "{empty}"], 1, "no image named age_gender_ethnicity"),
        (["--data", "{data}", "--checkpoint", "{other}"], 1, "not a readable checkpoint"),
    ],
)
def test_errors_are_one_line(
    evaluate: Evaluate,
    folder: Path,
    checkpoint: Path,
    tmp_path: Path,
    arguments: Sequence[str],
    status: int,
    message: str,
) -> None:
    other, empty = tmp_path / "other.csv", tmp_path / "empty"
    other.write_text("file,split\nelsewhere.jpg,test\n")
    empty.mkdir()
    names = {"data": folder, "checkpoint": checkpoint, "other": other, "empty": empty}
    given = [argument.format(**names) for argument in arguments]
    if "--checkpoint" not in given:
        given += ["--checkpoint", str(checkpoint)]
    done = evaluate(*given)
    assert done.exit_code == status
    assert message in done.stderr
    assert done.stderr.startswith("photoage: error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_plot_without_matplotlib_is_refused_before_the_work(
    evaluate: Evaluate, folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = evaluate("--data", folder, "--checkpoint", checkpoint, "--plot", tmp_path / "a.png")
    assert done.exit_code == 1
    assert "pip install matplotlib" in done.stderr


def test_the_order_of_images_does_not_change_an_estimate(checkpoint: Path) -> None:
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, CROP, CROP, 3), dtype=np.uint8))
    predictor = Predictor(checkpoint, torch.device("cpu"))
    whole = [estimate.age for estimate in predictor.estimate(crops)]
    parts = [estimate.age for estimate in predictor.estimate(crops.flip(0), batch_size=2)]
    assert whole == pytest.approx(parts[::-1], abs=0.05)
    assert predictor.estimate(crops[:0]) == []
