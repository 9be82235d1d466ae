"""Rebuild the derived files of sample_library/ from the original photos in it.

The originals are unchanged copies out of packages on the Python package index:

    people/eileen_collins.png     scikit-image 0.26.0        skimage/data/astronaut.png
    people/grace_hopper.jpg       matplotlib 3.11.2          matplotlib/mpl-data/sample_data/grace_hopper.jpg
    white_house/obama_2009.jpg    face_recognition 1.3.0     tests/test_images/obama2.jpg
    white_house/biden_2010.jpg    face_recognition 1.3.0     tests/test_images/biden.jpg
    white_house/obama_2012.jpg    face_recognition 1.3.0     tests/test_images/obama.jpg
    places/china.jpg              scikit-learn 1.9.1         sklearn/datasets/images/china.jpg
    places/flower.jpg             scikit-learn 1.9.1         sklearn/datasets/images/flower.jpg

Nothing is derived from the white_house photos. Licences and the list of files: sample_library/SOURCES.md.
With the same versions of Pillow and pillow-heif, every run writes the same bytes.

Usage: python scripts/build_sample_library.py
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageDraw, ImageFilter

LIBRARY = Path(__file__).resolve().parent.parent / "sample_library"

ORIGINALS = {
    "people/eileen_collins.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "people/grace_hopper.jpg": "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    "places/china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "places/flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    "white_house/biden_2010.jpg": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
    "white_house/obama_2009.jpg": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    "white_house/obama_2012.jpg": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
}

# EXIF orientation -> how upright pixels are stored so that the tag makes them upright again.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def build(library: Path) -> None:
    """Write every derived file below `library`, which must hold the originals."""
    check_originals(library)
    # Not square, so that a width taken for a height is noticed.
    portrait = Image.open(library / "people/eileen_collins.png").convert("RGB").crop((32, 0, 416, 512))
    hopper = Image.open(library / "people/grace_hopper.jpg").convert("RGB")
    for folder in ("orientations", "formats", "albums", "backup", "damaged"):
        shutil.rmtree(library / folder, ignore_errors=True)
        (library / folder).mkdir()
    build_orientations(portrait, library / "orientations")
    build_formats(portrait, hopper, library / "formats")
    build_album(hopper, library / "albums")
    shutil.copyfile(library / "people/grace_hopper.jpg", library / "backup/grace_hopper_copy.jpg")
    build_damaged(library)


def check_originals(library: Path) -> None:
    for name, sha256 in ORIGINALS.items():
        if hashlib.sha256((library / name).read_bytes()).hexdigest() != sha256:
            raise SystemExit(f"{library / name}: is not the original photo")


def build_orientations(portrait: Image.Image, folder: Path) -> None:
    for orientation in range(1, 9):
        stored_as = STORED_AS.get(orientation)
        stored = portrait if stored_as is None else portrait.transpose(stored_as)
        stored.save(folder / f"{orientation}.jpg", quality=90, exif=exif(orientation=orientation))


def build_formats(portrait: Image.Image, hopper: Image.Image, folder: Path) -> None:
    pillow_heif.register_heif_opener()
    portrait.save(folder / "portrait.png", optimize=True)
    portrait.save(folder / "portrait.webp", quality=90)
    # As a phone stores it: pixels on their side, turned upright by the container.
    lying = portrait.transpose(Image.Transpose.ROTATE_90)
    # The encoder turns the tag into a rotation of the container, but only from bytes.
    lying.save(folder / "portrait.heic", quality=80, exif=exif(orientation=6).tobytes())
    portrait.convert("CMYK").save(folder / "cmyk.jpg", quality=90)
    cut_out(portrait).save(folder / "cut_out.png", optimize=True)
    grey = np.asarray(portrait, dtype=np.float64) @ (0.299, 0.587, 0.114) * 257
    deep = Image.fromarray(grey.round().astype(np.uint16))
    deep.save(folder / "grey_16bit.tif", compression="tiff_adobe_deflate")
    # Another face in the second frame, and a mirrored second view: only the first image counts.
    frames = [
        image.quantize(128, dither=Image.Dither.FLOYDSTEINBERG)
        for image in (portrait, hopper.resize(portrait.size))
    ]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:], duration=800, loop=0)
    mirrored = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    portrait.save(folder / "stereo.mpo", save_all=True, append_images=[mirrored], quality=90)


def cut_out(portrait: Image.Image) -> Image.Image:
    """The person in a soft oval; the pixels outside are black under full transparency."""
    mask = Image.new("L", portrait.size, 0)
    width, height = portrait.size
    ImageDraw.Draw(mask).ellipse((width * 0.08, height * 0.03, width * 0.92, height * 0.97), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(6))
    image = Image.composite(portrait, Image.new("RGB", portrait.size), mask.point(lambda a: a and 255))
    image.putalpha(mask)
    return image


def build_album(hopper: Image.Image, folder: Path) -> None:
    """A greyscale scan with a true capture date, under a name with spaces, accents and an emoji."""
    album = folder / "1984 à Washington"
    album.mkdir()
    date = exif(taken_at="1984:01:20 12:00:00")
    hopper.convert("L").save(album / "Grace Hopper, née Murray 🎖️.jpg", quality=90, exif=date)


def build_damaged(library: Path) -> None:
    whole = (library / "people/grace_hopper.jpg").read_bytes()
    (library / "damaged/truncated.jpg").write_bytes(whole[: len(whole) * 3 // 5])
    (library / "damaged/really_a_text.jpg").write_text("This is a text file with the name of a photo.\n")
    (library / "damaged/empty.jpg").write_bytes(b"")


def exif(orientation: int | None = None, taken_at: str | None = None) -> Image.Exif:
    tags = Image.Exif()
    if orientation is not None:
        tags[ExifTags.Base.Orientation] = orientation
    if taken_at is not None:
        tags[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: taken_at}
    return tags


if __name__ == "__main__":
    build(LIBRARY)
