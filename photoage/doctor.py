"""What is installed and really used: each check looks at the living thing, not at what should be there."""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from photoage import __version__

Status = Literal["ok", "warning", "fault"]

# All of these install the same `onnxruntime` package folder and overwrite each other's files.
_ORT = re.compile(r"onnxruntime(-(gpu|directml|openvino|qnn|rocm|migraphx|training|silicon|azure))?")
_WANTED_ORT = "onnxruntime" if sys.platform == "darwin" else "onnxruntime-gpu"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `remedy` holds commands to run; `values` are the facts, ready for JSON."""

    name: str
    status: Status
    detail: str
    remedy: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


def examine(database: str | None = None) -> Iterator[Check]:
    """Run every check. A check that breaks is itself a fault; nothing is raised."""
    checks: tuple[tuple[str, Callable[[], Iterable[Check]]], ...] = (
        ("photoage", check_versions),
        ("onnxruntime", check_onnxruntime),
        ("detector session", check_detector_session),
        ("torch", check_torch),
        ("HEIC", check_heic),
        ("AVIF", check_avif),
        ("database", lambda: check_database(database)),
        ("models", check_models),
    )
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - whatever breaks here is what the user must hear about
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Check(name, "fault", cause)


def check_versions() -> Iterator[Check]:
    system = f"{platform.system()} {platform.machine()}"
    values = {"photoage": __version__, "python": platform.python_version(), "executable": sys.executable}
    yield Check(
        "photoage", "ok", f"{__version__}, Python {platform.python_version()} on {system}", values=values
    )


# --- onnxruntime and the GPU -----------------------------------------------------------------


def onnxruntime_distributions(path: list[str] | None = None) -> dict[str, str]:
    """Installed ONNX Runtime distributions, name to version; more than one break each other."""
    found = metadata.distributions(path=path) if path is not None else metadata.distributions()
    names = ((re.sub(r"[-_.]+", "-", d.metadata["Name"] or "").lower(), d.version) for d in found)
    return dict(sorted((name, version) for name, version in names if _ORT.fullmatch(name)))


def check_onnxruntime(path: list[str] | None = None) -> Iterator[Check]:
    installed = onnxruntime_distributions(path)
    text = ", ".join(f"{name} {version}" for name, version in installed.items())
    values = {"distributions": installed}
    if len(installed) == 1:
        yield Check("onnxruntime", "ok", text, values=values)
    elif installed:
        detail = f"{text}: these overwrite each other's files; exactly one may be installed"
        yield Check("onnxruntime", "fault", detail, onnxruntime_remedy(installed), values)
    else:
        yield Check("onnxruntime", "fault", "not installed", onnxruntime_remedy(installed), values)


def onnxruntime_remedy(installed: Iterable[str]) -> tuple[str, ...]:
    """The commands that leave exactly the ONNX Runtime distribution that this platform wants.

    All are removed first: uninstalling only one would take files away from the other.
    """
    required = [text.split(";")[0].strip() for text in metadata.requires("photoage-cli") or []]
    wanted = next((r for r in required if re.match(rf"{_WANTED_ORT}(?![\w-])", r)), _WANTED_ORT)
    remove = _pip("uninstall", "-y", *installed)
    return (*((remove,) if installed else ()), _pip("install", wanted))


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def check_detector_session() -> Iterator[Check]:
    """The providers that live sessions of the default detector got."""
    import onnxruntime

    from photoage.errors import DeviceError
    from photoage.faces.detector import Detector, cuda_driver_present
    from photoage.faces.detector_files import default_detector

    offered = list(onnxruntime.get_available_providers())
    file = default_detector()
    got = Detector(file).providers
    gpu = cuda_driver_present()
    if gpu:
        # Without a driver there is nothing to try, and onnxruntime would only fill stderr.
        try:
            got = Detector(file, device="cuda").providers
        except DeviceError as error:
            values = {"offered": offered, "providers": got, "gpu": True}
            detail = f"runs on the CPU although there is an NVIDIA GPU: {error}"
            remedy = onnxruntime_remedy(onnxruntime_distributions())
            yield Check("detector session", "fault", detail, remedy, values)
            return
    values = {"offered": offered, "providers": got, "gpu": gpu}
    where = ", ".join(got) if gpu else f"{', '.join(got)} (no NVIDIA GPU on this machine)"
    yield Check("detector session", "ok", where, values=values)


def check_torch() -> Iterator[Check]:
    import torch

    from photoage.ages.predictor import autocast_dtype, choose_device, device_problem
    from photoage.faces.detector import cuda_driver_present

    device = choose_device("auto")
    precision = str(autocast_dtype(device) or torch.float32).removeprefix("torch.")
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    values = {"version": torch.__version__, "device": device.type, "name": name, "precision": precision}
    detail = f"{torch.__version__}, device {device.type} ({name}, {precision})"
    if device.type == "cpu" and cuda_driver_present():
        detail += f": cannot use this machine's NVIDIA GPU (built for CUDA {torch.version.cuda})"
        remedy = (_pip("install", "--force-reinstall", "torch", "torchvision"),)
        yield Check("torch", "fault", detail, remedy, values)
    elif (problem := device_problem(device)) is not None:
        remedy = (_pip("install", "--force-reinstall", "torch", "torchvision"),)
        yield Check("torch", "fault", f"{detail}: {problem}", remedy, values)
    else:
        yield Check("torch", "ok", detail, values=values)


# --- photo formats ---------------------------------------------------------------------------


def check_heic() -> Iterator[Check]:
    import pillow_heif

    info = pillow_heif.libheif_info()
    decoders = sorted(info["decoders"])
    values = {"pillow_heif": pillow_heif.__version__, "libheif": info["libheif"], "decoders": decoders}
    detail = f"pillow-heif {pillow_heif.__version__}, libheif {info['libheif']}"
    if decoders:
        yield Check("HEIC", "ok", f"{detail} ({', '.join(decoders)})", values=values)
    else:
        remedy = (_pip("install", "--force-reinstall", "--no-deps", "pillow-heif"),)
        yield Check("HEIC", "fault", f"{detail}: has no HEVC decoder", remedy, values)


def check_avif() -> Iterator[Check]:
    import PIL
    from PIL import features

    supported = bool(features.check("avif"))
    values = {"pillow": PIL.__version__, "avif": supported}
    if supported:
        version = features.version("avif")
        yield Check("AVIF", "ok", f"Pillow {PIL.__version__}, libavif {version}", values=values)
    else:
        remedy = (_pip("install", "--force-reinstall", "--no-deps", "pillow"),)
        yield Check("AVIF", "warning", f"Pillow {PIL.__version__} was built without AVIF", remedy, values)


# --- database --------------------------------------------------------------------------------


def check_database(database: str | None) -> Iterator[Check]:
    """Where the database is, whether this photoage can work with it, and what it lies on."""
    from photoage.database.connect import (
        current_revision,
        database_file,
        database_name,
        database_url,
        open_database,
    )
    from photoage.errors import DatabaseError

    url = database_url(database)
    file, name = database_file(url), database_name(url)
    values: dict[str, Any] = {"database": name, "exists": file is None or file.exists()}
    if not values["exists"]:
        yield Check("database", "ok", f"{name}: none yet; `photoage scan` makes it", values=values)
    else:
        try:
            engine = open_database(database, read_only=True)
            try:
                values["schema"] = current_revision(engine)
            finally:
                engine.dispose()
        except DatabaseError as error:
            yield Check("database", "fault", str(error), values=values)
        else:
            yield Check("database", "ok", f"{name}: schema {values['schema']}, up to date", values=values)
    if file is not None:
        yield check_file_system(file)


def check_file_system(path: Path) -> Check:
    """Whether SQLite's locks can be trusted where `path` lies."""
    from photoage.filesystem import filesystem_type, is_network

    fstype = filesystem_type(path)
    values = {"type": fstype, "network": is_network(fstype)}
    if is_network(fstype):
        detail = (
            f"{path} is on a network file system ({fstype}), where SQLite can be damaged;"
            " put it on a local disk (PHOTOAGE_DB)"
        )
        return Check("database file system", "warning", detail, values=values)
    return Check("database file system", "ok", fstype or "unknown", values=values)


# --- models ----------------------------------------------------------------------------------


def check_models(weights: Path | None = None) -> Iterator[Check]:
    """Every model file against its known sha256."""
    from photoage.models import WEIGHTS, known_models

    for model in known_models(weights or WEIGHTS):
        values = {"kind": model.kind, "path": str(model.path) if model.path else None}
        if problem := model.problem():
            yield Check(f"model {model.name}", "fault", problem, values=values)
        else:
            state = "sha256 as known" if model.known_sha256 else "no sha256 known for it"
            yield Check(f"model {model.name}", "ok", f"{model.path} ({state})", values=values)
