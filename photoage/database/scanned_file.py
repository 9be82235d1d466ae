"""A photo's file as it was scanned, and whether it is still that one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Engine, select

from photoage.database.connect import database_errors, database_name
from photoage.database.tables import Photo
from photoage.records import PhotoDate, PhotoFile, WalkProblem


class ScannedFile(NamedTuple):
    """A photo's file as its scan found it. `status`: `done`, `unreadable` or `missing`."""

    path: str
    size: int
    mtime_ns: int
    status: str
    taken_at: PhotoDate | None = None
    date_source: str | None = None
    turn: int = 0  # degrees clockwise, beyond what the file states
    pages: list[tuple[int, int, int]] | None = None  # width, height and turn, where there are several

    def turn_of(self, page: int) -> int:
        if self.pages is None:
            return self.turn
        return self.pages[page - 1][2] if page <= len(self.pages) else 0

    def difference(self, now: PhotoFile | WalkProblem) -> str | None:
        """Why the stored faces may not be those of the file any more, in words; None if they are.

        `now` is the file as the walk finds it.
        """
        if isinstance(now, WalkProblem):
            return "the file is gone" if now.kind == "vanished" else now.message
        if (now.size, now.mtime_ns) != (self.size, self.mtime_ns):
            return "changed since it was scanned; scan it again"
        return None


def scanned_files(engine: Engine, paths: Iterable[str]) -> dict[str, ScannedFile]:
    """Those of some hundred photos that the database has, by path."""
    names = ("path", "size", "mtime_ns", "status", "taken_at", "date_source", "turn", "pages")
    photos = select(*(getattr(Photo, name) for name in names)).where(Photo.path.in_(paths))
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        return {row.path: ScannedFile(*row) for row in connection.execute(photos)}
