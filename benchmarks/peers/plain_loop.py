"""What most people would write: OpenCV, InsightFace, and a float32 ResNet-50 face by face.

    python plain_loop.py CROP_SIZE < PATHS        prints the number of photos and faces

One thread; several processes share the photos, as that is the best use of several cores.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import torch
from insightface.model_zoo import get_model
from insightface.utils import face_align
from onnxruntime import SessionOptions
from torchvision.models import resnet50

from photoage.faces.detector_files import default_detector


def main() -> None:
    size = int(sys.argv[1])
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    options = SessionOptions()
    options.intra_op_num_threads = 1
    detector = get_model(
        str(default_detector().path), providers=["CPUExecutionProvider"], sess_options=options
    )
    model = resnet50(weights=None)  # which weights makes no difference to its cost
    model.fc = torch.nn.Linear(2048, 1)
    model.eval()
    mean = np.array([123.7, 116.3, 103.5], dtype=np.float32)
    photos = faces = 0
    for line in sys.stdin:
        image = cv2.imread(line.rstrip("\n"))
        boxes, landmarks = detector.detect(image, input_size=(640, 640), det_thresh=0.5)
        for points in landmarks:
            crop = cv2.resize(face_align.norm_crop(image, points, 112 * max(1, size // 112)), (size, size))
            x = (crop[:, :, ::-1].astype(np.float32) - mean) / 58.0
            with torch.inference_mode():
                float(model(torch.from_numpy(x.transpose(2, 0, 1).copy())[None]))
        photos += 1
        faces += len(boxes)
    print(photos, faces)


if __name__ == "__main__":
    main()
