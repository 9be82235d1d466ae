"""What `--data` names: UTKFace, or a folder or archive of photos with a `labels.csv`.

`labels.csv` has the columns `file` and `age` (years), or `age_low` and `age_high` where only a range is
known; `person`, `set` and `split` where they are known. docs/training.md describes it for users.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from photoage.errors import DataError
from photoage.training.dataset import MAX_LABEL, Sample, read_utkface, unpacked
from photoage.training.splits import SPLITS

LABELS = "labels.csv"
# An age in whole years covers a year, but counts as the number that it is, as UTKFace's do: otherwise a
# model that learns from both would be half a year too old for people's own count.
WHOLE_YEAR = 1.0
IMAGES = "images"  # the folder beside `labels.csv` where `file` may lie as well


@dataclass(frozen=True, slots=True)
class Source:
    """The labelled images of one folder or archive, and what has no label: names, with the reason."""

    path: Path
    samples: list[Sample]
    malformed: list[str]


def read_sources(paths: Sequence[Path], cache: Path) -> list[Source]:
    """Raises `DataError`, also when two of them give different images the same name."""
    sources = [read_source(path, cache) for path in paths]
    seen: dict[tuple[str, str], Path] = {}
    for source in sources:
        for sample in source.samples:
            first = seen.setdefault((sample.set, sample.name), source.path)
            if first != source.path:
                raise DataError(f"{source.path}: {sample.set} {sample.name} is in {first} as well")
    return sources


def read_source(path: Path, cache: Path) -> Source:
    """A folder, or an archive that is unpacked once, under `cache`. Raises `DataError`."""
    labels = _labels_of(unpacked(path, cache))
    if labels is None:
        return Source(path, *read_utkface(path, cache))
    name = path.name.removesuffix(".gz").removesuffix(".tar") if path.is_file() else path.resolve().name
    samples, malformed = read_labels(labels, name)
    if not samples:
        cause = f" (first: {malformed[0]})" if malformed else ""
        raise DataError(f"{labels}: no usable row in it{cause}")
    return Source(path, samples, malformed)


def _labels_of(folder: Path) -> Path | None:
    """The `labels.csv` in a folder, or in the only one of its folders that has one."""
    if (folder / LABELS).is_file():
        return folder / LABELS
    inside = sorted(folder.glob(f"*/{LABELS}"))
    if len(inside) > 1:
        raise DataError(f"{folder}: several folders in it have a {LABELS}; name each apart in `data`")
    return inside[0] if inside else None


def read_labels(path: Path, name: str) -> tuple[list[Sample], list[str]]:
    """Samples of a `labels.csv`, and its unusable rows with their lines and what is wrong with them.

    `name` is the set of rows that name none. Raises `DataError` when the file is no such table.
    """
    samples: dict[str, Sample] = {}
    unusable = []
    for line, row in _rows(path):
        file = row.get("file", "")
        try:
            if file in samples:
                raise ValueError("is listed above as well")
            samples[file] = _sample(path.parent, row, name)
        except ValueError as error:
            unusable.append(f"{file or LABELS} (line {line}: {error})")
    return list(samples.values()), unusable


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = set(table.fieldnames or ())
            if "file" not in columns or not ("age" in columns or {"age_low", "age_high"} <= columns):
                raise DataError(f"{path}: has no columns file and age (or age_low and age_high)")
            for row in table:
                texts = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
                yield table.line_num, texts
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a table in UTF-8 with commas ({error})") from error


def _sample(folder: Path, row: dict[str, str], name: str) -> Sample:
    """Raises `ValueError` that says what is wrong with the row."""
    file = row["file"]
    if not file or "\0" in file:
        raise ValueError("names no file")
    image = next((path for path in (folder / file, folder / IMAGES / file) if path.is_file()), None)
    if image is None:
        raise ValueError("there is no such file")
    split = row.get("split", "")
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    age, span = _age(row)
    return Sample(
        image,
        age,
        span=span,
        set=row.get("set") or name,
        person=row.get("person", ""),
        split=split,
        file=file,
    )


def _age(row: dict[str, str]) -> tuple[float, tuple[float, float] | None]:
    age, low, high = (_years(row, column) for column in ("age", "age_low", "age_high"))
    if (low is None) != (high is None):
        raise ValueError("has one of age_low and age_high without the other")
    if low is None or high is None:
        if age is None:
            raise ValueError("has no age")
        return age, None
    age = (low + high) / 2 if age is None else age
    if not low <= age <= high:
        raise ValueError(f"age {age:g} is not within {low:g} to {high:g}")
    if age == low and high - low <= WHOLE_YEAR:
        return age, None
    return age, (low, high)


def _years(row: dict[str, str], column: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_LABEL:  # nor is NaN in there
        raise ValueError(f"{column} {text!r} is not a number of years from 0 to {MAX_LABEL}")
    return value
