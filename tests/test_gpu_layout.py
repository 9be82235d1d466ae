"""The layout of a scan on a GPU, without one: the driver and the libraries say that there is one, and what
would be computed there is computed on the CPU.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults.scanning import copy_photos, rows

from photoage.ages import predictor
from photoage.ages.predictor import device_problem
from photoage.errors import DeviceError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import DetectorFile
from photoage.faces.read import ReadPhoto
from photoage.models import default_checkpoint
from photoage.pool import Outcome
from photoage.records import Estimate, PhotoFaces, PhotoFile
from photoage.scan import device
from photoage.scan.batches import PhotoChunk
from photoage.scan.local import estimate
from photoage.scan.options import ScanOptions
from photoage.scan.scan import make_engine, scan, scan_with

OPTIONS = ScanOptions(workers=1)


class Made:
    """What was made for the GPU."""

    def __init__(self) -> None:
        self.detectors = self.predictors = self.pinned = 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_driver_present", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)  # what DataLoader asks


@pytest.fixture
def gpu(driver: None, monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()

    def detector(file: DetectorFile, *, device: str) -> Detector:
        assert device == "cuda"
        made.detectors += 1
        found = Detector(file)
        found._square = True
        found.providers = ["CUDAExecutionProvider", *found.providers]
        return found

    class OnCpu(predictor.Predictor):
        def __init__(self, path: Path, device: Any, *rest: Any) -> None:
            made.predictors += 1
            super().__init__(path, torch.device("cpu"), *rest)

    def pin(chunk: PhotoChunk) -> PhotoChunk:
        made.pinned += 1
        return chunk

    monkeypatch.setattr(device, "Detector", detector)
    monkeypatch.setattr(predictor, "device_problem", lambda device: None)
    monkeypatch.setattr(predictor, "Predictor", OnCpu)
    monkeypatch.setattr(PhotoChunk, "pin_memory", pin)
    return made


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    copy_photos(folder, "orientations/1.jpg", "white_house/obama_2009.jpg", "places/flower.jpg")
    return folder


def test_one_detector_and_one_age_model_serve_scan_after_scan(
    gpu: Made, library: Path, tmp_path: Path
) -> None:
    options = ScanOptions(workers=2, require_gpu=True)
    before = set(threading.enumerate())
    new = tmp_path / "new"
    new.mkdir()
    with make_engine(options) as engine:
        summary = scan_with(engine, [str(library)], tmp_path / "gpu.db", options)
        assert (summary.counts.done, summary.counts.faces, summary.warnings) == (3, 2, [])
        shutil.copyfile(library.parents[0] / library.name / "1.jpg", new / "copy.jpg")
        with open(new / "copy.jpg", "ab") as file:
            file.write(b"\0")
        again = scan_with(engine, [str(new)], tmp_path / "gpu.db", options)
        assert (again.counts.done, again.counts.faces) == (1, 1)
    assert (gpu.detectors, gpu.predictors) == (1, 1)  # no session is made to be thrown away
    assert gpu.pinned > 0
    gpu.pinned = 0
    assert set(threading.enumerate()) <= before, "the detection server has ended"
    scan([str(library)], tmp_path / "cpu.db", ScanOptions(workers=2, device="cpu"))
    assert gpu.pinned == 0
    found = rows(tmp_path / "gpu.db")
    for path, row in rows(tmp_path / "cpu.db").items():
        assert len(row.faces) == len(found[path].faces)
        assert row.ages == pytest.approx(found[path].ages, abs=2)


def test_without_onnxruntimes_cuda_a_scan_runs_on_the_cpu_and_says_so_once(
    driver: None, library: Path, tmp_path: Path
) -> None:
    """The real onnxruntime of this machine, which has no GPU."""
    with make_engine(OPTIONS) as engine:
        summary = scan_with(engine, [str(library)], tmp_path / "auto.db", OPTIONS)
        again = scan_with(engine, [str(library)], tmp_path / "auto.db", OPTIONS)
    assert summary.counts.done == 3
    (warning,) = summary.warnings
    assert warning.startswith("onnxruntime")
    assert warning.endswith("; this scan runs on the CPU")
    assert again.warnings == []
    with pytest.raises(DeviceError, match="onnxruntime"):
        scan([str(library)], tmp_path / "cuda.db", ScanOptions(workers=1, device="cuda"))


def test_without_pytorchs_cuda_a_scan_runs_on_the_cpu_and_says_so(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a PyTorch for CPUs, or for a newer driver than there is."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(device, "cuda_driver_present", lambda: True)
    summary = scan([str(library)], tmp_path / "auto.db", OPTIONS)
    assert summary.counts.done == 3
    (warning,) = summary.warnings
    assert warning.startswith("no CUDA device is available to PyTorch")
    assert warning.endswith("; this scan runs on the CPU")


def test_on_a_gpu_that_pytorch_cannot_compute_on_a_scan_runs_on_the_cpu_and_says_so(
    gpu: Made, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on one that is older than what this PyTorch was built for; here there is none at all."""
    if device_problem(torch.device("cuda")) is None:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(predictor, "device_problem", device_problem)
    summary = scan([str(library)], tmp_path / "auto.db", OPTIONS)
    assert summary.counts.done == 3
    (warning,) = summary.warnings
    assert warning.startswith("PyTorch cannot use the GPU (")
    assert warning.endswith("; this scan runs on the CPU")
    assert gpu.pinned == 0
    with pytest.raises(DeviceError, match="PyTorch cannot use the GPU"):
        scan([str(library)], tmp_path / "cuda.db", ScanOptions(workers=1, require_gpu=True))


