"""A detector that takes pixels as they are, a quarter of the bytes to copy to a GPU; it scales them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PIXELS = "photoage_pixels"


def with_uint8_input(path: Path, mean: float, std: float) -> bytes:
    """The ONNX model at `path`, whose input (N, 3, H, W) float32 is (RGB - mean) / std, with an input
    (N, H, W, 3) uint8 RGB instead.

    Raises what `onnx.load` raises.
    """
    model = onnx.load(str(path))
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    image = next(each for each in graph.input if each.name not in weights)
    batch, channels, height, width = image.type.tensor_type.shape.dim
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [None] * 4)
    for place, size in zip(pixels.type.tensor_type.shape.dim, (batch, height, width, channels), strict=True):
        place.CopyFrom(size)
    constants = {f"{PIXELS}_mean": np.float32(mean), f"{PIXELS}_scale": np.float32(1.0 / std)}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in constants.items()
    )
    steps = [
        helper.make_node("Transpose", [PIXELS], [f"{PIXELS}_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [f"{PIXELS}_planes"], [f"{PIXELS}_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{PIXELS}_float", f"{PIXELS}_mean"], [f"{PIXELS}_centred"]),
        helper.make_node("Mul", [f"{PIXELS}_centred", f"{PIXELS}_scale"], [image.name]),
    ]
    for place, node in enumerate(steps):
        graph.node.insert(place, node)
    graph.input.remove(image)
    graph.input.insert(0, pixels)
    model.ir_version = max(model.ir_version, 4)  # before which weights had to be inputs too
    data: bytes = model.SerializeToString()
    return data
