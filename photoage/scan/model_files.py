"""The files of the models that a scan works with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from photoage.ages.checkpoint import CheckpointInfo, read_checkpoint_info
from photoage.faces.detector_files import DetectorFile, resolve_detector
from photoage.faces.recogniser import default_recogniser
from photoage.files import file_sha256
from photoage.models import default_checkpoint
from photoage.scan.options import ScanOptions


@dataclass(frozen=True)
class ScanModels:
    """The models of a scan, as files that were found and verified; a recogniser only where it is wanted."""

    detector: DetectorFile
    checkpoint: Path
    info: CheckpointInfo
    recogniser: DetectorFile | None = None

    @cached_property
    def checkpoint_sha256(self) -> str:
        return file_sha256(self.checkpoint)


def resolve_models(options: ScanOptions) -> ScanModels:
    """Find and verify detector and checkpoint. Raises `DetectorError` or `CheckpointError`."""
    checkpoint = Path(options.checkpoint) if options.checkpoint else default_checkpoint()
    detector = resolve_detector(options.detector, offline=options.offline)
    recogniser = default_recogniser() if options.people else None
    return ScanModels(detector, checkpoint, read_checkpoint_info(checkpoint), recogniser)
