"""Old prints: every draw repeats, the face stays, and copies to measure with are what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from labelled_faces import portraits

from photoage.faces.quality import is_grey
from photoage.records import ImageArray
from photoage.training.prints import COPIES, old_print


@pytest.fixture(scope="module")
def crop() -> ImageArray:
    return np.asarray(cv2.resize(portraits()[2][30:230, 30:230], (112, 112)), dtype=np.uint8)


def test_prints_differ_but_repeat_and_leave_the_crop_alone(crop: ImageArray) -> None:
    before = crop.copy()
    views = [old_print(crop, np.random.default_rng(seed)) for seed in range(40)]
    np.testing.assert_array_equal(views[7], old_print(crop, np.random.default_rng(7)))
    np.testing.assert_array_equal(crop, before)
    assert {(view.shape, view.dtype) for view in views} == {((112, 112, 3), np.dtype(np.uint8))}
    assert len({view.tobytes() for view in views}) > 35
    assert 5 < sum(map(is_grey, views)) < 35


def test_a_print_still_shows_the_face(crop: ImageArray) -> None:
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(float).ravel()
    alike = [
        np.corrcoef(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(float).ravel(), grey)[0, 1]
        for view in (old_print(crop, np.random.default_rng(seed)) for seed in range(40))
    ]
    assert min(alike) > 0.6
    assert float(np.median(alike)) > 0.9


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [32, 224])
def test_featureless_crops_and_extreme_sizes_are_no_trouble(value: int, size: int) -> None:
    flat = np.full((size, size, 3), value, np.uint8)
    for seed in range(30):
        assert old_print(flat, np.random.default_rng(seed)).shape == (size, size, 3)


def test_copies_are_grey_brown_and_pale(crop: ImageArray) -> None:
    made = {name: change(crop) for name, change in COPIES.items()}
    assert {name: is_grey(copy) for name, copy in made.items()} == {
        "grey": True, "sepia": True, "faded": False, "faded grey": True,
    }  # fmt: skip
    assert (made["grey"] == made["grey"][:, :, :1]).all()
    red, _, blue = made["sepia"].reshape(-1, 3).mean(axis=0)
    assert red > blue + 10
    assert np.ptp(made["faded"].astype(int)) < np.ptp(crop.astype(int)) / 2 + 1
