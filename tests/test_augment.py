"""Augmentation and batches: every draw repeats, so that a resumed run repeats them too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from labelled_faces import portraits

from photoage.faces.align import warp
from photoage.records import ImageArray
from photoage.training.augment import augmented_crop, is_mirrored, plain_geometry, random_geometry
from photoage.training.config import TrainConfig
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE, AlignedFaces, Sample
from photoage.training.loaders import EpochBatches, training_loader
from photoage.training.taught import TaughtFaces

FRAME = FRAME_SIZE + 2 * FRAME_MARGIN


@pytest.fixture(scope="module")
def frame() -> ImageArray:
    return portraits()[0][18:-18, 18:-18].copy()


def view(frame: ImageArray, size: int, seed: tuple[int, ...]) -> ImageArray:
    rng = np.random.default_rng(seed)
    return augmented_crop(frame, random_geometry(size, rng), size, rng)


def test_the_same_draws_give_the_same_view(frame: ImageArray) -> None:
    before = frame.copy()
    for seed in range(20):
        views = [view(frame, 64, (3, seed)) for _ in range(2)]
        np.testing.assert_array_equal(*views)
    np.testing.assert_array_equal(frame, before)


def test_views_differ_but_stay_pictures_of_the_face(frame: ImageArray) -> None:
    views = [view(frame, 64, (seed,)) for seed in range(60)]
    assert {each.shape for each in views} == {(64, 64, 3)}
    assert {each.dtype for each in views} == {np.dtype(np.uint8)}
    assert len({each.tobytes() for each in views}) > 50, "a few are as a scan sees the face"
    plain = cv2.resize(frame[12:-12, 12:-12], (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    average = np.mean([each.astype(float) + each[:, ::-1] for each in views], axis=0) / 2
    symmetric = (plain + plain[:, ::-1]) / 2
    # Draws scatter around the true framing: their average is a blurred version of it.
    assert np.corrcoef(average.ravel(), symmetric.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("size", [112, 160])
def test_the_plain_view_is_that_of_a_scan_and_its_mirror_image(frame: ImageArray, size: int) -> None:
    smooth = cv2.GaussianBlur(frame, (0, 0), 6)
    inside = smooth[FRAME_MARGIN:-FRAME_MARGIN, FRAME_MARGIN:-FRAME_MARGIN]
    scanned = cv2.resize(inside, (size, size), interpolation=cv2.INTER_LINEAR).astype(int)
    shown = warp(smooth, plain_geometry(size, mirrored=False), size)
    mirrored = warp(smooth, plain_geometry(size, mirrored=True), size)
    assert np.abs(shown - scanned)[4:-4, 4:-4].mean() < 1.0  # half a pixel of shift would be 2 to 3
    np.testing.assert_allclose(mirrored.astype(int), shown[:, ::-1], atol=2)


def test_half_of_the_views_are_mirrored() -> None:
    drawn = [is_mirrored(random_geometry(64, np.random.default_rng(seed))) for seed in range(200)]
    assert 70 < sum(drawn) < 130
    assert is_mirrored(plain_geometry(64, mirrored=True))
    assert not is_mirrored(plain_geometry(64, mirrored=False))


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [32, 224])
def test_featureless_frames_and_extreme_sizes_are_no_trouble(value: int, size: int) -> None:
    flat = np.full((FRAME, FRAME, 3), value, np.uint8)
    for seed in range(30):
        assert view(flat, size, (seed,)).shape == (size, size, 3)


ALIKE = np.full(50, 1 / 50)


def test_a_batch_shows_no_face_twice_in_an_order_of_its_own() -> None:
    def batches(epoch: int, seed: int = 0) -> list[list[int]]:
        return [[row for _, _, row in batch] for batch in EpochBatches(ALIKE, 8, seed, epoch)]

    assert [len(set(batch)) for batch in batches(0)] == [8] * 6  # as many as the faces fill
    assert batches(0) == batches(0)
    assert batches(0) != batches(1)
    assert batches(0) != batches(0, seed=1)


def test_faces_are_drawn_as_often_as_their_weights_say() -> None:
    weights = np.array([0.0] * 25 + [0.02] * 20 + [0.12] * 5)
    drawn = np.bincount(
        [row for epoch in range(60) for batch in EpochBatches(weights, 2, 0, epoch) for _, _, row in batch],
        minlength=50,
    )
    assert drawn[:25].sum() == 0
    assert drawn[45:].mean() / drawn[25:45].mean() == pytest.approx(6, rel=0.2)


def test_batches_resume_where_they_were_left() -> None:
    whole = list(EpochBatches(ALIKE, 8, 7, 2))
    for start in (0, 1, 5, 6):
        rest = EpochBatches(ALIKE, 8, 7, 2, start)
        assert list(rest) == whole[start:]
        assert len(rest) == len(whole) - start


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_that_begins_in_the_middle_gives_the_same_batches(
    frame: ImageArray, tmp_path: Path, workers: int
) -> None:
    samples = [Sample(tmp_path / f"{i}_0_{i % 5}_1.jpg", i, i % 2, i % 5) for i in range(8)]
    samples.append(Sample(tmp_path / "8.jpg", 9, 0, 3, (8, 11), "other"))
    faces = AlignedFaces(samples, np.stack([np.roll(frame, 5 * i, axis=1) for i in range(9)]), [])

    numbers, zeros = np.arange(9, dtype=np.float16), np.zeros(9, np.float16)
    features = np.stack([np.stack([zeros, numbers], axis=1), np.stack([numbers, zeros], axis=1)])
    taught = TaughtFaces(features, (2,), np.arange(9, dtype=np.float32) + 1)
    mirrored: list[bool] = []

    def batches(start: int, workers: int) -> list[tuple[torch.Tensor, list[float]]]:
        config = TrainConfig(
            batch_size=2, seed=5, workers=workers, noisy=("other",), taught=(("other", 0.5),)
        )
        loader = training_loader(
            faces, np.full(9, 1 / 9), config, size=48, taught=taught, epoch=1, start=start
        )
        for batch in (got := list(loader)):
            assert batch.crops.shape == (2, 48, 48, 3)
            assert batch.taught.tolist() == (batch.low + 1).tolist()
            expected = [0.25 if age == 8 else max(0.0, (age - 5) / 8) for age in batch.low.tolist()]
            assert batch.taught_weight.tolist() == expected, "small children learn from their labels"
            assert [[first + second for first, second in batch.features.tolist()]] == [batch.low.tolist()]
            mirrored.extend((batch.features[:, 0] != 0).tolist())
            assert batch.ethnicity.tolist() == [age % 5 for age in batch.low.tolist()]
            assert batch.gender.tolist() == [age % 2 for age in batch.low.tolist()]
            assert (batch.high - batch.low).tolist() == [3.0 * (age == 8) for age in batch.low.tolist()]
            assert batch.noisy.tolist() == [age == 8 for age in batch.low.tolist()]
        return [(batch.crops, batch.low.tolist()) for batch in got]

    whole, rest = batches(0, 0), batches(2, workers)
    assert set(mirrored) == {False, True}
    assert len(whole) == 4
    assert len(rest) == 2
    for (crops, ages), (resumed_crops, resumed_ages) in zip(whole[2:], rest, strict=True):
        assert ages == resumed_ages
        assert torch.equal(crops, resumed_crops)
