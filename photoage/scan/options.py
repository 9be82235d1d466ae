"""The choices of a scan, what it works with, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photoage.ages.checkpoint import CheckpointInfo, read_checkpoint_info
from photoage.faces.detector import cuda_driver_present
from photoage.faces.detector_files import DetectorFile, resolve_detector
from photoage.files import file_sha256
from photoage.models import default_checkpoint
from photoage.photos.decode import DecodeOptions
from photoage.photos.walk import WalkOptions
from photoage.pool import PHOTO_TIMEOUT
from photoage.records import DetectOptions

if TYPE_CHECKING:
    from photoage.records import RunCounts


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """All choices of a scan, recorded with its run."""

    detect: DetectOptions = DetectOptions()
    walk: WalkOptions = WalkOptions()
    max_pixels: int = DecodeOptions().max_pixels
    detector: str | None = None
    checkpoint: str | None = None
    offline: bool = False
    device: str = "auto"
    precision: str = "auto"
    require_gpu: bool = False
    workers: int | None = None
    batch_size: int = 32
    photo_timeout: float = PHOTO_TIMEOUT
    force: bool = False
    retry_errors: bool = False
    checksum: bool = False
    limit: int | None = None
    prune: bool = False
    engine: str = "local"  # or `ray`
    ray_address: str | None = None  # None: a Ray of its own, on this machine
    gpus_per_actor: float = 1.0

    def recorded(self) -> dict[str, Any]:
        """The options as JSON-ready values for the scan run's row."""
        return {
            key: value if isinstance(value, (str, int, float, bool, dict, type(None))) else str(value)
            for key, value in asdict(self).items()
        }


@dataclass(slots=True)
class ScanSummary:
    """What a scan did. `warnings` are one-line texts for the user."""

    run_id: int
    counts: RunCounts
    interrupted: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ScanModels:
    """The files that a scan works with."""

    detector: DetectorFile
    checkpoint: Path
    info: CheckpointInfo

    @property
    def checkpoint_sha256(self) -> str:
        return file_sha256(self.checkpoint)


def resolve_models(options: ScanOptions) -> ScanModels:
    """Find and verify detector and checkpoint. Raises `DetectorError` or `CheckpointError`."""
    checkpoint = Path(options.checkpoint) if options.checkpoint else default_checkpoint()
    detector = resolve_detector(options.detector, offline=options.offline)
    return ScanModels(detector, checkpoint, read_checkpoint_info(checkpoint))


def scan_device(options: ScanOptions, detector: DetectorFile) -> str:
    """`cpu` or `cuda`, for detection and estimation alike.

    Raises `DeviceError` when a GPU is required and either library cannot really use it.
    """
    if options.require_gpu or options.device == "cuda":
        from photoage.ages.predictor import choose_device
        from photoage.faces.detector import Detector

        choose_device("cuda")
        Detector(detector, device="cuda")
        return "cuda"
    if options.device == "auto" and cuda_driver_present():
        from photoage.ages.predictor import choose_device

        return choose_device("auto").type
    return "cpu"
