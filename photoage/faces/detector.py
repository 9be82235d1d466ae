"""RGB to detections, by InsightFace's SCRFD in ONNX Runtime."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from photoage.errors import DetectorError, DeviceError, PhotoageError
from photoage.faces import scrfd
from photoage.faces.detector_files import DetectorFile
from photoage.faces.views import FirstLook, Found, PhotoViews, _canvas, _may_be_large
from photoage.records import Detection, ImageArray

DET_SIZE = 640
DET_THRESH = 0.5
WEAK_THRESH = 0.05  # what scores less says nothing
GLANCE_THRESH = 0.4  # of the detection threshold
NOTHING: Found = (np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))


def cuda_driver_present() -> bool:
    """Whether an NVIDIA driver with a device answers; cheap, and imports neither torch nor onnxruntime."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


class FaceFinder(ABC):
    """What finds faces: a detector of this process, or one of another process."""

    providers: list[str]

    def detect(
        self, rgb: ImageArray, *, det_thresh: float = DET_THRESH, det_size: int = DET_SIZE
    ) -> list[Detection]:
        """Find the faces of one upright photo.

        `rgb` (H, W, 3) uint8 RGB. Returns detections in its pixels, boxes clipped to it, ordered
        left to right (then top to bottom). An image without area has none.
        """
        return self.first_look(rgb, det_thresh=det_thresh, det_size=det_size).faces

    def first_look(self, rgb: ImageArray, *, det_thresh: float, det_size: int) -> FirstLook:
        """As `detect`, with what scored too low."""
        if min(rgb.shape[:2]) < 2:
            return FirstLook([], [], rgb)
        views = PhotoViews.of(rgb, det_size)
        return views.first_look(self.find_one(views, det_thresh), det_thresh)

    @abstractmethod
    def find_one(self, views: PhotoViews, det_thresh: float) -> tuple[Found, Found]:
        """What SCRFD finds in the whole view and in the close-up of one photo, in their pixels."""

    @abstractmethod
    def look(self, views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
        """What SCRFD finds in each of these images as they are, in their pixels."""


class Detector(FaceFinder):
    """A live SCRFD session.

    One instance per process; it holds an ONNX Runtime session that is not shared across forks.
    """

    def __init__(self, file: DetectorFile, *, device: str = "cpu", threads: int = 1) -> None:
        """`device` is `cpu` or `cuda`; `threads` bounds ONNX Runtime's own pool.

        Raises `DetectorError` for an unusable file and `DeviceError` when `cuda` was asked for and
        the session did not really get it, or cannot compute there.
        """
        import onnxruntime
        from insightface.model_zoo import get_model

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            model: Any = get_model(str(file.path), providers=["CPUExecutionProvider"], sess_options=options)
            if getattr(model, "taskname", None) != "detection" or not getattr(model, "use_kps", False):
                raise DetectorError(f"{file.path}: not a face detector with landmarks")
            make = _gpu_session if device == "cuda" else _session
            model.session = make(file, model, options)
        except PhotoageError:
            raise
        except Exception as error:
            raise DetectorError(f"{file.path}: not a usable detector ({_cause(error)})") from error
        self.file = file
        self.providers: list[str] = list(model.session.get_providers())
        self._model = model
        self._square = device == "cuda"
        if device == "cuda":
            try:  # a session may start on a GPU that lacks the kernels or the memory to run it
                self.look([np.zeros((64, 64, 3), dtype=np.uint8)], DET_THRESH)
            except Exception as error:
                raise DeviceError(f"onnxruntime cannot use the GPU ({_cause(error)})") from error

    def find_one(self, views: PhotoViews, det_thresh: float) -> tuple[Found, Found]:
        return self.find([views], det_thresh)[0]

    def find(self, photos: Sequence[PhotoViews], det_thresh: float) -> list[tuple[Found, Found]]:
        """What SCRFD finds in the views of each photo, views of one size in one run.

        For each photo boxes and landmarks of its whole view, those of less than `det_thresh` too, and of
        its close-up, in their pixels; nothing of a close-up that need not be looked at.
        """
        whole = self.look([photo.whole for photo in photos], min(WEAK_THRESH, det_thresh))
        close = list(range(len(photos)))
        if self._model.static_input_size is None:  # else a glance would cost as much as a look
            glances = self.look([photo.glance for photo in photos], det_thresh * GLANCE_THRESH)
            close = [i for i, (boxes, _) in enumerate(glances) if any(map(_may_be_large, boxes))]
        looked = dict(zip(close, self.look([photos[i].close_up() for i in close], det_thresh), strict=True))
        return [(found, looked.get(i, NOTHING)) for i, found in enumerate(whole)]

    def look(self, views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
        found: dict[int, Found] = {}
        by_shape: dict[tuple[int, ...], list[tuple[int, ImageArray, float]]] = {}
        for i, view in enumerate(views):
            canvas, shrunk = _canvas(view, self._model.static_input_size, self._square)
            by_shape.setdefault(canvas.shape, []).append((i, canvas, shrunk))
        for several in by_shape.values():
            results = scrfd.run(self._model, [canvas for _, canvas, _ in several], det_thresh)
            for (i, _, shrunk), (boxes, landmarks) in zip(several, results, strict=True):
                boxes[:, :4] /= shrunk
                found[i] = (boxes, landmarks / np.float32(shrunk))
        return [found[i] for i in range(len(views))]


def _session(file: DetectorFile, model: Any, options: Any) -> Any:
    """Runs the detector on a processor."""
    import onnxruntime

    from photoage.faces.merge_convs import merge_convs

    return onnxruntime.InferenceSession(merge_convs(file.path), options, providers=["CPUExecutionProvider"])


def _gpu_session(file: DetectorFile, model: Any, options: Any) -> Any:
    """Runs the detector on a GPU. Raises `DeviceError` when onnxruntime cannot."""
    import onnxruntime

    from photoage.faces.uint8_input import with_uint8_input

    # By default cuDNN tries every algorithm anew for each number of photos in a batch.
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    data = with_uint8_input(file.path, model.input_mean, model.input_std)
    try:
        # Without its CUDA libraries loaded, the provider gives way to the CPU without a word.
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(data, options, providers=[cuda, "CPUExecutionProvider"])
    except Exception as error:
        raise DeviceError(f"onnxruntime cannot use the GPU ({_cause(error)})") from error
    if "CUDAExecutionProvider" not in session.get_providers():
        raise DeviceError("onnxruntime could not start its CUDA provider (see `photoage doctor`)")
    return session


def _cause(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
