"""A loaded checkpoint on a device: crops to estimates."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from photoage.ages.checkpoint import (
    int8_path,
    read_checkpoint_info,
)
from photoage.ages.int8 import Int8Model
from photoage.ages.intervals import Strata, interval_bounds
from photoage.ages.model import load_model, normalise
from photoage.errors import CheckpointError, DeviceError
from photoage.files import file_sha256
from photoage.records import Estimate

MAX_AGE = 116.0


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` to a device; raises `DeviceError` when CUDA is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available to PyTorch (see `photoage doctor`)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The half precision that pays on this device, or None to stay in float32.

    On a CPU without bf16 arithmetic, bf16 is emulated and several times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else None


def device_problem(device: torch.device) -> str | None:
    """Why PyTorch cannot compute on a device that it offers, found by one small convolution; None if it can.

    A GPU that is older or newer than what this PyTorch was built for is offered like any other.
    """
    try:
        with _gpu_errors(device):
            image = torch.zeros(1, 3, 8, 8, device=device)
            torch.nn.functional.conv2d(image, torch.zeros(1, 3, 3, 3, device=device)).cpu()
    except DeviceError as error:
        return str(error)
    return None


class Predictor:
    """A loaded checkpoint on a device, ready to estimate batches of crops."""

    def __init__(
        self, path: Path, device: torch.device, precision: str = "auto", threads: int | None = None
    ) -> None:
        """`precision` is `int8` (CPU only), `half` (bf16 or fp16), `float`, or `auto`; `threads` is for
        8-bit arithmetic and for preparing crops, all cores by default.

        `auto` takes on a CPU the 8-bit form of the checkpoint if there is one, which is twice as fast
        as bf16 and costs next to nothing (docs/model_card.md); else half precision where it pays.
        Raises `CheckpointError` when a file is not usable, `DeviceError` when the device has no such
        precision.
        """
        self.path, self.device = path, device
        self.info = read_checkpoint_info(path)
        self.dtype: torch.dtype | None = None
        self._model: Callable[[torch.Tensor], torch.Tensor]
        self._threads = threads or torch.get_num_threads()
        int8 = _int8_model(path, device, precision, self._threads)
        if int8 is not None:
            self.precision, self._model = "int8", int8
            return
        with _gpu_errors(device):
            self._model = load_model(path).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        if precision in ("auto", "half"):
            self.dtype = autocast_dtype(device)
        if precision == "half" and self.dtype is None:
            raise DeviceError("this processor has no fast half precision")
        self.precision = str(self.dtype or torch.float32).removeprefix("torch.")

    def predict(self, crops: torch.Tensor) -> torch.Tensor:
        """(N, S, S, 3) uint8 RGB crops to (N,) float32 ages in years on the CPU, within 0 to 116.

        Raises `DeviceError` when a GPU fails, for want of memory, say.
        """
        with _gpu_errors(self.device):
            return self._ages(crops).cpu()

    @torch.inference_mode()
    def _ages(self, crops: torch.Tensor) -> torch.Tensor:
        """Ages on the device. Returns before a GPU has computed them."""
        if len(crops) == 0:
            return torch.empty(0)
        with _torch_threads(self._threads):
            x = normalise(crops.to(self.device, non_blocking=True), self.info.mean, self.info.std)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            ages = self._model(x)
            if self.info.flip_average:
                ages = (ages + self._model(x.flip(3))) / 2
        return ages.float().clamp_(0.0, MAX_AGE)

    def start(
        self, crops: torch.Tensor, strata: Sequence[int] | Strata | None = None, batch_size: int = 64
    ) -> Callable[[], list[Estimate]]:
        """As `estimate`, but what it returns waits for the result; a GPU copies and computes meanwhile.

        For that, the crops must be in pinned memory.
        """
        with _gpu_errors(self.device):
            ages = torch.cat([self._ages(part) for part in torch.split(crops, batch_size)])
        return lambda: self._estimates(ages, strata)

    def _estimates(self, ages: torch.Tensor, strata: Sequence[int] | Strata | None) -> list[Estimate]:
        with _gpu_errors(self.device):
            years = ages.cpu().numpy()
        numbers = np.zeros(len(years), np.intp) if strata is None else np.asarray(strata, np.intp)
        low, high = interval_bounds(years, self.info.interval, numbers)
        rows = zip(years, low, high, numbers, strict=True)
        return [Estimate(float(age), float(least), float(most), int(n)) for age, least, most, n in rows]

    def estimate(
        self, crops: torch.Tensor, strata: Sequence[int] | Strata | None = None, batch_size: int = 64
    ) -> list[Estimate]:
        """Estimates for (N, S, S, 3) uint8 RGB crops, however many, with the intervals of their strata.

        Of stratum 0 by default. Raises `DeviceError` when a GPU fails, for want of memory, say.
        """
        return self.start(crops, strata, batch_size)()


@contextlib.contextmanager
def _gpu_errors(device: torch.device) -> Iterator[None]:
    """What PyTorch raises where a GPU has too little memory, or is none that it was built for."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        if device.type == "cpu":
            raise
        cause = str(error).strip().splitlines()[0]
        raise DeviceError(f"PyTorch cannot use the GPU ({cause})") from error


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Torch's own threads, which wait for each other spinning, no more than `count` for the moment."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _int8_model(checkpoint: Path, device: torch.device, precision: str, threads: int) -> Int8Model | None:
    """The 8-bit form of a checkpoint, if it is wanted and, unless it must be, there and in order."""
    if precision == "int8" and device.type != "cpu":
        raise DeviceError("8-bit precision is for the CPU only")
    # Made and measured on x86; elsewhere it runs, but whether it pays is not known.
    wanted = precision == "auto" and device.type == "cpu" and platform.machine() in ("x86_64", "AMD64")
    path = int8_path(checkpoint)
    if precision != "int8" and not (wanted and path.is_file()):
        return None
    try:
        return Int8Model(path, file_sha256(checkpoint), threads)
    except CheckpointError:
        if precision == "int8":
            raise
        return None
