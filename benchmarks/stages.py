"""What each stage of a scan costs on one thread, the floor below which none can go, and the age model alone.

python benchmarks/stages.py FOLDER_OF_PHOTOS
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch

from photoage.ages.predictor import Predictor, autocast_dtype
from photoage.errors import PhotoageError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.read import DECODE_MARGIN, ReadOptions, _cut, read_photo
from photoage.models import default_checkpoint
from photoage.photos.content import content_hash, read_file
from photoage.photos.decode import DecodeOptions, decode_bytes

REPEATS = 3
BATCH = 32
CPU = torch.device("cpu")


def milliseconds(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Processor time per item, the best of a few rounds."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        for item in items:
            call(item)
        best = min(best, time.process_time() - start)
    return best / len(items) * 1000


def measure_stages(paths: list[str]) -> tuple[dict[str, float], float]:
    """Milliseconds of processor time per photo, on one thread, by stage; and the number of faces per photo.

    `floor` is the least that any pipeline with these models must spend: entropy decoding (libjpeg at
    its smallest scale), one pass of SCRFD, and one 8-bit pass of the age model per face.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    detector = Detector(default_detector())
    predictor = Predictor(default_checkpoint(), CPU, "int8")
    size = predictor.info.crop_size
    reduced = DecodeOptions(min_long_side=DECODE_MARGIN * 640)
    datas = [Path(path).read_bytes() for path in paths]
    photos = [decode_bytes(data, "", reduced) for data in datas]
    found = [detector.detect(photo.rgb) for photo in photos]
    faces = [np.array([face.landmarks for face in each]).reshape(-1, 5, 2) / 1 for each in found]
    options = ReadOptions(default_detector(), size)
    crops = torch.from_numpy(np.concatenate([read_photo(path, options).crops for path in paths]))
    batches = list(torch.split(crops, BATCH))
    per_photo = len(batches) / len(paths)
    session, view = detector._model.session, np.zeros((1, 3, 480, 640), dtype=np.float32)
    name = session.get_inputs()[0].name
    x = torch.zeros(BATCH, 3, size, size)
    stages = {
        "read the file": milliseconds(lambda path: read_file(path), paths),
        "hash it": milliseconds(content_hash, datas),
        "decode at 1/2": milliseconds(lambda data: decode_bytes(data, "", reduced), datas),
        "detect (two scales)": milliseconds(lambda photo: detector.detect(photo.rgb), photos),
        "cut crops": milliseconds(
            lambda i: _cut(photos[i], faces[i] / photos[i].scale, options), range(len(paths))
        ),
        "estimate (int8)": milliseconds(predictor.predict, batches) * per_photo,
    }
    entropy = milliseconds(lambda data: simplejpeg.decode_jpeg(data, "RGB", min_height=1, min_width=1), datas)
    scrfd = milliseconds(lambda _: session.run(None, {name: view}), range(len(paths)))
    int8 = milliseconds(lambda _: predictor._model(x), range(4)) / BATCH
    per_face = len(crops) / len(paths)
    floor = {
        "floor: entropy decoding": entropy,
        "floor: one SCRFD pass": scrfd,
        "floor: int8 ResNet-50": int8 * per_face,
    }
    return {**stages, "floor": sum(floor.values()), **floor}, per_face


def faces_per_second(size: int) -> dict[str, float]:
    """The age model alone, all cores: faces per second by device and precision."""
    crops = torch.randint(0, 256, (64, size, size, 3), dtype=torch.uint8)
    devices = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    rates = {}
    for device in devices:
        for precision in ("float", "half", "int8"):
            try:
                predictor = Predictor(default_checkpoint(), device, precision)
            except PhotoageError:
                continue  # this device has no such precision
            batch = crops.repeat(8, 1, 1, 1) if device.type == "cuda" else crops
            predictor.predict(batch)
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                predictor.predict(batch)
                seconds.append(time.perf_counter() - start)
            rates[f"{device.type} {predictor.precision}"] = len(batch) / min(seconds)
    return rates


def main() -> None:
    torch_threads = torch.get_num_threads()
    paths = [str(path) for path in sorted(Path(sys.argv[1]).rglob("*.jpg"))][:24]
    stages, faces = measure_stages(paths)
    print(f"per photo with {faces:.2f} faces, ms:")
    for name, cost in stages.items():
        print(f"{name:28}{cost:8.1f}")
    torch.set_num_threads(torch_threads)
    print(f"fast half precision: {autocast_dtype(CPU)}")
    for name, rate in faces_per_second(112).items():
        print(f"{name:28}{rate:8.0f} faces/s")


if __name__ == "__main__":
    main()
