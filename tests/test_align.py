"""Alignment: landmarks land on the template, whatever the photo's size or orientation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from decoded import decode_photo

from photoage.faces.align import TEMPLATE, align_crop, crop_transform, similarity_transform
from photoage.faces.detector import Detector
from photoage.faces.detector_files import resolve_detector


def test_similarity_transform_recovers_a_known_rotation_scale_and_shift() -> None:
    angle, scale, shift = 0.4, 2.5, np.array([30.0, -12.0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = np.array([[0, 0], [10, 0], [3, 8], [7, 5]], dtype=np.float32)
    matrix = similarity_transform(source, scale * source @ rotation.T + shift)
    np.testing.assert_allclose(matrix[:, :2], scale * rotation, atol=1e-5)
    np.testing.assert_allclose(matrix[:, 2], shift, atol=1e-4)


def test_similarity_transform_never_mirrors() -> None:
    source = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    mirrored = source.astype(np.float64) * [-1, 1]
    assert np.linalg.det(similarity_transform(source, mirrored)[:, :2]) > 0


def test_coinciding_landmarks_are_refused() -> None:
    with pytest.raises(ValueError, match="coincide"):
        align_crop(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 7, np.float32), 112)


def test_template_landmarks_in_the_native_frame_are_the_identity() -> None:
    matrix = crop_transform(TEMPLATE.astype(np.float32), 200)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-4)


def test_margin_only_shifts() -> None:
    landmarks = (TEMPLATE * 1.7 + 11).astype(np.float32)
    plain, wide = crop_transform(landmarks, 112), crop_transform(landmarks, 112, margin=9)
    np.testing.assert_allclose(wide - plain, [[0, 0, 9], [0, 0, 9]], atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0, 7.5])
def test_the_same_face_at_any_photo_size_gives_the_same_crop(factor: float) -> None:
    rng = np.random.default_rng(3)
    small = cv2.GaussianBlur(rng.integers(0, 256, (240, 240, 3), dtype=np.uint8), (0, 0), 6)
    landmarks = (TEMPLATE + 20).astype(np.float32)
    size = round(240 * factor)
    large = np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    expected = align_crop(small, landmarks, 112).astype(int)
    # Resizing maps pixel centres: x -> (x + 0.5) * factor - 0.5.
    scaled = ((landmarks + 0.5) * factor - 0.5).astype(np.float32)
    got = align_crop(large, scaled, 112).astype(int)
    assert np.abs(got - expected).mean() < 1.5


def test_a_large_face_is_averaged_and_not_aliased() -> None:
    checkerboard = np.indices((1600, 1600)).sum(axis=0) % 2 * 255
    photo = np.repeat(checkerboard[:, :, None], 3, axis=2).astype(np.uint8)
    crop = align_crop(photo, (TEMPLATE * 8).astype(np.float32), 112)
    assert abs(float(crop.mean()) - 127.5) < 3
    assert float(crop.std()) < 12


def test_a_small_face_is_enlarged_as_sharp_as_it_is(sample_library: Path) -> None:
    """Bilinear enlargement blurs, and a blurred face looks younger to the age model."""
    photo = decode_photo(sample_library / "people" / "grace_hopper.jpg").rgb
    (face,) = Detector(resolve_detector(None)).detect(photo)
    sharp = align_crop(photo, face.landmarks, 112).astype(float)
    factor = 45 / min(face.bbox[2] - face.bbox[0], face.bbox[3] - face.bbox[1])
    size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    landmarks = ((face.landmarks + 0.5) * factor - 0.5).astype(np.float32)
    bilinear = cv2.warpAffine(small, crop_transform(landmarks, 112), (112, 112), flags=cv2.INTER_LINEAR)
    detail = [float(cv2.Laplacian(crop.mean(axis=2), cv2.CV_64F).std()) for crop in
              (align_crop(small, landmarks, 112), bilinear, sharp)]  # fmt: skip
    assert 1.1 * detail[1] < detail[0] < detail[2]
    assert np.abs(align_crop(small, landmarks, 112) - sharp).mean() < np.abs(bilinear - sharp).mean()


def test_outside_the_photo_is_black() -> None:
    photo = np.full((100, 100, 3), 200, np.uint8)
    crop = align_crop(photo, (TEMPLATE - 100).astype(np.float32), 112)
    assert crop[0, 0].tolist() == [0, 0, 0]
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8
