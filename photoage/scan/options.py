"""The choices of a scan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from photoage.photos.decode import DecodeOptions
from photoage.photos.walk import WalkOptions
from photoage.pool import PHOTO_TIMEOUT
from photoage.records import DATE_SOURCES, DetectOptions


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
    dates: tuple[str, ...] = DATE_SOURCES
    redate: bool = False
    limit: int | None = None
    prune: bool = False
    people: bool = False  # whether to store embeddings, too
    engine: str = "local"  # or `ray`
    ray_address: str | None = None  # None: a Ray of its own, on this machine
    gpus_per_actor: float = 1.0

    @property
    def needs_gpu(self) -> bool:
        """Whether the scan shall rather fail than run on a CPU."""
        return self.require_gpu or self.device == "cuda"

    def recorded(self) -> dict[str, Any]:
        """The options as JSON-ready values for the scan run's row."""
        return {
            key: value if isinstance(value, (str, int, float, bool, dict, tuple, type(None))) else str(value)
            for key, value in asdict(self).items()
        }
