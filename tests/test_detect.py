"""The real detector on real photos, and everything that can be wrong with a detector file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from decoded import decode_photo

from photoage.errors import DetectorError, DeviceError
from photoage.faces.detector import Detector, cuda_driver_present
from photoage.faces.detector_files import (
    DEFAULT_PACKAGE,
    DetectorFile,
    default_detector,
    package_file,
    resolve_detector,
)
from photoage.faces.recogniser import RECOGNISER_FILE
from photoage.faces.views import PhotoViews
from photoage.records import Detection, ImageArray
from photoage.training.dataset import pick_subject


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(default_detector())


@pytest.fixture(scope="module")
def portrait(sample_library: Path) -> ImageArray:
    return decode_photo(str(sample_library / "people" / "eileen_collins.png")).rgb


def test_one_face_with_its_landmarks_in_their_places(detector: Detector, portrait: ImageArray) -> None:
    (face,) = detector.detect(portrait)
    x1, y1, x2, y2 = face.bbox
    np.testing.assert_allclose(face.bbox, (180, 60, 272, 180), atol=6)
    left_eye, right_eye, nose, mouth_left, mouth_right = face.landmarks
    assert x1 < left_eye[0] < nose[0] < right_eye[0] < x2
    assert y1 < left_eye[1] < nose[1] < mouth_left[1] < y2
    assert mouth_left[0] < mouth_right[0]


@pytest.mark.parametrize("size", [200, 800, 2400])
def test_a_face_that_fills_the_frame_is_found_at_any_size(
    detector: Detector, portrait: ImageArray, size: int
) -> None:
    close = np.ascontiguousarray(portrait[50:195, 155:300])
    (face,) = detector.detect(np.asarray(cv2.resize(close, (size, size)), dtype=np.uint8))
    expected = np.array([25, 10, 117, 130]) * size / 145
    np.testing.assert_allclose(face.bbox, expected, atol=0.06 * size)


def test_faces_are_ordered_left_to_right(detector: Detector, portrait: ImageArray) -> None:
    found = detector.detect(np.concatenate([portrait, portrait[:, ::-1], portrait], axis=1))
    assert len(found) == 3
    assert [face.bbox[0] for face in found] == sorted(face.bbox[0] for face in found)


def test_a_larger_detection_size_finds_smaller_faces(detector: Detector, portrait: ImageArray) -> None:
    canvas = np.zeros((1600, 1600, 3), np.uint8)
    small = cv2.resize(portrait, (110, 110), interpolation=cv2.INTER_AREA)
    canvas[700:810, 700:810] = small
    assert len(detector.detect(canvas, det_size=1280)) == 1
    assert detector.detect(canvas, det_size=640) == []


def test_boxes_stay_inside_the_photo(detector: Detector, portrait: ImageArray) -> None:
    cut = np.ascontiguousarray(portrait[60:, 190:])
    for face in detector.detect(cut, det_thresh=0.2):
        x1, y1, x2, y2 = face.bbox
        assert 0 <= x1 < x2 <= cut.shape[1]
        assert 0 <= y1 < y2 <= cut.shape[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (3, 2000)])
def test_tiny_and_thin_images_have_no_faces(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_the_subject_is_the_large_central_face() -> None:
    def face(x: float, y: float, side: float) -> Detection:
        return Detection((x, y, x + side, y + side), np.zeros((5, 2), np.float32), 0.9)

    middle = face(80, 80, 60)
    assert pick_subject([face(0, 0, 70), middle], 220, 220) is middle
    assert pick_subject([], 220, 220) is None


def test_an_altered_default_detector_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / DEFAULT_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    altered = package / "model" / "scrfd_500m_bnkps.onnx"
    shutil.copyfile(default_detector().path, altered)
    with altered.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DetectorError, match="sha256"):
        default_detector()


def test_a_folder_and_a_file_are_accepted(tmp_path: Path) -> None:
    default = default_detector()
    (tmp_path / "pack").mkdir()
    file = tmp_path / "pack" / "det_500m.onnx"
    shutil.copyfile(default.path, file)
    assert resolve_detector(str(tmp_path / "pack")) == DetectorFile("pack", file, default.sha256)
    assert resolve_detector(str(file)) == DetectorFile("det_500m", file, default.sha256)
    assert resolve_detector(None) == default


@pytest.mark.parametrize("spec", ["no/such/file.onnx", "missing.onnx"])
def test_a_missing_detector_is_named(spec: str) -> None:
    with pytest.raises(DetectorError, match=spec):
        resolve_detector(spec)


def test_offline_never_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    with pytest.raises(DetectorError, match="`offline` is set"):
        resolve_detector("buffalo_l", offline=True)


def test_files_that_are_no_detectors_are_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"not a model")
    with pytest.raises(DetectorError, match=r"garbage\.onnx"):
        Detector(resolve_detector(str(garbage)))
    recogniser = package_file(DEFAULT_PACKAGE, RECOGNISER_FILE)
    with pytest.raises(DetectorError, match="not a face detector"):
        Detector(resolve_detector(str(recogniser)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DetectorError, match="no detector"):
        resolve_detector(str(tmp_path / "empty"))


def test_cuda_is_never_replaced_by_the_cpu_silently() -> None:
    if cuda_driver_present():
        assert "CUDAExecutionProvider" in Detector(default_detector(), device="cuda").providers
    else:
        with pytest.raises(DeviceError):
            Detector(default_detector(), device="cuda")


def test_a_gpu_gets_pixels_as_they_are_and_finds_the_same_faces(
    detector: Detector,
    portrait: ImageArray,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What would run on a GPU, run on the CPU."""
    asked: list[Any] = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, model: Any, options: Any, providers: Any) -> None:
            asked.append(providers)
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn.so.9"))
    on_gpu = Detector(default_detector(), device="cuda")
    # By default cuDNN tries every algorithm anew for each number of photos in a batch.
    assert asked == [
        [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}), "CPUExecutionProvider"]
    ]
    assert on_gpu._model.session.get_inputs()[0].type == "tensor(uint8)"
    monkeypatch.setattr(on_gpu, "_square", False)
    (found,), (expected,) = on_gpu.detect(portrait), detector.detect(portrait)
    np.testing.assert_allclose(found.bbox, expected.bbox, atol=0.05)
    np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=0.05)
    assert capfd.readouterr().out == ""  # of which `doctor --json` is part


