"""Chunks of crops: no photo is split, dropped or delayed, whatever the mix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from photoage.errors import DecodeError
from photoage.faces.read import ReadPhoto
from photoage.pool import Outcome
from photoage.records import PhotoFaces, PhotoFile
from photoage.scan.batches import MAX_PHOTOS, PhotoChunk, chunk_loader

SIZE = 8


def photo(name: str, faces: int) -> Outcome[Any, ReadPhoto]:
    crops = np.full((faces, SIZE, SIZE, 3), len(name), np.uint8)
    read = ReadPhoto(PhotoFile(name, 1, 1), PhotoFaces("", 1, 1, ()), crops)
    return Outcome(name, value=read)


def bad(name: str) -> Outcome[Any, ReadPhoto]:
    return Outcome(name, failure=DecodeError("corrupt", name))


def chunks(outcomes: Iterable[Outcome[Any, ReadPhoto] | None], batch_size: int = 4) -> list[PhotoChunk]:
    return list(chunk_loader(outcomes, batch_size=batch_size, crop_size=SIZE, pin_memory=False))


def test_nothing_gives_no_chunk() -> None:
    assert chunks([]) == []


@pytest.mark.parametrize("outcomes", [[bad("a")], [bad("a"), bad("b")], [photo("a", 0)]])
def test_chunks_without_any_face(outcomes: list[Outcome[Any, ReadPhoto]]) -> None:
    (chunk,) = chunks(outcomes)
    assert chunk.crops.shape == (0, SIZE, SIZE, 3)
    assert chunk.outcomes == outcomes


def test_a_photo_is_never_split_even_when_it_exceeds_a_batch() -> None:
    (chunk,) = chunks([photo("crowd", 11)])
    assert chunk.crops.shape[0] == 11


def test_photos_keep_their_order_and_their_crops() -> None:
    outcomes = [photo("a", 1), bad("bb"), photo("ccc", 2), photo("dddd", 0), photo("eeeee", 3)]
    found = chunks(outcomes)
    assert [o.task for chunk in found for o in chunk.outcomes] == ["a", "bb", "ccc", "dddd", "eeeee"]
    assert [len(chunk.crops) for chunk in found] == [6]
    assert found[0].crops[:, 0, 0, 0].tolist() == [1, 3, 3, 5, 5, 5]


def test_a_full_batch_ends_a_chunk() -> None:
    assert [len(chunk.crops) for chunk in chunks([photo("a", 2)] * 5)] == [4, 4, 2]


def test_finished_photos_do_not_wait_for_one_that_takes_long() -> None:
    found = chunks([photo("a", 1), photo("bb", 1), None, None, photo("ccc", 1)])
    assert [[o.task for o in chunk.outcomes] for chunk in found] == [["a", "bb"], [], ["ccc"]]


def test_faceless_photos_are_not_held_back() -> None:
    found = chunks([photo("a", 0)] * (2 * MAX_PHOTOS + 1))
    assert [len(chunk.outcomes) for chunk in found] == [MAX_PHOTOS, MAX_PHOTOS, 1]
