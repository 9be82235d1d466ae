"""Sharpness, turn, tilt and colour of a face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from photoage.faces.align import TEMPLATE, align_crop
from photoage.faces.quality import NOSE_DEPTH, is_grey, roll, sharpness, yaw
from photoage.records import FloatArray, ImageArray


@pytest.fixture(scope="module")
def crop(sample_library: Path) -> ImageArray:
    """Grace Hopper's face, 112 pixels, by landmarks that the detector gave."""
    rgb = np.asarray(Image.open(sample_library / "people" / "grace_hopper.jpg").convert("RGB"))
    points = [[225.2, 196.6], [305.4, 193.7], [267.7, 241.7], [234.8, 280.4], [298.9, 277.8]]
    return align_crop(rgb, np.array(points, np.float32), 112)


def turned(degrees: float) -> FloatArray:
    """The landmarks of the mean face, turned towards the photo's right."""
    depth = np.array([0, 0, NOSE_DEPTH, 0, 0])
    angle = np.radians(degrees)
    x = (TEMPLATE[:, 0] - 100) * np.cos(angle) + depth * np.sin(angle)
    return np.column_stack([x, TEMPLATE[:, 1]]).astype(np.float32)


@pytest.mark.parametrize("degrees", [-60, -25, 0, 10, 45])
@pytest.mark.parametrize("tilt", [0, 90, 180])
def test_the_turn_of_a_head_is_told_whatever_its_tilt_and_size(degrees: float, tilt: int) -> None:
    angle = np.radians(tilt)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (turned(degrees) @ rotation.T * 0.4 + 300).astype(np.float32)
    assert yaw(landmarks) == pytest.approx(degrees, abs=4)


@pytest.mark.parametrize("degrees", [-170, -90, -20, 0, 45, 90, 135])
def test_the_tilt_of_a_face_counts_clockwise(degrees: float) -> None:
    angle = np.radians(degrees)  # y points down: this turns clockwise as seen
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert roll((TEMPLATE @ rotation.T).astype(np.float32)) == pytest.approx(degrees, abs=0.1)


def test_landmarks_in_one_point_have_neither_turn_nor_tilt() -> None:
    assert np.isnan(yaw(np.zeros((5, 2), np.float32)))
    assert np.isnan(roll(np.zeros((5, 2), np.float32)))


def test_blur_lowers_sharpness_and_contrast_does_not_change_it(crop: ImageArray) -> None:
    small = cv2.resize(crop, (28, 28), interpolation=cv2.INTER_AREA)
    blurred = np.asarray(cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC), np.uint8)
    pale = (crop * 0.4 + 120).astype(np.uint8)
    assert sharpness(blurred) < 0.7 * sharpness(crop)
    assert sharpness(pale) == pytest.approx(sharpness(crop), rel=0.05)


def test_sharpness_is_nearly_the_same_for_any_size_of_crop(crop: ImageArray) -> None:
    larger = np.asarray(cv2.resize(crop, (200, 200), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert sharpness(larger) == pytest.approx(sharpness(crop), rel=0.15)


def test_a_crop_of_nothing_has_no_sharpness() -> None:
    assert sharpness(np.full((112, 112, 3), 90, np.uint8)) == 0.0


def test_a_grey_crop_and_a_sepia_one_are_grey_and_a_pale_one_is_not(crop: ImageArray) -> None:
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    sepia = np.clip(grey[..., None] * np.array([1.07, 0.95, 0.72]) + 10, 0, 255).astype(np.uint8)
    assert is_grey(np.repeat(grey[..., None], 3, axis=2))
    assert is_grey(sepia)
    assert not is_grey(crop)
    assert not is_grey((crop * 0.7 + 60).astype(np.uint8))
