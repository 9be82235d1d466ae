"""Folders watched for new and changed photos: as the system tells, or by looking time and again."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from photoage.filesystem import filesystem_type, is_network
from photoage.photos.walk import WalkedFolders, WalkOptions, walk_changed
from photoage.records import PhotoFile

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

    from photoage.photos.inotify import FolderNotifier

QUIET = 2.0  # seconds without a change after which a photo counts as written
POLL = 30.0  # seconds between walks of the roots where the system does not notify of changes
LOOK = 3600.0  # seconds between them where it does: it misses some
REST = 10  # the least pause after a walk, in times of how long the walk took
CHECK = 5.0  # seconds between checks that the roots are still the same folders
TICK = 0.2

_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent,
    FileMovedEvent,
]  # fmt: skip


def watch(
    roots: Sequence[str],
    options: WalkOptions,
    stop: threading.Event,
    *,
    poll: float | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Iterator[list[PhotoFile] | None]:
    """Yield new and changed photos once they are at rest, or None when all roots (folders) need a look.

    A photo counts as changed when a file beside it that tells about it came, changed or went.

    The first is None. Ends when `stop` is set. Changes made while the caller deals with one answer come
    with a later one. With `poll`, in seconds, only looks; and so where the system cannot tell of
    changes, of which `warn` gets a line.
    """
    changes = _Changes()
    notifier = None if poll is not None or _on_network(roots, warn) else _Notifier(changes)
    watched: list[tuple[int, int] | None] = []
    next_check = next_look = 0.0
    try:
        while not stop.is_set():
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + CHECK
                here = [_identity(root) for root in roots]
                if here != watched:
                    for root, now, before in zip(roots, here, watched or here, strict=True):
                        if now is None and before is not None:
                            warn(f"{root}: is gone; it is watched again once it is back")
                    watched, next_look = here, 0.0
                    present = [root for root, identity in zip(roots, here, strict=True) if identity]
                    if notifier is not None and not notifier.start(present, options, warn):
                        notifier = None
            if (started := time.monotonic()) >= next_look or changes.lost:
                changes.clear()  # what follows is told anew
                yield None
                interval = LOOK if notifier is not None else poll or POLL
                next_look = time.monotonic() + max(interval, REST * (time.monotonic() - started))
            elif files := _photos(roots, changes.settled(), options):
                yield files
                for file in files:
                    if _differs(file):
                        changes.note(file.path)  # it was written to while it was read
            stop.wait(TICK)
    finally:
        if notifier is not None:
            notifier.stop()


class _Changes(FileSystemEventHandler):
    """Paths that changed, with the time of the last change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self.lost = False  # some changes were not told: a look at everything is due

    def lose(self) -> None:
        self.lost = True

    def on_any_event(self, event: FileSystemEvent) -> None:
        for path in (event.src_path, event.dest_path):
            if path:
                self.note(os.fsdecode(path))

    def note(self, path: str) -> None:
        with self._lock:
            self._last[path] = time.monotonic()

    def settled(self) -> list[str]:
        """Take the paths without a change in the last QUIET seconds."""
        with self._lock:
            limit = time.monotonic() - QUIET
            paths = [path for path, last in self._last.items() if last <= limit]
            for path in paths:
                del self._last[path]
        return paths

    def clear(self) -> None:
        with self._lock:
            self._last.clear()
            self.lost = False


class _Notifier:
    """Notes the changes that the system notifies of."""

    def __init__(self, changes: _Changes) -> None:
        self._changes = changes
        self._observer: BaseObserver | None = None
        self._inotify: FolderNotifier | None = None

    def start(self, roots: Sequence[str], options: WalkOptions, warn: Callable[[str], None]) -> bool:
        """Begin (again) to note what changes under the roots. False if the system cannot tell all."""
        self.stop()
        try:
            if sys.platform == "linux":
                self._start_inotify(roots, options)
                return True
            self._observer = observer = Observer()
            observer.start()
            for root in roots:
                observer.schedule(
                    self._changes, root, recursive=True, event_filter=_EVENTS, follow_symlink=options.follow
                )
        except OSError as error:
            warn(f"the system does not tell of changes ({error.strerror}): looking every {POLL:.0f} seconds")
            self.stop()
            return False
        return True

    def _start_inotify(self, roots: Sequence[str], options: WalkOptions) -> None:
        from photoage.photos.inotify import FolderNotifier

        walked = WalkedFolders(roots, options)
        self._inotify = FolderNotifier(walked.within, self._changes.note, self._changes.lose)
        for root in roots:
            self._inotify.add(root)

    def stop(self) -> None:
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify = None
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


def _on_network(roots: Sequence[str], warn: Callable[[str], None]) -> bool:
    """Whether a root is where another machine can make changes, of which this one is never told."""
    for root in roots:
        if is_network(kind := filesystem_type(Path(root))):
            warn(
                f"{root}: is on a network file system ({kind}): looking for changes every {POLL:.0f} seconds"
            )
            return True
    return False


def _photos(roots: Sequence[str], paths: Sequence[str], options: WalkOptions) -> list[PhotoFile]:
    return [entry for entry in walk_changed(roots, paths, options) if isinstance(entry, PhotoFile)]


def _identity(root: str) -> tuple[int, int] | None:
    """What tells a folder from another one mounted or made in its place."""
    try:
        info = os.stat(root)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _differs(file: PhotoFile) -> bool:
    try:
        info = os.stat(file.path)
    except OSError:
        return False
    return not file.is_same_version(info)
