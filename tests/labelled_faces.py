"""A tiny labelled data set in UTKFace's style, cut from the photos of the sample library."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from photoage.align import align_crop
from photoage.decode import decode_photo
from photoage.detect import Detector, default_detector
from photoage.errors import DecodeError
from photoage.records import ImageArray
from photoage.splits import near_duplicates

LIBRARY = Path(__file__).parent.parent / "sample_library"
AGES = (34, 40, 62, 5, 25, 71, 48, 18)


@cache
def portraits(count: int = 3) -> tuple[ImageArray, ...]:
    """Faces of different people, with surroundings, 260 pixels wide."""
    detector = Detector(default_detector())
    found: list[ImageArray] = []
    for path in sorted(LIBRARY.rglob("*")):
        if len(found) >= count or not path.is_file():
            continue
        try:
            photo = decode_photo(str(path))
        except DecodeError:
            continue
        for face in detector.detect(photo.rgb):
            x1, y1, x2, y2 = face.bbox
            if face.det_score < 0.6 or min(x2 - x1, y2 - y1) < 50:
                continue
            portrait = align_crop(photo.rgb, face.landmarks, 200, 30)
            if all(_differ(portrait, other) for other in found):
                found.append(portrait)
    assert len(found) >= count, f"too few faces in {LIBRARY}"
    return tuple(found[:count])


def _differ(a: ImageArray, b: ImageArray) -> bool:
    """Whether two portraits are far from being the same picture, mirrored or not."""
    small = [cv2.resize(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), (32, 32)).reshape(-1) for x in (a, b)]
    grey = np.array(small, dtype=np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    return not list(near_duplicates(grey))


def variant(portrait: ImageArray, number: int) -> ImageArray:
    """The same face a little turned, moved, and lit otherwise; number 0 is the portrait itself."""
    side = portrait.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), 4.0 * number, 1 - 0.01 * number)
    turned = cv2.warpAffine(portrait, matrix, (side, side)).astype(np.float32)
    return np.clip(turned * (1 - 0.03 * number), 0, 255).astype(np.uint8)


def save(path: Path, rgb: ImageArray, quality: int = 95) -> Path:
    cv2.imwrite(str(path), np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def make_data(folder: Path, count: int, people: int = 3) -> list[Path]:
    """`count` images named as in UTKFace; image i shows person i modulo `people`."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = portraits(people)
    return [
        save(
            folder / f"{AGES[i % len(AGES)]}_{i % 2}_{i % 5}_2017010100000{i:04}.jpg.chip.jpg",
            variant(faces[i % people], i // people),
        )
        for i in range(count)
    ]