@pytest.mark.usefixtures("detector")  # InsightFace's own sessions are no such ones
def test_a_gpu_on_which_the_detector_does_not_run_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session may well start on a GPU without the kernels or the memory for it."""

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, model: Any, options: Any, providers: Any) -> None:
            super().__init__(model, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def run(self, *arguments: Any) -> Any:
            raise RuntimeError("no kernel image is available\nand more")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    with pytest.raises(
        DeviceError, match=r"^onnxruntime cannot use the GPU \(no kernel image is available\)$"
    ):
        Detector(default_detector(), device="cuda")


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_glance_costs_no_large_face_and_spares_other_photos_the_close_up(
    detector: Detector, portrait: ImageArray, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = np.full((768, 1024, 3), 96, np.uint8)
    side = int(768 * share)
    close = np.asarray(cv2.resize(portrait[30:210, 140:320], (side, side)), dtype=np.uint8)
    photo[-side:, :side] = close
    found = detector.detect(photo)
    with monkeypatch.context() as patch:
        patch.setattr("photoage.faces.views.GLANCE_FACE", 0)
        patch.setattr("photoage.faces.detector.GLANCE_THRESH", 0.0)
        everything = detector.detect(photo)
    assert len(found) == len(everything) == 1
    assert found[0].bbox == everything[0].bbox

    looked: list[int] = []
    monkeypatch.setattr(PhotoViews, "close_up", lambda views: looked.append(1) or views.whole)
    detector.detect(np.full((768, 1024, 3), 96, np.uint8))
    assert not looked
    detector.detect(photo)
    assert len(looked) == (share > 0.6)  # the face itself is about 0.65 of the portrait's side
