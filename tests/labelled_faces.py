"""A tiny labelled data set in UTKFace's style, cut from the photos of the sample library."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
from decoded import decode_photo
from onnx import TensorProto, helper, numpy_helper

from photoage.faces.align import align_crop
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.records import ImageArray
from photoage.training.dataset import pick_subject

LIBRARY = Path(__file__).parent.parent / "sample_library"
PEOPLE = (
    "people/eileen_collins.png",
    "people/grace_hopper.jpg",
    "white_house/biden_2010.jpg",
    "white_house/obama_2012.jpg",
)
AGES = (34, 40, 62, 5, 25, 71, 48, 18)


@cache
def portraits() -> tuple[ImageArray, ...]:
    """One face of each of the people, with surroundings, 260 pixels wide."""
    detector = Detector(default_detector())
    found = []
    for name in PEOPLE:
        photo = decode_photo(str(LIBRARY / name))
        subject = pick_subject(detector.detect(photo.rgb), photo.width, photo.height)
        assert subject is not None, name
        found.append(align_crop(photo.rgb, subject.landmarks, 200, 30))
    return tuple(found)


def variant(portrait: ImageArray, number: int) -> ImageArray:
    """The same face a little turned, moved, and lit otherwise; number 0 is the portrait itself."""
    side = portrait.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), 4.0 * number, 1 - 0.01 * number)
    turned = cv2.warpAffine(portrait, matrix, (side, side)).astype(np.float32)
    return np.clip(turned * (1 - 0.03 * number), 0, 255).astype(np.uint8)


def save(path: Path, rgb: ImageArray, quality: int = 95) -> Path:
    cv2.imwrite(str(path), np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def make_data(folder: Path, count: int) -> list[Path]:
    """`count` images named as in UTKFace; image i shows person i modulo 4."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = portraits()
    return [
        save(
            folder / f"{AGES[i % len(AGES)]}_{i % 2}_{i % 5}_2017010100000{i:04}.jpg.chip.jpg",
            variant(faces[i % len(faces)], i // len(faces)),
        )
        for i in range(count)
    ]


def face_network(path: Path, size: int = 32, outputs: tuple[str, ...] = ("mean", "sum")) -> Path:
    """A network of the kind that `--age-teacher` takes: mean colours (N, 3), and mixtures of them (N, 5)."""
    mixing = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "mixing"], ["sum"]),
    ]
    shapes = {"mean": ["n", 3], "sum": ["n", 5], "x": ["n", 3, size, size]}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(mixing, "mixing")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path
