"""The least that any pipeline with these models must do per photo, and nothing else.

    python floor_loop.py FACES_PER_PHOTO < PATHS        prints the number of photos and faces

Entropy decoding (libjpeg-turbo at its smallest scale), one pass of SCRFD at 640 x 480, and the 8-bit age
model in batches, in one thread. What it computes is of no use.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import simplejpeg
from onnxruntime import InferenceSession, SessionOptions

from photoage.ages.checkpoint import int8_path, read_checkpoint_info
from photoage.faces.detector_files import default_detector
from photoage.models import default_checkpoint

BATCH = 32


def main() -> None:
    faces_per_photo = float(sys.argv[1])
    options = SessionOptions()
    options.intra_op_num_threads = 1
    checkpoint = default_checkpoint()
    size = read_checkpoint_info(checkpoint).crop_size
    detector, ages = (
        InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in (default_detector().path, int8_path(checkpoint))
    )
    view = {detector.get_inputs()[0].name: np.zeros((1, 3, 480, 640), dtype=np.float32)}
    batch = {ages.get_inputs()[0].name: np.zeros((BATCH, 3, size, size), dtype=np.float32)}
    photos, faces, waiting = 0, 0, 0.0
    for line in sys.stdin:
        simplejpeg.decode_jpeg(Path(line.rstrip("\n")).read_bytes(), "RGB", min_height=1, min_width=1)
        detector.run(None, view)
        photos += 1
        waiting += faces_per_photo
        if waiting >= BATCH:
            ages.run(None, batch)
            faces, waiting = faces + BATCH, waiting - BATCH
    print(photos, faces)


if __name__ == "__main__":
    main()
