"""One process owns the GPU: workers send it the small views of their photos, and it answers in batches.

A worker waits for each answer, so at most one photo per worker is in flight.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from queue import Empty, SimpleQueue
from typing import Any, Self

from photoage.errors import DeviceError, PhotoageError
from photoage.faces.detector import Detector, FaceFinder
from photoage.faces.views import Found, PhotoViews
from photoage.records import ImageArray

BATCH = 32  # photos that go through the detector together, if as many are waiting
BACKLOG = 128
Asked = PhotoViews | Sequence[ImageArray]  # a photo, or parts of one


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a detection server listens on this machine, and the key that it asks for."""

    address: Any
    key: bytes


class DetectionServer:
    """Runs a detector for other processes, in threads of this one. Use as a context manager."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._batch = BATCH
        self._waiting: SimpleQueue[tuple[Connection, Asked, float] | None] = SimpleQueue()
        key = os.urandom(16)
        self._listener = Listener(backlog=BACKLOG, authkey=key)
        self.address = ServerAddress(self._listener.address, key)
        self._closing = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._answering = threading.Thread(target=self._answer, daemon=True)
        self._receiving: dict[threading.Thread, Connection] = {}

    def __enter__(self) -> Self:
        self._accepting.start()
        self._answering.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up on everybody. When this returns, no thread is left, and none holds the detector."""
        self._closing = True
        self._waiting.put(None)
        with contextlib.suppress(OSError, EOFError):
            Client(self.address.address, authkey=self.address.key).close()  # wakes `accept`
        self._accepting.join()  # after which nobody else is let in
        self._listener.close()
        self._answering.join()
        for connection in self._receiving.values():
            _hang_up(connection)
        for thread in self._receiving:
            thread.join()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection = self._listener.accept()
                connection.send(self._detector.providers)
            except (OSError, EOFError, AuthenticationError):
                continue  # a worker that ended as it began, or a stranger
            for ended in [thread for thread in self._receiving if not thread.is_alive()]:
                del self._receiving[ended]
            thread = threading.Thread(target=self._receive, args=(connection,), daemon=True)
            self._receiving[thread] = connection
            thread.start()

    def _receive(self, connection: Connection) -> None:
        with connection, contextlib.suppress(OSError, EOFError):  # the worker has ended
            while True:
                what, det_thresh = connection.recv()
                self._waiting.put((connection, what, det_thresh))

    def _answer(self) -> None:
        while (batch := self._next_batch()) is not None:
            # All workers of a scan have the same threshold for photos.
            photos = [(what, at) for _, what, at in batch if isinstance(what, PhotoViews)]
            found = iter(self._find([what for what, _ in photos], photos[0][1]) if photos else [])
            answers = [
                next(found) if isinstance(what, PhotoViews) else self._look(what, at) for _, what, at in batch
            ]
            for (connection, _, _), answer in zip(batch, answers, strict=True):
                with contextlib.suppress(OSError):  # the worker was given up meanwhile
                    connection.send(answer)

    def _next_batch(self) -> list[tuple[Connection, Asked, float]] | None:
        """What is waiting, as many as go together, or None when the server is to end."""
        if (first := self._waiting.get()) is None:
            return None
        batch = [first]
        with contextlib.suppress(Empty):
            while len(batch) < self._batch:
                if (more := self._waiting.get_nowait()) is None:
                    self._waiting.put(None)  # it ends after these
                    break
                batch.append(more)
        return batch

    def _find(self, photos: list[PhotoViews], det_thresh: float) -> list[tuple[Found, Found] | DeviceError]:
        """The detector's answers. Photos that are too many for the GPU's memory go in smaller batches."""
        try:
            return list(self._detector.find(photos, det_thresh))
        except Exception as error:  # noqa: BLE001 - handed to the workers that wait for it
            if len(photos) > 1:
                half = len(photos) // 2
                self._batch = min(self._batch, half)
                return self._find(photos[:half], det_thresh) + self._find(photos[half:], det_thresh)
            return [_failure(error)]

    def _look(self, views: Sequence[ImageArray], det_thresh: float) -> list[Found] | DeviceError:
        try:
            return self._detector.look(views, det_thresh)
        except Exception as error:  # noqa: BLE001 - handed to the worker that waits for it
            if len(views) == 1:
                return _failure(error)
            parts = [self._look([view], det_thresh) for view in views]
            return next((each for each in parts if isinstance(each, DeviceError)), None) or [
                found for each in parts if isinstance(each, list) for found in each
            ]


def _failure(error: Exception) -> DeviceError:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DeviceError(f"the detector failed ({cause})")


class RemoteDetector(FaceFinder):
    """A worker's side: what `Detector` does, by a server's detector."""

    def __init__(self, server: ServerAddress) -> None:
        """Raises `DeviceError` when there is no such server."""
        try:
            self._connection = Client(server.address, authkey=server.key)
            self.providers: list[str] = self._connection.recv()
        except (OSError, EOFError, AuthenticationError) as error:
            raise DeviceError("the process that detects faces has ended") from error

    def find_one(self, views: PhotoViews, det_thresh: float) -> tuple[Found, Found]:
        """As `Detector.find_one`. Raises `DeviceError` when the server fails or has ended."""
        found: tuple[Found, Found] = self._ask(views, det_thresh)
        return found

    def look(self, views: Sequence[ImageArray], det_thresh: float) -> list[Found]:
        """As `Detector.look`. Raises `DeviceError` when the server fails or has ended."""
        found: list[Found] = self._ask(list(views), det_thresh)
        return found

    def _ask(self, what: Asked, det_thresh: float) -> Any:
        try:
            self._connection.send((what, det_thresh))
            answer = self._connection.recv()
        except (OSError, EOFError) as error:
            raise DeviceError("the process that detects faces has ended") from error
        if isinstance(answer, PhotoageError):
            raise answer
        return answer


def _hang_up(connection: Connection) -> None:
    """End a conversation. Merely to close it would leave a thread that waits in `recv` waiting."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
