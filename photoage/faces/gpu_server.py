"""One process owns the GPU: workers send it the small views of their photos, and it answers in batches.

A worker waits for each answer, so at most one photo per worker is in flight.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from queue import Empty, SimpleQueue
from typing import Any, Self

from photoage.errors import DeviceError, PhotoageError
from photoage.faces.detector import DET_SIZE, DET_THRESH, Detector
from photoage.faces.detector_files import DetectorFile
from photoage.faces.views import Found, PhotoViews
from photoage.records import Detection, ImageArray

BATCH = 32  # photos that go through the detector together, if as many are waiting
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a detection server listens on this machine, and the key that it asks for."""

    address: Any
    key: bytes


class DetectionServer:
    """Runs a detector for other processes, in threads of this one. Use as a context manager."""

    def __init__(self, file: DetectorFile, device: str) -> None:
        """Raises `DetectorError` or `DeviceError` as `Detector` does."""
        self._detector = Detector(file, device=device)
        self._waiting: SimpleQueue[tuple[Connection, PhotoViews, float] | None] = SimpleQueue()
        key = os.urandom(16)
        self._listener = Listener(backlog=BACKLOG, authkey=key)
        self.address = ServerAddress(self._listener.address, key)
        self._closing = False

    def __enter__(self) -> Self:
        for work in (self._accept, self._answer):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._waiting.put(None)
        with contextlib.suppress(OSError, EOFError):
            Client(self.address.address, authkey=self.address.key).close()  # wakes `accept`
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection = self._listener.accept()
                connection.send(self._detector.providers)
            except (OSError, EOFError):
                continue  # a worker that ended as it began
            threading.Thread(target=self._receive, args=(connection,), daemon=True).start()

    def _receive(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, EOFError):  # the worker has ended
            while True:
                views, det_thresh = connection.recv()
                self._waiting.put((connection, views, det_thresh))

    def _answer(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            with contextlib.suppress(Empty):
                while len(batch) < BATCH and (more := self._waiting.get_nowait()) is not None:
                    batch.append(more)
            answers: list[Any]
            try:
                # All workers of a scan have the same threshold.
                answers = list(self._detector.find([views for _, views, _ in batch], first[2]))
            except Exception as error:  # noqa: BLE001 - handed to the workers that wait for it
                cause = str(error).splitlines()[0] if str(error) else type(error).__name__
                answers = [DeviceError(f"the detector failed ({cause})")] * len(batch)
            for (connection, _, _), answer in zip(batch, answers, strict=True):
                with contextlib.suppress(OSError):  # the worker was given up meanwhile
                    connection.send(answer)


class RemoteDetector:
    """A worker's side: what `Detector` does, by a server's detector."""

    def __init__(self, server: ServerAddress) -> None:
        self._connection = Client(server.address, authkey=server.key)
        self.providers: list[str] = self._connection.recv()

    def detect(
        self, rgb: ImageArray, *, det_thresh: float = DET_THRESH, det_size: int = DET_SIZE
    ) -> list[Detection]:
        """As `Detector.detect`. Raises `DeviceError` when the server fails or has ended."""
        if min(rgb.shape[:2]) < 2:
            return []
        views = PhotoViews.of(rgb, det_size)
        try:
            self._connection.send((views, det_thresh))
            answer: tuple[Found, Found] | PhotoageError = self._connection.recv()
        except (OSError, EOFError) as error:
            raise DeviceError("the process that detects faces has ended") from error
        if isinstance(answer, PhotoageError):
            raise answer
        return views.faces(answer)
