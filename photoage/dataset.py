"""Labelled face data sets: the UTKFace reader, splits, and the cache of aligned frames."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from photoage.align import TEMPLATE_VERSION, align_crop
from photoage.decode import decode_photo
from photoage.detect import Detector, DetectorFile, pick_subject
from photoage.errors import DataError, DecodeError
from photoage.records import FloatArray, ImageArray

# age_gender_ethnicity_timestamp.jpg.chip.jpg, as the UTKFace page describes it.
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)(?:\.jpg)?(?:\.chip)?\.(?:jpe?g|png|webp)", re.IGNORECASE)
_IMAGE = re.compile(r".*\.(?:jpe?g|png|webp)", re.IGNORECASE)
MAX_LABEL = 116
SPLITS = ("train", "val", "test")

FRAME_SIZE = 200  # the template frame at its native size ...
FRAME_MARGIN = 12  # ... and surroundings for affine augmentation


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image. `gender` 0-1 and `ethnicity` 0-4 are UTKFace's codes."""

    path: Path
    age: int
    gender: int
    ethnicity: int

    @property
    def name(self) -> str:
        return self.path.name


def parse_name(path: Path) -> Sample | None:
    """The sample that a UTKFace file name describes, or None when it is malformed."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[1]) > MAX_LABEL:
        return None
    return Sample(path, int(match[1]), int(match[2]), int(match[3]))


def read_utkface(source: Path, cache: Path) -> tuple[list[Sample], list[str]]:
    """Samples of a UTKFace archive or folder (searched recursively), and the malformed names.

    An archive is unpacked once, under `cache`. Raises `DataError`.
    """
    folder = source if source.is_dir() else _unpacked(source, cache)
    samples, malformed = [], []
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not _IMAGE.fullmatch(name):
                continue
            sample = parse_name(Path(root) / name)
            if sample is None:
                malformed.append(name)
            else:
                samples.append(sample)
    if not samples:
        raise DataError(f"{source}: no image named age_gender_ethnicity_timestamp.jpg in it")
    return samples, malformed


def _unpacked(archive: Path, cache: Path) -> Path:
    if not archive.is_file():
        raise DataError(f"{archive}: no such archive or folder")
    stat = archive.stat()
    key = hashlib.sha256(f"{archive.resolve()}:{stat.st_size}:{stat.st_mtime_ns}".encode())
    target = cache / f"unpacked-{key.hexdigest()[:16]}"
    if target.is_dir():
        return target
    partial = target.with_name(target.name + f".part{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{archive}: not a readable tar archive ({error})") from error
    partial.replace(target)
    return target


def read_splits(path: Path) -> dict[str, str]:
    """File name to split from a `file,...,split` CSV. Raises `DataError`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            splits = {row["file"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a splits file with columns file and split ({error})") from error
    unknown = sorted(set(splits.values()) - set(SPLITS))
    if unknown:
        raise DataError(f"{path}: unknown split {unknown[0]!r} (known: {', '.join(SPLITS)})")
    return splits


# --- aligned faces of a data set -------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFaces:
    """Aligned images of the samples that have a detection, and the names of those that have none."""

    samples: list[Sample]
    crops: ImageArray  # (N, side, side, 3) uint8 RGB
    missed: list[str]


_worker_detector: Detector | None = None


def _start_worker(detector: DetectorFile) -> None:
    global _worker_detector
    import cv2

    cv2.setNumThreads(1)
    _worker_detector = Detector(detector)


def _align_one(task: tuple[str, int, int]) -> ImageArray | None:
    path, size, margin = task
    assert _worker_detector is not None
    try:
        photo = decode_photo(path)
    except DecodeError:
        return None
    subject = pick_subject(_worker_detector.detect(photo.rgb), photo.width, photo.height)
    if subject is None:
        return None
    try:
        return align_crop(photo.rgb, subject.landmarks, size, margin)
    except ValueError:
        return None


def align_samples(
    samples: Sequence[Sample],
    detector: DetectorFile,
    *,
    size: int,
    margin: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> AlignedFaces:
    """Detect and align the subject of every sample, in worker processes, as a scan would."""
    kept, crops, missed = [], [], []
    tasks = [(str(sample.path), size, margin) for sample in samples]
    with ProcessPoolExecutor(
        workers or os.cpu_count(), get_context("spawn"), _start_worker, (detector,)
    ) as pool:
        for sample, crop in zip(samples, pool.map(_align_one, tasks, chunksize=16), strict=True):
            if crop is None:
                missed.append(sample.name)
            else:
                kept.append(sample)
                crops.append(crop)
            progress(len(kept) + len(missed))
    side = size + 2 * margin
    stacked = np.stack(crops) if crops else np.empty((0, side, side, 3), dtype=np.uint8)
    return AlignedFaces(kept, stacked, missed)


def cached_faces(
    samples: Sequence[Sample],
    detector: DetectorFile,
    cache: Path,
    *,
    size: int,
    margin: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> AlignedFaces:
    """`align_samples`, computed once per data set, detector and geometry, and memory-mapped."""
    identity = hashlib.sha256()
    for part in (detector.sha256, TEMPLATE_VERSION, str(size), str(margin)):
        identity.update(part.encode())
    for sample in samples:
        identity.update(f"{sample.path}:{sample.path.stat().st_size}\n".encode())
    stem = cache / f"aligned-{identity.hexdigest()[:16]}"
    array_path, index_path = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not index_path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        faces = align_samples(
            samples, detector, size=size, margin=margin, workers=workers, progress=progress
        )
        np.save(array_path, faces.crops, allow_pickle=False)
        # The index is written last: without it, the array counts as absent.
        partial = index_path.with_suffix(".part")
        partial.write_text(json.dumps({"missed": faces.missed}))
        partial.replace(index_path)
    missed = set(json.loads(index_path.read_text())["missed"])
    crops = np.load(array_path, mmap_mode="r", allow_pickle=False)
    return AlignedFaces([s for s in samples if s.name not in missed], crops, sorted(missed))


def labels_of(samples: Iterable[Sample]) -> dict[str, FloatArray | Any]:
    """Ages (N,) float32, genders (N,) int64 and ethnicities (N,) int64."""
    rows = list(samples)
    return {
        "age": np.array([s.age for s in rows], dtype=np.float32),
        "gender": np.array([s.gender for s in rows], dtype=np.int64),
        "ethnicity": np.array([s.ethnicity for s in rows], dtype=np.int64),
    }
