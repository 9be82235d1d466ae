"""Our decoding of SCRFD's outputs against insightface's own, face by face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from photoage import scrfd
from photoage.decode import decode_photo
from photoage.detect import Detector, default_detector
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


def test_a_model_with_a_fixed_input_sees_the_whole_photo(
    detector: Detector, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = decode_photo(str(sample_library / "people" / "grace_hopper.jpg")).rgb
    (free,) = detector.detect(rgb)
    monkeypatch.setattr(detector._model, "static_input_size", (320, 320))
    (fixed,) = detector.detect(rgb)
    np.testing.assert_allclose(fixed.bbox, free.bbox, atol=0.03 * rgb.shape[0])
