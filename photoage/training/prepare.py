"""From `--data` to what a training run sees: sources read, divided into splits, aligned once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from photoage.errors import DataError
from photoage.faces.detector_files import default_detector
from photoage.files import file_sha256
from photoage.training.dataset import (
    FRAME_MARGIN,
    FRAME_SIZE,
    AlignedFaces,
    Sample,
    StoredCrops,
    cached_faces,
    joined,
)
from photoage.training.sources import Source, read_sources
from photoage.training.splits import complete_split, find_groups, read_splits, write_splits


@dataclass(frozen=True, slots=True)
class DataJob:
    """Where labelled images are, and the splits of those that do not bring their own.

    `own_splits` is where a split is written that has to be made, and with `resume` read from.
    """

    data: tuple[Path, ...]
    cache: Path
    splits: Path | None
    own_splits: Path
    resume: bool = False
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class AlignProgress:
    """How far the detection of a set of images is; it is done once per data set."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class PreparedData:
    """Training frames with surroundings, validation crops of any size, and what they are, JSON-ready."""

    training: AlignedFaces
    validation: Callable[[int], AlignedFaces]
    info: dict[str, Any]


def given_splits(samples: Sequence[Sample], listed: Mapping[str, str]) -> dict[str, str]:
    """The splits by key of the samples that have one: from their own labels, else as `listed`."""
    found = {s.key: s.split or listed.get(s.key) or listed.get(s.name, "") for s in samples}
    return {key: split for key, split in found.items() if split}


def prepare(
    job: DataJob,
    notice: Callable[[str], None],
    progress: Callable[[AlignProgress], None],
) -> PreparedData:
    """Read, divide and align. `notice` gets one-line texts for the user. Raises `PhotoageError`."""
    sources = read_sources(job.data, job.cache)
    _tell_malformed(sources, notice)
    detector = default_detector()

    def aligned(samples: list[Sample], size: int, margin: int = 0) -> AlignedFaces:
        return cached_faces(
            samples,
            detector,
            job.cache,
            size=size,
            margin=margin,
            workers=job.workers,
            progress=lambda done: progress(AlignProgress(done, len(samples))),
        )

    splits, everyone = _divide(
        sources, job, lambda samples: aligned(samples, FRAME_SIZE, FRAME_MARGIN), notice
    )
    training, validating = [], []
    for source in sources:
        by_split = {
            split: [sample for sample in source.samples if splits.get(sample.key) == split]
            for split in ("train", "val")
        }
        if source.path in everyone:
            frames = everyone[source.path]
            training.append(_chosen(frames, lambda sample: splits[sample.key] == "train"))
        elif by_split["train"]:
            training.append(aligned(by_split["train"], FRAME_SIZE, FRAME_MARGIN))
        if by_split["val"]:
            validating.append(by_split["val"])
    for kind, found in (("train", training), ("val", validating)):
        if not found:
            raise DataError(f"{job.splits or job.data[0]}: no image of the data is in the split {kind}")
    faces = joined(training)
    if faces.missed:
        notice(f"{len(faces.missed)} training images without a detection skipped: {first_few(faces.missed)}")
    made = job.own_splits if everyone else None
    files = [path for path in (job.splits, made) if path is not None]
    counts = Counter(sample.set for samples in validating for sample in samples)
    info = {
        "sets": {
            name: {"train": count, "val": counts[name]}
            for name, count in Counter(sample.set for sample in faces.samples).items()
        },
        "splits": ", ".join(path.name for path in files),
        "splits_sha256": ", ".join(map(file_sha256, files)),
        "detector": detector.name,
        "malformed": sum(len(source.malformed) for source in sources),
        "missed": len(faces.missed),
        "train": len(faces.samples),
        "val": counts.total(),
    }
    return PreparedData(faces, lambda size: joined([aligned(samples, size) for samples in validating]), info)


