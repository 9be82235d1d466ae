"""Generated photos for the benchmarks: camera-sized JPEGs with known faces on synthetic backgrounds.

    python benchmarks/photos.py FOLDER [--count 200] [--megapixels 12] [--distinct 24]

The faces are the two public-domain portraits of `sample_library/people`, mirrored, turned, lit and
scaled at random; the backgrounds are coloured noise at many scales, as costly to decode as a camera's.
Nothing that is generated is committed.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

PEOPLE = Path(__file__).parents[1] / "sample_library" / "people"
# Head and shoulders in each portrait: x, y, side in its pixels.
PORTRAITS = (("eileen_collins.png", (90, 0, 260)), ("grace_hopper.jpg", (130, 10, 300)))
# How large a pasted portrait is, as a share of the photo's short side; the face is about half of it.
SHARES = (0.12, 0.2, 0.3, 0.45, 0.7)
FACES = (0, 1, 1, 2, 2, 3, 4)  # how many portraits a photo has, drawn evenly: 1.9 on average
QUALITY = 90

Pixels = npt.NDArray[np.uint8]


def generate_photos(folder: Path, count: int, *, megapixels: float = 12, distinct: int = 24) -> list[Path]:
    """`count` JPEGs of different content, of which `distinct` differ in more than a comment."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = list(_photos(min(count, distinct), megapixels))
    paths = []
    for i in range(count):
        path = folder / f"{i // 500:03}" / f"IMG_{i:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_commented(originals[i % len(originals)], i))
        paths.append(path)
    return paths


def _commented(jpeg: bytes, number: int) -> bytes:
    """The same picture as a file of its own: other bytes and another length, so never a duplicate."""
    text = f"{number} ".encode() + b"." * (number % 997)
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def _photos(count: int, megapixels: float) -> Iterator[bytes]:
    random = np.random.default_rng(20261124)
    portraits = []
    for name, (x, y, side) in PORTRAITS:
        with Image.open(PEOPLE / name) as image:
            portraits.append(np.asarray(image.convert("RGB").crop((x, y, x + side, y + side))))
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = width * 3 // 4
    for number in range(count):
        photo = _background(random, width, height)
        columns = FACES[number % len(FACES)]
        for column in range(columns):
            share = min(float(random.choice(SHARES)), 4 / 3 / columns)
            _paste(random, photo, portraits[random.integers(len(portraits))], column, columns, share)
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
        yield buffer.getvalue()


def _background(random: np.random.Generator, width: int, height: int) -> Pixels:
    layers = np.zeros((height, width, 3), dtype=np.float32)
    for cells, strength in ((4, 60), (24, 30), (160, 14), (900, 7)):
        noise = random.normal(0, strength, (cells * 3 // 4, cells, 3)).astype(np.float32)
        layers += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    layers += random.normal(0, 4.5, (height, width, 1)).astype(np.float32)  # a sensor's noise
    return np.clip(layers + 120, 0, 255).astype(np.uint8)


def _paste(
    random: np.random.Generator, photo: Pixels, portrait: Pixels, column: int, columns: int, share: float
) -> None:
    """Blend a portrait into its column of the photo, at a random place, turn and brightness."""
    height, width = photo.shape[:2]
    side = int(share * height)
    if random.random() < 0.5:
        portrait = portrait[:, ::-1]
    turn = cv2.getRotationMatrix2D((portrait.shape[1] / 2,) * 2, random.uniform(-15, 15), 1.0)
    turned = cv2.warpAffine(portrait, turn, portrait.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    face = cv2.resize(turned, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    face = face * random.uniform(0.75, 1.15) + random.normal(0, 3, (side, side, 1))
    room = max(1, width // columns - side)
    x = column * (width // columns) + int(random.integers(room))
    y = int(random.integers(max(1, height - side)))
    across = np.linspace(-1, 1, side)
    edge = np.clip((1.0 - np.hypot(across[:, None], across[None, :])) * 5 + 1, 0, 1)[..., None]
    area = photo[y : y + side, x : x + side].astype(np.float32)
    photo[y : y + side, x : x + side] = np.clip(
        area * (1 - edge) + face[: area.shape[0], : area.shape[1]] * edge, 0, 255
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--distinct", type=int, default=24)
    options = parser.parse_args()
    paths = generate_photos(
        options.folder, options.count, megapixels=options.megapixels, distinct=options.distinct
    )
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} photos, {size / len(paths) / 1e6:.2f} MB each")


if __name__ == "__main__":
    main()
