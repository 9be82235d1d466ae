"""Small faces of large photos: a crowd, a panorama, and what ordinary photos are spared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.read import ReadOptions, read_photo
from photoage.faces.tiles import OVERLAP, TILE, _starts
from photoage.faces.views import Found
from photoage.records import ImageArray

OPTIONS = ReadOptions(default_detector(), 112)


def people(
    sample_library: Path, size: tuple[int, int], head: int, places: list[tuple[int, int]]
) -> Image.Image:
    """A landscape with Grace Hopper, so many pixels high, at these places."""
    photo = Image.open(sample_library / "places" / "china.jpg").convert("RGB").resize(size)
    person = (
        Image.open(sample_library / "people" / "grace_hopper.jpg").convert("RGB").crop((120, 60, 400, 460))
    )
    for place in places:
        photo.paste(person.resize((head * 7 // 10, head)), place)
    return photo


def found(photo: Image.Image, path: Path, places: list[tuple[int, int]], head: int) -> int:
    """At how many of the places there is exactly one face; none is elsewhere."""
    photo.save(path, quality=90)
    faces = read_photo(str(path), OPTIONS).faces.detections
    centres = [((f.bbox[0] + f.bbox[2]) / 2, (f.bbox[1] + f.bbox[3]) / 2) for f in faces]
    each = [sum(x < cx < x + head * 0.7 and y < cy < y + head for cx, cy in centres) for x, y in places]
    assert sum(each) == len(faces)
    return each.count(1)


@pytest.mark.slow
def test_every_face_of_a_crowd_is_found_once(sample_library: Path, tmp_path: Path) -> None:
    places = [(60 + 250 * column, 40 + 240 * row) for row in range(6) for column in range(10)]
    photo = people(sample_library, (2600, 1500), 100, places)
    assert found(photo, tmp_path / "crowd.jpg", places, 100) >= 58


@pytest.mark.slow
@pytest.mark.parametrize("head", [300, 700])
def test_faces_of_a_panorama_are_found_whatever_their_size(
    sample_library: Path, tmp_path: Path, head: int
) -> None:
    places = [(300 + 1300 * number, 300) for number in range(6)]
    photo = people(sample_library, (8000, 1200), head, places)
    assert found(photo, tmp_path / "pano.jpg", places, head) == 6


def test_an_ordinary_photo_is_looked_at_once(
    sample_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    look = Detector.look

    def counted(self: Detector, views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
        seen.extend(view.shape for view in views)
        return look(self, views, det_thresh)

    monkeypatch.setattr(Detector, "look", counted)
    photo = people(sample_library, (4000, 3000), 1200, [(500, 900), (2300, 1100)])
    assert found(photo, tmp_path / "a.jpg", [(500, 900), (2300, 1100)], 1200) == 2
    assert [shape for shape in seen if max(shape) >= 320] == [(480, 640, 3)]


@pytest.mark.parametrize("length", [100, TILE, TILE + 1, 1650, 11000])
def test_tiles_cover_a_side_and_share_what_a_face_needs(length: int) -> None:
    starts = _starts(length)
    assert starts[0] == 0
    assert starts[-1] + TILE >= length
    assert all(a + TILE - b >= OVERLAP for a, b in itertools.pairwise(starts))
    assert np.all(np.diff(starts) > 0)