def validation_data(
    job: DataJob, notice: Callable[[str], None]
) -> tuple[Callable[[int], AlignedFaces], dict[str, Any]]:
    """The validation crops of any size, and what the data is, JSON-ready; no split is made.

    Raises `PhotoageError`, also for data of which no image is in a split.
    """
    sources = read_sources(job.data, job.cache)
    _tell_malformed(sources, notice)
    samples = [sample for source in sources for sample in source.samples]
    splits = given_splits(samples, {} if job.splits is None else read_splits(job.splits))
    chosen = [[s for s in source.samples if splits.get(s.key) == "val"] for source in sources]
    chosen = [part for part in chosen if part]
    if not chosen:
        raise DataError(f"{job.splits or job.data[0]}: no image of the data is in the split val")
    detector = default_detector()
    counts = Counter((sample.set, splits.get(sample.key)) for sample in samples)
    names = dict.fromkeys(sample.set for sample in samples)
    info = {
        "sets": {name: {split: counts[name, split] for split in ("train", "val")} for name in names},
        "splits": "" if job.splits is None else job.splits.name,
        "splits_sha256": "" if job.splits is None else file_sha256(job.splits),
        "detector": detector.name,
        "train": sum(count for (_, split), count in counts.items() if split == "train"),
        "val": sum(map(len, chosen)),
    }

    def validation(size: int) -> AlignedFaces:
        parts = [cached_faces(part, detector, job.cache, size=size, workers=job.workers) for part in chosen]
        return joined(parts)

    return validation, info


def _tell_malformed(sources: Sequence[Source], notice: Callable[[str], None]) -> None:
    for source in sources:
        if source.malformed:
            count, names = len(source.malformed), first_few(source.malformed)
            notice(f"{source.path}: {count} images without a usable label skipped: {names}")


def _divide(
    sources: Sequence[Source],
    job: DataJob,
    frames: Callable[[list[Sample]], AlignedFaces],
    notice: Callable[[str], None],
) -> tuple[dict[str, str], dict[Path, AlignedFaces]]:
    """The split of every sample that is used, by key, and the frames of the sources that had none."""
    # A run that is resumed goes on with the split it began with, whatever was added to the data.
    made = read_splits(job.own_splits) if job.resume and job.own_splits.is_file() else {}
    table = read_splits(job.splits) if job.splits is not None else {}
    samples = [sample for source in sources for sample in source.samples]
    given = given_splits(samples, made | table)
    in_table = {sample.key for sample in samples if sample.key in table or sample.name in table}
    if unused := len(table) - len(in_table):
        notice(f"{unused} images of {job.splits} are not in the data")
    everyone: dict[Path, AlignedFaces] = {}
    for source in sources:
        without = sum(sample.key not in given for sample in source.samples)
        if without and (made or any(sample.key in in_table for sample in source.samples)):
            notice(
                f"{source.path}: {without} images are not in {job.splits or job.own_splits} and were left out"
            )
        elif without:
            everyone[source.path] = frames(source.samples)
    if not everyone:
        return given, {}
    groups = find_groups(samples, joined(list(everyone.values())))
    splits = complete_split(samples, groups, given)
    undivided = {sample.key for source in sources if source.path in everyone for sample in source.samples}
    rows = [row for row, sample in enumerate(samples) if sample.key in undivided]
    job.own_splits.parent.mkdir(parents=True, exist_ok=True)
    write_splits(job.own_splits, [samples[row] for row in rows], splits, [groups[row] for row in rows])
    count = len({groups[row] for row in rows})
    notice(
        f"{job.own_splits}: split made of {count} groups of people and duplicates among {len(rows)} images"
    )
    return {key: split for key, split in splits.items() if key in undivided or key in given}, everyone


def _chosen(faces: AlignedFaces, keep: Callable[[Sample], bool]) -> AlignedFaces:
    """Some of the faces of a cache; their pixels stay on disk."""
    assert isinstance(faces.crops, StoredCrops)
    rows = np.array([row for row, sample in enumerate(faces.samples) if keep(sample)], dtype=np.intp)
    crops = StoredCrops(faces.crops.path, faces.crops.rows[rows])
    spans = None if faces.spans is None else faces.spans[rows]
    return AlignedFaces([faces.samples[row] for row in rows], crops, faces.missed, spans)


def first_few(names: list[str], most: int = 10) -> str:
    """The first few of many names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
