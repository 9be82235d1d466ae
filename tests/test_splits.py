"""Splits: what shows the same picture stays together, and every age is on every side."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled_faces import make_data, portraits, save, variant

from photoage.errors import DataError
from photoage.faces.detector_files import default_detector
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE, Sample, align_samples, read_utkface
from photoage.training.metrics import AGE_BINS
from photoage.training.splits import (
    find_groups,
    grey_versions,
    grouped_split,
    near_duplicates,
    read_splits,
    write_splits,
)


def made_up(count: int, seed: int = 0) -> tuple[list[Sample], list[int]]:
    """Samples of all ages in groups of one to twelve."""
    rng = random.Random(seed)
    groups: list[int] = []
    while len(groups) < count:
        groups += [len(set(groups)) + 1] * rng.choice([1, 1, 1, 1, 1, 2, 3, 12])
    groups = groups[:count]
    return [Sample(Path(f"{i % 90}_0_0_{i}.jpg"), rng.randrange(90), 0, 0) for i in range(count)], groups


def test_groups_stay_together_and_the_shares_are_met() -> None:
    samples, groups = made_up(3000)
    splits = grouped_split(samples, groups)
    sides: dict[int, set[str]] = {}
    for sample, group in zip(samples, groups, strict=True):
        sides.setdefault(group, set()).add(splits[sample.name])
    assert all(len(side) == 1 for side in sides.values())
    counts = Counter(splits.values())
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert counts[split] / 3000 == pytest.approx(share, abs=0.01)


def test_every_age_bin_is_divided_alike() -> None:
    samples, _ = made_up(3000)
    splits = grouped_split(samples, range(3000))
    for low, high in AGE_BINS:
        counts = Counter(splits[s.name] for s in samples if low <= s.age <= high)
        total = counts.total()
        assert abs(counts["val"] - total / 10) <= 1
        assert abs(counts["test"] - total / 10) <= 1


def test_the_split_depends_on_the_data_alone() -> None:
    samples, groups = made_up(500)
    order = list(range(500))
    random.Random(1).shuffle(order)
    renamed = {group: 900 - group for group in groups}
    again = grouped_split([samples[i] for i in order], [renamed[groups[i]] for i in order])
    assert grouped_split(samples, groups) == again


def test_a_few_images_are_enough_to_validate() -> None:
    samples, _ = made_up(12)
    assert set(grouped_split(samples, range(12)).values()) == {"train", "val", "test"}


def test_groups_are_copies_and_near_copies(tmp_path: Path) -> None:
    make_data(tmp_path, 3)
    samples, _ = read_utkface(tmp_path, tmp_path)
    original = next(sample.path for sample in samples if sample.age == 34)
    face = portraits()[1]  # the one of age 40
    (tmp_path / "50_0_0_1.jpg").write_bytes(original.read_bytes())
    save(tmp_path / "51_0_0_1.jpg", face, quality=40)
    save(tmp_path / "52_0_0_1.jpg", cv2.resize(face, (150, 150)))
    save(tmp_path / "53_0_0_1.jpg", np.clip(face * 0.8 + 20, 0, 255).astype(np.uint8))
    save(tmp_path / "55_0_0_1.jpg", np.full((200, 200, 3), 90, np.uint8))  # no face
    save(tmp_path / "56_0_0_1.jpg", np.full((200, 200, 3), 90, np.uint8))  # the same bytes
    samples, _ = read_utkface(tmp_path, tmp_path)
    faces = align_samples(samples, default_detector(), size=FRAME_SIZE, margin=FRAME_MARGIN, workers=1)
    assert len(faces.missed) == 2
    group = dict(zip((s.age for s in samples), find_groups(samples, faces), strict=True))
    assert len({group[34], group[40], group[62]}) == 3, "different people"
    assert group[50] == group[34]
    assert {group[51], group[52], group[53]} == {group[40]}
    assert group[55] == group[56]
    assert set(group.values()) == {1, 2, 3, 4}


def test_other_pictures_of_one_person_are_not_near_duplicates() -> None:
    grey = np.array(
        [
            cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 32)).reshape(-1)
            for image in (portraits()[0], variant(portraits()[0], 0), variant(portraits()[0], 5))
        ],
        dtype=np.float32,
    )
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    assert list(near_duplicates(grey)) == [(0, 1)]


def test_a_mirror_image_is_a_near_duplicate() -> None:
    frames = [portrait[18:-18, 18:-18] for portrait in portraits()]
    grey = grey_versions(np.stack([*frames, np.ascontiguousarray(frames[1][:, ::-1])]))
    assert list(near_duplicates(grey)) == [(1, 4)]


def test_near_duplicates_are_found_across_blocks() -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(size=(1500, 1024)).astype(np.float32)
    for a, b in ((3, 4), (3, 1499), (700, 1100), (511, 512)):
        grey[b] = grey[a] + 0.05 * rng.normal(size=1024)
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    assert set(near_duplicates(grey)) == {(3, 4), (3, 1499), (4, 1499), (511, 512), (700, 1100)}


def test_a_splits_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    samples, groups = made_up(40)
    splits = grouped_split(samples, groups)
    write_splits(tmp_path / "splits.csv", samples, splits, groups)
    assert read_splits(tmp_path / "splits.csv") == splits
    header, first, *_ = (tmp_path / "splits.csv").read_text().splitlines()
    assert header == "file,age,gender,ethnicity,split,group"
    assert first == f"0_0_0_0.jpg,{samples[0].age},0,0,{splits['0_0_0_0.jpg']},1"
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,age\na.jpg,3\n", "not a splits file with columns file and split"),
        (b"file,split\na.jpg,dev\n", "unknown split 'dev'"),
        (b"file,split\na.jpg\nb.jpg,dev", "unknown split ''"),
        (b"file,split\n", "lists no file"),
        (b"", "lists no file"),
        (b"file,split\n\xff\xfe,train\n", "not a splits file"),
    ],
)
def test_a_bad_splits_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_splits(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_splits_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: No such file"):
        read_splits(tmp_path / "nowhere.csv")
