"""Labelled face images: UTKFace's names, and the cache of aligned frames.

Every image goes through `faces.read.read_photo`, the very function that a scan uses.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from photoage.errors import DataError, DecodeError
from photoage.faces.detector_files import DetectorFile
from photoage.faces.read import ReadOptions, read_photo
from photoage.faces.strata import span, strata
from photoage.files import replacing_path, write_whole
from photoage.machine import available_cores
from photoage.pool import PhotoPool
from photoage.records import TEMPLATE_VERSION, Detection, FloatArray, ImageArray

# age_gender_ethnicity_timestamp.jpg.chip.jpg, as the UTKFace page describes it.
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)(?:\.jpg)?(?:\.chip)?\.(?:jpe?g|png|webp)", re.IGNORECASE)
_IMAGE = re.compile(r".*\.(?:jpe?g|png|webp)", re.IGNORECASE)
MAX_LABEL = 116
GENDERS, ETHNICITIES = 2, 5  # codes in the names: 0-1 and 0-4

FRAME_SIZE = 200  # the template frame at its native size ...
FRAME_MARGIN = 12  # ... and surroundings for affine augmentation


UTKFACE = "utkface"  # the set of images that are named in UTKFace's style
UNKNOWN = -100  # a code that torch's losses leave out


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of the set that figures are given for, `set`.

    `age` in years; `span` the lowest and the highest age that it may be, where that is all that is known.
    `gender` 0-1 and `ethnicity` 0-4 are UTKFace's codes. `file` is what the data calls the image, by default
    its name; `person` and `split` are empty where the data does not say.
    """

    path: Path
    age: float
    gender: int = UNKNOWN
    ethnicity: int = UNKNOWN
    span: tuple[float, float] | None = None
    set: str = UTKFACE
    person: str = ""
    split: str = ""
    file: str = ""

    @property
    def name(self) -> str:
        return self.file or self.path.name

    @property
    def key(self) -> str:
        """What a splits file calls the image: its name, and the set before it where it is not UTKFace."""
        return self.name if self.set == UTKFACE else f"{self.set}/{self.name}"

    @property
    def bounds(self) -> tuple[float, float]:
        return self.span or (self.age, self.age)


def parse_name(path: Path) -> Sample | None:
    """The sample that a UTKFace file name describes, or None when it is malformed."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[1]) > MAX_LABEL:
        return None
    return Sample(path, int(match[1]), int(match[2]), int(match[3]))


def read_utkface(source: Path, cache: Path) -> tuple[list[Sample], list[str]]:
    """Samples of a UTKFace archive or folder (searched recursively), and the malformed names.

    An archive is unpacked once, under `cache`. Raises `DataError`, also when two images have the
    same name, because splits know an image by its name.
    """
    folder = unpacked(source, cache)
    samples: dict[str, Sample] = {}
    malformed = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not _IMAGE.fullmatch(name) or name.startswith("._"):  # what macOS leaves in archives
                continue
            sample = parse_name(Path(root) / name)
            if sample is None:
                malformed.append(name)
            elif name in samples:
                raise DataError(f"{sample.path}: has the same name as {samples[name].path}")
            else:
                samples[name] = sample
    if not samples:
        raise DataError(f"{source}: no image named age_gender_ethnicity_timestamp.jpg in it")
    return list(samples.values()), malformed


def unpacked(archive: Path, cache: Path) -> Path:
    """The folder that an archive is unpacked to, once, under `cache`; a folder is that itself.

    Raises `DataError`.
    """
    if archive.is_dir():
        return archive
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
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        shutil.rmtree(partial, ignore_errors=True)
        cause = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise DataError(f"{archive}: not a readable tar archive ({cause})") from error
    partial.replace(target)
    return target


# --- aligned faces of a data set -------------------------------------------------------------

CACHE_VERSION = "2"  # of what is kept with the crops
ALIGN_TIMEOUT = 120.0  # seconds for one image, the start of a worker included


class Crops(Protocol):
    """(N, side, side, 3) uint8 RGB images, in memory or on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int | slice, /) -> ImageArray: ...


class StoredCrops:
    """Some rows of an (N, side, side, 3) uint8 `.npy` file, read when they are asked for."""

    def __init__(self, path: Path, rows: npt.NDArray[np.intp]) -> None:
        self.path, self.rows = path, rows
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice) -> ImageArray:
        return np.asarray(self._array[self.rows[index]])

    def __reduce__(self) -> tuple[type[StoredCrops], tuple[Path, npt.NDArray[np.intp]]]:
        # A loader process maps the file itself; the pixels do not travel.
        return StoredCrops, (self.path, self.rows)


class JoinedCrops:
    """The rows of several crops of one size, one after the other."""

    def __init__(self, parts: Sequence[Crops]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | slice) -> ImageArray:
        if isinstance(index, slice):
            return np.stack([self[row] for row in range(*index.indices(len(self)))])
        part = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[part]) - len(self.parts[part])
        return self.parts[part][index - start]


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFaces:
    """Aligned images of the samples that have a detection, and the names of those that have none.

    An image that cannot be read counts as one without a detection, as in a scan. `spans` (N,) are the
    pixels of the photo that each crop spans, where they are known.
    """

    samples: list[Sample]
    crops: Crops
    missed: list[str]
    spans: FloatArray | None = None

    @property
    def strata(self) -> npt.NDArray[np.intp]:
        """(N,) what calibration tells apart of the faces."""
        return np.zeros(len(self.samples), np.intp) if self.spans is None else strata(self.spans)


