"""The sample library is complete, documented, small, and decodes as its files' names promise."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from decoded import decode_photo

from photoage.errors import DecodeError
from photoage.photos.dates import date_photo
from photoage.photos.walk import walk
from photoage.records import FloatArray, PhotoFile

pytestmark = pytest.mark.slow

LIBRARY = Path(__file__).resolve().parent.parent / "sample_library"
FILES = sorted(
    path.relative_to(LIBRARY).as_posix()
    for path in LIBRARY.rglob("*")
    if path.is_file() and path.name != "SOURCES.md" and not path.name.startswith(".")
)
BAD = {
    "damaged/empty.jpg": "empty",
    "damaged/really_a_text.jpg": "unsupported",
    "damaged/truncated.jpg": "truncated",
}
GOOD = [name for name in FILES if name not in BAD]
TAKEN = {
    "albums/1984 à Washington/Grace Hopper, née Murray 🎖️.jpg": date(1984, 1, 20),
    "places/flower.jpg": date(2011, 8, 15),
    "white_house/biden_2010.jpg": date(2010, 5, 10),
    "white_house/obama_2009.jpg": date(2009, 9, 9),
    "white_house/obama_2012.jpg": date(2012, 12, 6),
}
SAME_PORTRAIT = [name for name in FILES if name.startswith(("orientations/", "formats/"))]


def pixels(name: str) -> FloatArray:
    return decode_photo(str(LIBRARY / name)).rgb.astype(np.float32)


def test_every_file_is_documented_and_every_documented_file_exists() -> None:
    documented = re.findall(r"^\| `([^`]+)` \|", (LIBRARY / "SOURCES.md").read_text(encoding="utf-8"), re.M)
    assert sorted(documented) == FILES


def test_the_library_is_small() -> None:
    assert 12 <= len(GOOD) <= 28
    assert sum(path.stat().st_size for path in LIBRARY.rglob("*") if path.is_file()) < 6_000_000


def test_the_walk_finds_every_file() -> None:
    found = [Path(entry.path).relative_to(LIBRARY).as_posix() for entry in walk([str(LIBRARY)])]
    assert sorted(found) == FILES


@pytest.mark.parametrize("name", GOOD)
def test_good_photos_decode(name: str) -> None:
    photo = decode_photo(str(LIBRARY / name))
    assert photo.rgb.shape == (photo.height, photo.width, 3)
    assert photo.rgb.std() > 30  # a picture, not a plain area
    taken_at = date_photo(PhotoFile(str(LIBRARY / name), 0, 0), ("xmp", "exif")).taken_at
    assert (taken_at and taken_at.first_day) == TAKEN.get(name)


@pytest.mark.parametrize("name", BAD)
def test_bad_files_fail_with_their_kind(name: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_photo(str(LIBRARY / name))
    assert caught.value.kind == BAD[name]
    assert str(caught.value).startswith(f"{LIBRARY / name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SAME_PORTRAIT)
def test_orientations_and_formats_show_the_same_upright_portrait(name: str) -> None:
    expected, found = pixels("formats/portrait.png"), pixels(name)
    assert found.shape == expected.shape == (512, 384, 3)
    if name == "formats/grey_16bit.tif":
        expected = np.repeat(expected @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32), 3, axis=2)
    if name == "formats/cut_out.png":
        middle = (slice(100, 400), slice(100, 280))
        assert found[0, 0].tolist() == [255, 255, 255]
        expected, found = expected[middle], found[middle]
    assert np.abs(found - expected).mean() < 8


def test_the_duplicate_is_exact() -> None:
    original = (LIBRARY / "people/grace_hopper.jpg").read_bytes()
    assert (LIBRARY / "backup/grace_hopper_copy.jpg").read_bytes() == original
