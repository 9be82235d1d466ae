"""Detection by one process for all workers, as with a GPU; here the server's detector is on the CPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from photoage.errors import DeviceError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.gpu_server import DetectionServer, RemoteDetector, ServerAddress
from photoage.faces.read import ReadOptions, ReadPhoto, read_photo
from photoage.pool import PhotoPool

ALONE = ReadOptions(default_detector(), 112)


@pytest.fixture(scope="module")
def server() -> Iterator[DetectionServer]:
    with DetectionServer(Detector(default_detector())) as running:
        yield running


@pytest.fixture(scope="module")
def photos(sample_library: Path) -> list[str]:
    folders = ("people", "white_house", "orientations", "places")
    return sorted(str(p) for folder in folders for p in (sample_library / folder).iterdir())


def read_or_die(path: str, options: ReadOptions) -> ReadPhoto:
    if path == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_photo(path, options)


def options_for(server: ServerAddress) -> ReadOptions:
    return ReadOptions(default_detector(), 112, server=server)


def test_workers_get_the_faces_that_they_would_find_themselves(
    server: DetectionServer, photos: list[str]
) -> None:
    options = options_for(server.address)
    tasks = [*photos[:5], "die", *photos[5:]]  # a worker that dies costs the server nothing
    with PhotoPool(3, timeout=60) as pool:
        outcomes = list(pool.run(read_or_die, tasks, lambda path: (path, options)))
    read = {outcome.task: outcome.value for outcome in outcomes}
    assert sorted(read) == sorted(tasks)
    faces = 0
    for path in photos:
        expected, photo = read_photo(path, ALONE), read[path]
        assert photo is not None, path
        assert photo.provider == "CPUExecutionProvider"
        assert len(photo.faces.detections) == len(expected.faces.detections), path
        for found, own in zip(photo.faces.detections, expected.faces.detections, strict=True):
            np.testing.assert_allclose(found.bbox, own.bbox, atol=0.1)
            np.testing.assert_allclose(found.landmarks, own.landmarks, atol=0.1)
        np.testing.assert_allclose(photo.crops, expected.crops, atol=3)
        faces += len(photo.crops)
    assert faces >= 13


def test_square_views_find_the_same_faces(
    server: DetectionServer, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU all views are squares."""
    path = str(sample_library / "white_house" / "obama_2012.jpg")
    expected = read_photo(path, ALONE).faces.detections
    monkeypatch.setattr(server._detector, "_square", True)
    found = read_photo(path, options_for(server.address)).faces.detections
    assert len(found) == len(expected) == 1
    np.testing.assert_allclose(found[0].bbox, expected[0].bbox, rtol=0.02)


def test_a_failing_detector_ends_the_scan_with_its_cause(
    server: DetectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(server._detector, "find", fail)
    with pytest.raises(DeviceError, match=r"the detector failed \(CUDA out of memory\)"):
        RemoteDetector(server.address).detect(np.zeros((64, 64, 3), dtype=np.uint8))


def test_a_server_that_has_ended_is_named() -> None:
    with DetectionServer(Detector(default_detector())) as server:
        remote = RemoteDetector(server.address)
        assert remote.detect(np.zeros((64, 64, 3), dtype=np.uint8)) == []
    remote._connection.close()
    with pytest.raises(DeviceError, match="the process that detects faces has ended"):
        remote.detect(np.zeros((64, 64, 3), dtype=np.uint8))
