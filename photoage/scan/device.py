"""Where the models of a scan run: the only place that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from photoage.errors import DeviceError
from photoage.faces.detector import Detector, cuda_driver_present
from photoage.faces.detector_files import DetectorFile
from photoage.scan.options import ScanOptions


@dataclass(frozen=True, slots=True)
class LocalDevice:
    """`name`: `cpu` or `cuda`, for detection and estimation alike.

    `detector`: the one on the GPU; on a CPU every worker has its own. `warning`: why it is not the GPU that
    might have been expected, if so.
    """

    name: str
    detector: Detector | None = None
    warning: str | None = None


def check_driver(options: ScanOptions) -> None:
    """Raises `DeviceError` where a GPU is required and there is certainly none. Cheap: loads no library."""
    if options.needs_gpu and not cuda_driver_present():
        raise DeviceError("no NVIDIA GPU with a working driver is on this machine (see `photoage doctor`)")


def local_device(options: ScanOptions, detector: DetectorFile) -> LocalDevice:
    """A GPU that both libraries can really use, else the CPU. May import torch.

    Raises `DeviceError` when a GPU is required and cannot be used.
    """
    check_driver(options)
    if not options.needs_gpu and (options.device == "cpu" or not cuda_driver_present()):
        return LocalDevice("cpu")
    from photoage.ages.predictor import choose_device, device_problem

    try:
        device = choose_device("cuda")
        found = Detector(detector, device="cuda")
        if (problem := device_problem(device)) is not None:
            raise DeviceError(problem)
    except DeviceError as error:
        if options.needs_gpu:
            raise
        return LocalDevice("cpu", warning=f"{error}; this scan runs on the CPU")
    return LocalDevice("cuda", found)


def cluster_device(options: ScanOptions, gpus: float) -> str:
    """Where the age model runs in a cluster with so many GPUs; faces are detected on CPUs there.

    Raises `DeviceError` when a GPU is required and the cluster has none.
    """
    if options.needs_gpu and not gpus:
        raise DeviceError("the Ray cluster has no GPU")
    return "cuda" if gpus and options.device != "cpu" else "cpu"
