"""SCRFD's feature maps to boxes, for a batch of images.

Method: Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022, as
in insightface's `SCRFD.forward`, which takes one image at a time and decodes every anchor before it
looks at the scores; this decodes only anchors that pass.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from photoage.records import FloatArray, ImageArray


def run(
    model: Any, views: npt.NDArray[np.uint8] | list[ImageArray], threshold: float
) -> list[tuple[FloatArray, FloatArray]]:
    """Faces in each of `views`, which are (H, W, 3) uint8 RGB, all of one size, multiples of 32.

    `model` is an insightface SCRFD (or RetinaFace) object. For each view returns boxes (n, 5) float32,
    x1, y1, x2, y2, score, best first, and landmarks (n, 5, 2), both in pixels of the view.
    """
    wanted = model.session.get_inputs()[0]
    blob: npt.NDArray[Any]
    if wanted.type == "tensor(uint8)":  # faces/uint8_input.py
        blob = np.array(views)
    else:
        blob = np.array([cv2.split(view) for view in views], dtype=np.float32)  # (N, 3, H, W)
        blob -= np.float32(model.input_mean)
        blob *= np.float32(1.0 / model.input_std)
    if model.batched:
        together = model.session.run(model.output_names, {wanted.name: blob})
        each = ([part[i] for part in together] for i in range(len(blob)))
    else:  # exported for one image at a time
        each = (model.session.run(model.output_names, {wanted.name: one[None]}) for one in blob)
    return [_decode(model, outputs, views[0].shape[1], threshold) for outputs in each]


def _decode(model: Any, outputs: Any, width: int, threshold: float) -> tuple[FloatArray, FloatArray]:
    maps, anchors = model.fmc, model._num_anchors
    boxes, landmarks = [np.empty((0, 5), np.float32)], [np.empty((0, 5, 2), np.float32)]
    for level, stride in enumerate(model._feat_stride_fpn):
        scores = outputs[level].reshape(-1)
        passed = np.flatnonzero(scores >= threshold)
        if len(passed) == 0:
            continue
        row, column = np.divmod(passed // anchors, width // stride)
        centre = np.stack([column, row], axis=1).astype(np.float32) * stride
        sides = outputs[level + maps][passed] * stride  # distances to left, top, right, bottom
        points = outputs[level + 2 * maps][passed].reshape(-1, 5, 2) * stride
        boxes.append(np.hstack([centre - sides[:, :2], centre + sides[:, 2:], scores[passed, None]]))
        landmarks.append(centre[:, None] + points)
    found, points = np.concatenate(boxes), np.concatenate(landmarks)
    best_first = np.argsort(-found[:, 4], kind="stable")
    found, points = found[best_first], points[best_first]
    kept = model.nms(found)
    return found[kept], points[kept]