def joined(several: Sequence[AlignedFaces]) -> AlignedFaces:
    """The faces of several data sets as those of one."""
    if len(several) == 1:
        return several[0]
    samples = [sample for faces in several for sample in faces.samples]
    missed = [name for faces in several for name in faces.missed]
    spans = [faces.spans for faces in several if faces.spans is not None]
    known = np.concatenate(spans) if len(spans) == len(several) and spans else None
    return AlignedFaces(samples, JoinedCrops([faces.crops for faces in several]), missed, known)


def align_subject(path: str, options: ReadOptions) -> tuple[ImageArray, float] | None:
    """The crop of the face that a data-set image is about, and its span. Raises `DecodeError`."""
    read = read_photo(path, options)
    found = read.faces.detections
    subject = pick_subject(found, read.faces.width, read.faces.height)
    return None if subject is None else (read.crops[found.index(subject)], span(subject.landmarks))


def align_samples(
    samples: Sequence[Sample],
    detector: DetectorFile,
    *,
    size: int,
    margin: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> AlignedFaces:
    """Detect and align the subject of every sample, in worker processes, as a scan does."""
    side = size + 2 * margin
    crops = np.empty((len(samples), side, side, 3), dtype=np.uint8)
    spans = _align_into(crops, samples, ReadOptions(detector, size, margin=margin), workers, progress)
    missed = [sample.name for sample, width in zip(samples, spans, strict=True) if not width]
    kept = [sample for sample, width in zip(samples, spans, strict=True) if width]
    return AlignedFaces(kept, crops[: len(kept)], missed, spans[spans > 0])


def _align_into(
    crops: ImageArray,
    samples: Sequence[Sample],
    options: ReadOptions,
    workers: int | None,
    progress: Callable[[int], None],
) -> FloatArray:
    """Fill the first rows of `crops` with the faces found; returns their spans, 0 for samples without one.

    Raises `DataError` when no sample has.
    """
    spans = np.zeros(len(samples), dtype=np.float32)
    failure: DecodeError | None = None
    with PhotoPool(workers or available_cores(), timeout=ALIGN_TIMEOUT) as pool:
        outcomes = pool.run(align_subject, range(len(samples)), lambda row: (str(samples[row].path), options))
        for done, outcome in enumerate(outcomes, 1):
            if outcome.value is not None:
                crops[outcome.task], spans[outcome.task] = outcome.value
            failure = failure or outcome.failure
            progress(done)
    if not spans.any():
        cause = f" (first error: {failure})" if failure else ""
        raise DataError(f"no face was found in any of the {len(samples)} images{cause}")
    for target, row in enumerate(np.flatnonzero(spans)):
        if target != row:
            crops[target] = crops[row]
    return spans


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
    """`align_samples`, computed once per data set, detector and geometry, and read from disk."""
    identity = hashlib.sha256()
    for part in (CACHE_VERSION, detector.sha256, TEMPLATE_VERSION, str(size), str(margin)):
        identity.update(part.encode())
    for sample in samples:
        identity.update(f"{sample.path}:{sample.path.stat().st_size}\n".encode(errors="surrogateescape"))
    stem = cache / f"aligned-{identity.hexdigest()[:16]}"
    array_path, index_path = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not index_path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        side = size + 2 * margin
        with replacing_path(array_path) as partial:
            array = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(samples), side, side, 3))
            spans = _align_into(array, samples, ReadOptions(detector, size, margin=margin), workers, progress)
            array.flush()
        # The index is written last: without it, the array counts as absent.
        missing = [sample.name for sample, width in zip(samples, spans, strict=True) if not width]
        found = [round(float(width), 1) for width in spans if width]
        write_whole(str(index_path), json.dumps({"missed": missing, "spans": found}).encode())
    index = json.loads(index_path.read_text())
    missed = set(index["missed"])
    kept = [sample for sample in samples if sample.name not in missed]
    crops = StoredCrops(array_path, np.arange(len(kept)))
    return AlignedFaces(kept, crops, sorted(missed), np.array(index["spans"], dtype=np.float32))


def labels_of(samples: Iterable[Sample]) -> dict[str, FloatArray | Any]:
    """Ages, and the lowest and highest they may be, (N,) float32; genders and ethnicities (N,) int64."""
    rows = list(samples)
    return {
        "age": np.array([s.age for s in rows], dtype=np.float32),
        "low": np.array([s.bounds[0] for s in rows], dtype=np.float32),
        "high": np.array([s.bounds[1] for s in rows], dtype=np.float32),
        "gender": np.array([s.gender for s in rows], dtype=np.int64),
        "ethnicity": np.array([s.ethnicity for s in rows], dtype=np.int64),
    }


def pick_subject(detections: Sequence[Detection], width: int, height: int) -> Detection | None:
    """The face a data-set image is about: the largest one, discounted by distance from the centre."""

    def weight(face: Detection) -> float:
        x1, y1, x2, y2 = face.bbox
        off = ((x1 + x2) / 2 - width / 2) ** 2 + ((y1 + y2) / 2 - height / 2) ** 2
        return (x2 - x1) * (y2 - y1) - 2.0 * off

    return max(detections, key=weight, default=None)
