"""Our decoding of SCRFD's outputs against insightface's own, face by face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx.version_converter
import onnxruntime
import pytest
from decoded import decode_photo

from photoage.faces import scrfd
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.merge_convs import merge_convs
from photoage.records import ImageArray

NAMES = (
    "people/grace_hopper.jpg",
    "white_house/obama_2009.jpg",
    "places/china.jpg",
    "people/eileen_collins.png",
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(default_detector())


@pytest.fixture(scope="module")
def views(sample_library: Path) -> list[ImageArray]:
    """Photos stretched to one size, (320, 384, 3) uint8 RGB."""
    photos = (decode_photo(str(sample_library / name)).rgb for name in NAMES)
    return [np.asarray(cv2.resize(rgb, (384, 320), interpolation=cv2.INTER_AREA)) for rgb in photos]


@pytest.mark.parametrize("threshold", [0.5, 0.05])
def test_faces_are_those_of_insightface(
    detector: Detector, views: list[ImageArray], threshold: float
) -> None:
    total = 0
    for view, (boxes, landmarks) in zip(views, scrfd.run(detector._model, views, threshold), strict=True):
        bgr = np.ascontiguousarray(view[:, :, ::-1])
        expected = detector._model.detect(bgr, input_size=(384, 320), det_thresh=threshold)
        np.testing.assert_allclose(boxes, expected[0], atol=0.01)
        np.testing.assert_allclose(landmarks, expected[1], atol=0.01)
        total += len(boxes)
    assert total >= (3 if threshold == 0.5 else 12)


def test_a_batch_gives_what_single_images_give(detector: Detector, views: list[ImageArray]) -> None:
    together = scrfd.run(detector._model, views, 0.5)
    alone = [scrfd.run(detector._model, [view], 0.5)[0] for view in views]
    for (boxes, landmarks), (box, points) in zip(together, alone, strict=True):
        np.testing.assert_allclose(boxes, box, atol=0.01)
        np.testing.assert_allclose(landmarks, points, atol=0.01)


@pytest.mark.parametrize(("version", "old_format"), [(11, False), (13, False), (11, True)])
def test_merged_convolutions_give_the_same_numbers(
    version: int, old_format: bool, views: list[ImageArray], tmp_path: Path
) -> None:
    model = onnx.version_converter.convert_version(onnx.load(str(default_detector().path)), version)
    if old_format:
        model.ir_version = 3
        for each in model.graph.initializer:
            value = onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims)
            model.graph.input.append(value)
    onnx.save(model, str(tmp_path / "model.onnx"))
    merged = merge_convs(tmp_path / "model.onnx")
    kinds = [[node.op_type for node in each.graph.node] for each in (model, onnx.load_from_string(merged))]
    assert kinds[0].count("Conv") - kinds[1].count("Conv") == 2 * kinds[1].count("Split") == 6
    sessions = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"])
        for each in (model.SerializeToString(), merged)
    ]
    assert [each.name for each in sessions[0].get_outputs()] == [
        each.name for each in sessions[1].get_outputs()
    ]
    for view in views:
        blob = ((view.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        plain, together = (each.run(None, {each.get_inputs()[0].name: blob}) for each in sessions)
        for one, other in zip(plain, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_model_with_a_fixed_input_sees_the_whole_photo(
    detector: Detector, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = decode_photo(str(sample_library / "people" / "grace_hopper.jpg")).rgb
    (free,) = detector.detect(rgb)
    monkeypatch.setattr(detector._model, "static_input_size", (320, 320))
    (fixed,) = detector.detect(rgb)
    np.testing.assert_allclose(fixed.bbox, free.bbox, atol=0.03 * rgb.shape[0])
