"""Which images train, validate and test: the splits file, and grouped splits of data without one.

Images that show the same picture or the same person must be on the same side, or the model is tested on
what it was trained on. So a split is made of groups: identical files, near-duplicates of a face crop, and
photos whose labels name the same person. Other pictures of the same person are not recognised.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from photoage.errors import DataError
from photoage.files import replacing_text
from photoage.records import FloatArray
from photoage.training.dataset import FRAME_MARGIN, FRAME_SIZE, UNKNOWN, AlignedFaces, Crops, Sample
from photoage.training.metrics import AGE_BINS

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)
COLUMNS = ("file", "age", "gender", "ethnicity", "split", "group")

# Near-duplicates are aligned crops whose small grey versions correlate at least this much, mirrored
# or not. Measured on UTKFace against groups made with a face recogniser: of the pairs from 0.96 up,
# 99 % are in one group, of 0.95 to 0.96, three quarters; below 0.94, most are strangers.
NEAR = 0.95
SMALL = 32  # pixels
BLOCK = 512  # rows compared at a time


def read_splits(path: Path) -> dict[str, str]:
    """File name to split from a `file,...,split` CSV. Raises `DataError`."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            splits = {row["file"]: row["split"] or "" for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a splits file with columns file and split ({error})") from error
    if not splits:
        raise DataError(f"{path}: lists no file")
    unknown = sorted(set(splits.values()) - set(SPLITS))
    if unknown:
        raise DataError(f"{path}: unknown split {unknown[0]!r} (known: {', '.join(SPLITS)})")
    return splits


def write_splits(
    path: Path, samples: Sequence[Sample], splits: Mapping[str, str], groups: Sequence[int]
) -> None:
    """A splits file that `read_splits` reads; `groups` has one number per sample."""
    with replacing_text(path, errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for sample, group in zip(samples, groups, strict=True):
            codes = ("" if code == UNKNOWN else code for code in (sample.gender, sample.ethnicity))
            writer.writerow((sample.key, f"{sample.age:g}", *codes, splits[sample.key], group))


def grouped_split(samples: Sequence[Sample], groups: Sequence[int]) -> dict[str, str]:
    """Key of each sample to its split, whole groups at a time, 80/10/10 within every age bin.

    Depends on the keys, ages and groups alone: the same data gives the same split, in any order.
    """
    members: dict[int, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, groups, strict=True):
        members[group].append(sample)

    def place(group: list[Sample]) -> tuple[int, int, str]:
        age = sum(sample.age for sample in group) / len(group)
        age_bin = sum(age >= high + 1 for _, high in AGE_BINS)
        first = min(os.fsencode(sample.key) for sample in group)
        return age_bin, -len(group), hashlib.sha256(first).hexdigest()

    # Going through the bins in order, each group goes to the split that is furthest behind its share
    # of all images so far; so every stretch of ages is divided alike. Large groups go first, when
    # the training split is the one that has room for them.
    splits: dict[str, str] = {}
    counts, total = Counter[str](), 0
    for alike in sorted(members.values(), key=place):
        total += len(alike)
        behind = [share * total - counts[split] for split, share in zip(SPLITS, SHARES, strict=True)]
        chosen = SPLITS[behind.index(max(behind))]
        counts[chosen] += len(alike)
        splits.update((sample.key, chosen) for sample in alike)
    return splits


def complete_split(
    samples: Sequence[Sample], groups: Sequence[int], given: Mapping[str, str]
) -> dict[str, str]:
    """A split for every sample: the given one, else that of others of its group, else one that is made.

    A group that is on several sides already gets its other samples into training, where they do no harm.
    """
    decided: dict[int, str] = {}
    for sample, group in zip(samples, groups, strict=True):
        if split := given.get(sample.key):
            decided[group] = split if decided.get(group, split) == split else "train"
    free = [(sample, group) for sample, group in zip(samples, groups, strict=True) if group not in decided]
    made = grouped_split([sample for sample, _ in free], [group for _, group in free])
    joined = {s.key: decided[group] for s, group in zip(samples, groups, strict=True) if group in decided}
    return made | joined | {s.key: given[s.key] for s in samples if s.key in given}


def find_groups(samples: Sequence[Sample], faces: AlignedFaces) -> list[int]:
    """One group number per sample, from 1; samples with the same number must not be separated.

    `faces` are the aligned frames of the samples; those without a detection are compared by their
    bytes only.
    """
    row_of = {sample.key: row for row, sample in enumerate(samples)}
    parent = list(range(len(samples)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in chain(_same_bytes(samples), _same_person(samples)):
        parent[root(b)] = root(a)
    rows = [row_of[sample.key] for sample in faces.samples]
    for a, b in near_duplicates(grey_versions(faces.crops)):
        parent[root(rows[b])] = root(rows[a])
    number: dict[int, int] = {}
    return [number.setdefault(root(row), len(number) + 1) for row in range(len(samples))]


def _same_person(samples: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for row, sample in enumerate(samples):
        if sample.person and (earlier := first.setdefault(sample.person, row)) != row:
            yield earlier, row


def _same_bytes(samples: Sequence[Sample]) -> Iterator[tuple[int, int]]:
    first: dict[bytes, int] = {}
    for row, sample in enumerate(samples):
        with sample.path.open("rb") as file:
            earlier = first.setdefault(hashlib.file_digest(file, "sha256").digest(), row)
        if earlier != row:
            yield earlier, row


def grey_versions(crops: Crops) -> FloatArray:
    """(N, SMALL * SMALL) grey versions of aligned frames, each of mean 0 and length 1."""
    small = np.empty((len(crops), SMALL * SMALL), dtype=np.float32)
    face = slice(FRAME_MARGIN, FRAME_MARGIN + FRAME_SIZE)
    for row in range(len(crops)):
        grey = cv2.cvtColor(crops[row][face, face], cv2.COLOR_RGB2GRAY)
        small[row] = cv2.resize(grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA).reshape(-1)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True) + 1e-6
    return small


def near_duplicates(grey: FloatArray) -> Iterator[tuple[int, int]]:
    """Pairs (a, b), a < b, of rows of `grey_versions` that show the same picture or its mirror image.

    A mirrored file whose landmarks are found elsewhere is missed. Compares all pairs: for 24,000
    images, some ten seconds.
    """
    mirrored = np.ascontiguousarray(grey.reshape(-1, SMALL, SMALL)[:, :, ::-1]).reshape(len(grey), -1)
    for start in range(0, len(grey), BLOCK):
        block = grey[start : start + BLOCK]
        alike = np.maximum(block @ grey[start:].T, block @ mirrored[start:].T) >= NEAR
        for a, b in np.argwhere(np.triu(alike, k=1)):
            yield start + int(a), start + int(b)
