"""Other face networks, from which the model learns what to see in a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from photoage.errors import CheckpointError, DeviceError
from photoage.records import FloatArray, ImageArray
from photoage.training.networks import onnx_session

RECOGNISER = "recogniser"  # the name of the recogniser that photoage comes with


class AgeTeacher:
    """A face network as an ONNX file.

    Its input is (N, 3, S, S) float32 RGB from 0 to 255, its outputs are features (N, D) each. `size` is S,
    `widths` are the D.
    """

    def __init__(
        self, path: Path, device: torch.device, *, threads: int = 2, mean: float = 0.0, scale: float = 1.0
    ) -> None:
        """The network is fed (value - mean) / scale.

        Raises `CheckpointError` when the file is no such network, `DeviceError` when a GPU was asked for and
        onnxruntime cannot use it.
        """
        try:
            self._session = onnx_session(str(path), device, threads)
        except DeviceError:
            raise
        except Exception as error:  # onnxruntime raises types of its own
            cause = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: not usable as an age teacher ({cause})") from error
        shapes = [value.shape for value in self._session.get_inputs()]
        features = [value.shape for value in self._session.get_outputs()]
        if len(shapes) != 1 or len(shapes[0]) != 4 or not isinstance(shapes[0][3], int):
            raise CheckpointError(f"{path}: not usable as an age teacher (its input is not N x 3 x S x S)")
        if any(len(shape) != 2 or not isinstance(shape[1], int) for shape in features):
            raise CheckpointError(f"{path}: not usable as an age teacher (an output is not N x D)")
        self.size: int = shapes[0][3]
        self.widths = tuple(int(shape[1]) for shape in features)
        self._mean, self._scale = mean, scale

    def __call__(self, crops: ImageArray) -> FloatArray:
        """(N, S, S, 3) uint8 RGB to the features of all outputs, (N, sum of D) float32."""
        x = (crops.transpose(0, 3, 1, 2).astype(np.float32) - self._mean) / self._scale
        found = self._session.run(None, {self._session.get_inputs()[0].name: np.ascontiguousarray(x)})
        return np.concatenate(found, axis=1)


def recogniser_teacher(path: Path, device: torch.device) -> AgeTeacher:
    """ArcFace (`w600k_mbf.onnx`), which was not trained to tell ages, as an age teacher."""
    return AgeTeacher(path, device, mean=127.5, scale=127.5)
