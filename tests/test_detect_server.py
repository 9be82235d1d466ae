"""Detection by one process for all workers, as with a GPU; here the server's detector is on the CPU."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoded import decode_photo
from faults.scanning import wait_until

from photoage.errors import DeviceError
from photoage.faces.detector import Detector
from photoage.faces.detector_files import default_detector
from photoage.faces.gpu_server import BATCH, DetectionServer, RemoteDetector, ServerAddress
from photoage.faces.read import ReadOptions, ReadPhoto, read_photo
from photoage.faces.views import Found, PhotoViews
from photoage.pool import PhotoPool
from photoage.records import ImageArray

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


def test_a_server_ends_under_load_and_lets_go_of_its_detector() -> None:
    """Workers ask as fast as they can while it ends; a GPU's memory would be lost otherwise."""
    before = set(threading.enumerate())
    detector = Detector(default_detector())
    gone = weakref.ref(detector)
    ended = threading.Barrier(4, timeout=60)
    answers: list[int] = []

    def ask(address: ServerAddress) -> None:
        remote = RemoteDetector(address)
        try:
            while True:
                remote.detect(np.zeros((64, 64, 3), dtype=np.uint8))
                answers.append(1)
        except DeviceError:
            ended.wait()

    with DetectionServer(detector) as server:
        for _ in range(3):
            threading.Thread(target=ask, args=(server.address,), daemon=True).start()
        while len(answers) < 20:
            time.sleep(0.01)
    ended.wait()
    del server, detector
    assert wait_until(lambda: set(threading.enumerate()) <= before, 10)
    gc.collect()
    assert gone() is None


def test_a_server_ends_after_the_photos_that_wait() -> None:
    """Its last photos and the call to end may well be waiting together."""
    detector = Detector(default_detector())
    find, asked, go_on = detector.find, threading.Event(), threading.Event()

    def find_slowly(photos: Sequence[PhotoViews], det_thresh: float) -> Any:
        asked.set()
        assert go_on.wait(60)
        return find(photos, det_thresh)

    detector.find = find_slowly  # type: ignore[method-assign]
    server = DetectionServer(detector).__enter__()
    blank, answers = np.zeros((64, 64, 3), dtype=np.uint8), []
    remotes = [RemoteDetector(server.address) for _ in range(2)]

    def ask(remote: RemoteDetector) -> None:
        answers.append(remote.detect(blank))

    asking = [threading.Thread(target=ask, args=(remote,), daemon=True) for remote in remotes]
    asking[0].start()
    assert asked.wait(60)
    asking[1].start()
    assert wait_until(lambda: server._waiting.qsize() == 1, 60)
    ending = threading.Thread(target=server.__exit__, daemon=True)
    ending.start()
    assert wait_until(lambda: server._waiting.qsize() == 2, 60)
    ending.join(0.2)
    assert ending.is_alive()  # whoever ends it may rely on the detector being free
    go_on.set()
    ending.join(60)
    assert not ending.is_alive()
    for thread in asking:
        thread.join(60)
    assert answers == [[], []]


def test_a_stranger_does_not_keep_workers_out() -> None:
    server = DetectionServer(Detector(default_detector())).__enter__()
    answers: list[object] = []

    def knock() -> None:
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                Client(server.address.address, authkey=b"wrong")
        answers.append(RemoteDetector(server.address).detect(np.zeros((64, 64, 3), dtype=np.uint8)))
        with pytest.raises(DeviceError, match="has ended"):
            RemoteDetector(replace(server.address, key=b"wrong"))
        answers.append("refused")

    knocking = threading.Thread(target=knock, daemon=True)  # where nobody answers, it waits for ever
    knocking.start()
    knocking.join(60)
    assert answers == [[], "refused"]
    server.__exit__()


def test_batches_that_are_too_large_for_the_gpu_are_halved(
    server: DetectionServer, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, sizes = server._detector.find, []

    def find_few(photos: list[PhotoViews], det_thresh: float) -> Any:
        sizes.append(len(photos))
        if len(photos) > 2:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return find(photos, det_thresh)

    monkeypatch.setattr(server._detector, "find", find_few)
    monkeypatch.setattr(server, "_batch", BATCH)
    rgb = decode_photo(str(sample_library / "people" / "eileen_collins.png")).rgb
    blank = np.zeros((64, 64, 3), dtype=np.uint8)
    views = [PhotoViews.of(picture, 640) for picture in (rgb, blank, rgb, blank, blank)]
    answers = server._find(views, 0.5)
    found = [answer[0][0][:, 4] for answer in answers if isinstance(answer, tuple)]
    assert [int((scores >= 0.5).sum()) for scores in found] == [1, 0, 1, 0, 0]
    assert sizes == [5, 2, 3, 1, 2]
    assert server._batch == 1  # and not tried again


def test_parts_of_a_photo_that_are_too_many_for_the_gpu_are_looked_at_one_by_one(
    server: DetectionServer, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, most = server._detector.look, 1

    def look_at_few(views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
        if len(views) > most:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return look(views, det_thresh)

    monkeypatch.setattr(server._detector, "look", look_at_few)
    rgb = decode_photo(str(sample_library / "people" / "eileen_collins.png")).rgb
    remote = RemoteDetector(server.address)
    found = remote.look([rgb, np.zeros_like(rgb), rgb], 0.5)
    assert [len(boxes) for boxes, _ in found] == [1, 0, 1]
    most = 0
    with pytest.raises(DeviceError, match="the detector failed"):
        remote.look([rgb, rgb], 0.5)


def test_a_server_that_has_ended_is_named() -> None:
    with DetectionServer(Detector(default_detector())) as server:
        remote = RemoteDetector(server.address)
        assert remote.detect(np.zeros((64, 64, 3), dtype=np.uint8)) == []
    remote._connection.close()
    with pytest.raises(DeviceError, match="the process that detects faces has ended"):
        remote.detect(np.zeros((64, 64, 3), dtype=np.uint8))