def test_a_gpu_that_is_certainly_not_there_is_refused_at_once(library: Path, tmp_path: Path) -> None:
    for options in (ScanOptions(device="cuda"), ScanOptions(require_gpu=True)):
        with pytest.raises(DeviceError, match="no NVIDIA GPU"):
            scan([str(library)], tmp_path / "x.db", options)
    assert not (tmp_path / "x.db").exists()


def test_a_rescan_on_a_gpu_machine_loads_neither_torch_nor_onnxruntime(library: Path, tmp_path: Path) -> None:
    scan([str(library)], tmp_path / "x.db", ScanOptions(workers=1, device="cpu"))
    program = (
        "import sys\n"
        "from photoage.scan import device\n"
        "from photoage.scan.options import ScanOptions\n"
        "from photoage.scan.scan import scan\n"
        "device.cuda_driver_present = lambda: True\n"
        "for options in (ScanOptions(), ScanOptions(require_gpu=True)):\n"
        "    print(scan([sys.argv[1]], sys.argv[2], options).counts.unchanged)\n"
        "print({'torch', 'onnxruntime'} & sys.modules.keys())\n"
    )
    command = [sys.executable, "-c", program, str(library), str(tmp_path / "x.db")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["3", "3", "set()"]


def test_a_gpu_estimates_one_chunk_while_the_next_one_comes(gpu: Made) -> None:
    happened: list[str] = []

    class Watched:
        def start(self, crops: torch.Tensor, strata: Any, batch_size: int) -> Callable[[], list[Estimate]]:
            happened.append(f"start {len(crops)}")

            def wait() -> list[Estimate]:
                happened.append(f"wait {len(crops)}")
                return [Estimate(30.0, 20.0, 40.0)] * len(crops)

            return wait

    def outcomes() -> Any:
        for faces in (1, 2, 3):
            crops = np.zeros((faces, 8, 8, 3), np.uint8)
            read = ReadPhoto(PhotoFile("x", 1, 1), PhotoFaces("", 1, 1, ()), crops, spans=(100.0,) * faces)
            yield Outcome(faces, read)
            yield None  # so that it is a chunk

    for where in ("cuda", "cpu"):
        happened.clear()
        finished = estimate(outcomes(), Watched, crop_size=8, batch_size=64, device=where)  # type: ignore[arg-type]
        counts = [[len(ages) for _, ages in together] for together in finished]
        assert [each for each in counts if each] == [[1], [2], [3]]
        waits = ["start 1", "start 2", "wait 1", "start 3", "wait 2", "wait 3"]
        if where == "cpu":
            waits = ["start 1", "wait 1", "start 2", "wait 2", "start 3", "wait 3"]
        assert happened == waits


def test_what_torch_raises_about_a_gpu_is_one_line() -> None:
    cuda = torch.device("cuda")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match=r"^PyTorch cannot use the GPU \(.+\)$"):
        predictor.Predictor(default_checkpoint(), cuda)
    assert str(predictor.device_problem(cuda)).startswith("PyTorch cannot use the GPU")
    assert predictor.device_problem(torch.device("cpu")) is None
    with pytest.raises(DeviceError, match=r"\(CUDA out of memory\.\)"), predictor._gpu_errors(cuda):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="a bug"), predictor._gpu_errors(torch.device("cpu")):
        raise RuntimeError("a bug")


def test_a_gpu_that_fails_in_the_middle_of_a_scan_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of memory, say: when a chunk is copied to it, or later, when its result is asked for."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    model = predictor.Predictor(default_checkpoint(), torch.device("cpu"))
    model.device = torch.device("cuda")
    crops = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    for begin in (model.start, model.predict):
        with pytest.raises(DeviceError, match=r"^PyTorch cannot use the GPU \(.+\)$"):
            begin(crops)
    # Without its numbers, as a tensor of a GPU that failed.
    monkeypatch.setattr(model, "_ages", lambda part: torch.empty(len(part), device="meta"))
    wait = model.start(crops)
    with pytest.raises(DeviceError, match="PyTorch cannot use the GPU"):
        wait()


def test_emulated_bf16_is_not_taken_for_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a T4 or an RTX 20."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert predictor.autocast_dtype(torch.device("cuda")) is torch.float16


def test_a_teacher_is_never_moved_to_the_cpu_silently(tmp_path: Path) -> None:
    from labelled_faces import face_network

    from photoage.faces.detector_files import DEFAULT_PACKAGE, package_file
    from photoage.faces.recogniser import RECOGNISER_FILE
    from photoage.training.age_teacher import AgeTeacher
    from photoage.training.distill import Teacher

    with pytest.raises(DeviceError, match="CUDA provider"):
        Teacher(package_file(DEFAULT_PACKAGE, RECOGNISER_FILE), torch.device("cuda"))
    with pytest.raises(DeviceError, match="CUDA provider"):
        AgeTeacher(face_network(tmp_path / "network.onnx"), torch.device("cuda"))
