"""Where the models of a scan run: the only place that decides it."""

from __future__ import annotations

from photoage.errors import DeviceError
from photoage.faces.detector import Detector, cuda_driver_present
from photoage.faces.detector_files import DetectorFile
from photoage.scan.options import ScanOptions


def local_device(options: ScanOptions, detector: DetectorFile) -> str:
    """`cpu` or `cuda`, for detection and estimation alike. May import torch.

    Raises `DeviceError` when a GPU is required and either library cannot really use it.
    """
    if options.needs_gpu:
        from photoage.ages.predictor import choose_device

        choose_device("cuda")
        Detector(detector, device="cuda")
        return "cuda"
    if options.device == "auto" and cuda_driver_present():
        from photoage.ages.predictor import choose_device

        return choose_device("auto").type
    return "cpu"


def cluster_device(options: ScanOptions, gpus: float) -> str:
    """Where the age model runs in a cluster with so many GPUs; faces are detected on CPUs there.

    Raises `DeviceError` when a GPU is required and the cluster has none.
    """
    if options.needs_gpu and not gpus:
        raise DeviceError("the Ray cluster has no GPU")
    return "cuda" if gpus and options.device != "cpu" else "cpu"
