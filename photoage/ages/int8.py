"""The age model in 8-bit integers, for CPUs: a static-quantised ONNX file that belongs to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from photoage.errors import CheckpointError
from photoage.records import FloatArray

SOURCE_KEY = "photoage.checkpoint_sha256"  # in the ONNX file's metadata: what it was made from
INPUT = "crops"


class Int8Model:
    """A live ONNX Runtime session of a quantised age model, on the CPU."""

    def __init__(self, path: Path, checkpoint_sha256: str, threads: int) -> None:
        """Raises `CheckpointError` when the file is unusable or was made from other weights."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # Spinning threads would take processor time from the workers that read photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{path}: not a usable 8-bit model ({cause})") from error
        made_from = self._session.get_modelmeta().custom_metadata_map.get(SOURCE_KEY)
        if made_from != checkpoint_sha256:
            raise CheckpointError(
                f"{path}: was made from another checkpoint; make it again with `photoage models quantise`"
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) float32 RGB, normalised, to (N,) float32 ages in years."""
        ages: FloatArray = self._session.run(None, {INPUT: np.ascontiguousarray(x.numpy())})[0]
        return torch.from_numpy(ages.reshape(-1))
