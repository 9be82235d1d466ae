"""From the plan to what an engine has to do. Reads from the database, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from photoage.database.known import KnownPhotos
from photoage.records import PhotoFile
from photoage.scan.engine import Finished, Looked, PhotoTask, Task
from photoage.scan.plan import Action, Plan, Planned


class InFlight:
    """Photos that are being read, by size: a copy of one of them cannot be recognised yet."""

    def __init__(self) -> None:
        self._paths: dict[int, set[str]] = {}

    def __contains__(self, size: object) -> bool:
        return size in self._paths

    def add(self, file: PhotoFile) -> None:
        self._paths.setdefault(file.size, set()).add(file.path)

    def remove(self, finished: Iterable[Finished[Task]]) -> None:
        """These photos are stored, so that the database knows them."""
        for outcome, _ in finished:
            if isinstance(outcome.task, PhotoTask):
                file = outcome.task.file
                paths = self._paths.get(file.size, set())
                paths.discard(file.path)
                if not paths:
                    self._paths.pop(file.size, None)


class Tasks:
    """Makes tasks of photos that are to be read, until there are `limit` of them or the scan must stop."""

    def __init__(
        self, known: KnownPhotos, in_flight: InFlight, limit: int | None, must_stop: Callable[[], bool]
    ) -> None:
        self._known, self._in_flight, self._must_stop = known, in_flight, must_stop
        self._limit, self._started = limit, 0

    def of_plan(self, plan: Plan) -> Iterator[Task]:
        """For every few photos of a plan what was seen of them, and then those to be read now."""
        for photos in plan:
            if self._must_stop():
                return
            yield Looked(photos)
            yield from self.of(photo for photo in photos if photo.is_to_read)

    def of(self, photos: Iterable[Planned]) -> Iterator[PhotoTask]:
        for photo in photos:
            if self._must_stop():
                return
            if photo.action is Action.DATE:
                yield PhotoTask(photo.file, photo.known, only_date=True)
                continue
            if self._started == self._limit:
                continue  # only dates are taken from here on
            self._started += 1
            faces = None
            if photo.action is Action.ESTIMATE and photo.known is not None:
                faces = self._known.faces(photo.known.id)
            self._in_flight.add(photo.file)
            yield PhotoTask(photo.file, photo.known, faces, photo.hashes)
