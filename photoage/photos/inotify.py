"""Linux's notifications of changes, for those folders alone that a walk enters: watches are limited."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

_MASK = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
)


class FolderNotifier:
    """Calls `changed` with every path that came, changed or went in the folders.

    `folders_in(folder)` gives the folder and all below it that are of interest; it is asked again for every
    folder that appears. `lost` is called when the system dropped notifications, or lends no more watches.
    """

    def __init__(
        self,
        folders_in: Callable[[str], Iterable[str]],
        changed: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        self._folders_in, self._changed, self._lost = folders_in, changed, lost
        self._paths: dict[WatchDescriptor, str] = {}
        self._lock = threading.Lock()
        self._id = CallbackId(id(self))
        self._inotify = InotifyFD()
        self._inotify.start()

    def add(self, folder: str) -> None:
        """Watch a folder and those in it. Raises `OSError` when the system lends no more watches."""
        for path in self._folders_in(folder):
            try:
                watch = self._inotify.add_callback(os.fsencode(path), _MASK, self, self._id)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # it went again, or cannot be read by a scan either
            with self._lock:
                self._paths[watch] = path

    def stop(self) -> None:
        self._inotify.stop()
        self._inotify.join()

    # --- what watchdog's thread calls -----------------------------------------------------------

    def on_event(self, event: InotifyEvent) -> None:
        with self._lock:
            folder = self._paths.get(event.wd)
        if folder is None:
            return
        path = os.path.join(folder, os.fsdecode(event.name)) if event.name else folder
        if event.is_moved_from and event.is_directory:
            self._forget(path)
            return
        if event.is_directory and (event.is_create or event.is_moved_to):
            try:
                self.add(path)
            except OSError:
                self._lost()
        self._changed(path)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        with self._lock:
            self._paths.pop(wd, None)

    def on_queue_overflow(self) -> None:
        self._lost()

    def _forget(self, folder: str) -> None:
        """A folder has moved: its watches would tell of wrong paths."""
        inside = os.path.join(folder, "")
        with self._lock:
            gone = [watch for watch, path in self._paths.items() if path == folder or path.startswith(inside)]
            for watch in gone:
                del self._paths[watch]
        self._inotify.remove_callbacks([(watch, self._id) for watch in gone])
