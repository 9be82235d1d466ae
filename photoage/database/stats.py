"""Counts that describe all that is stored: by status, age, year and folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Engine, Text, func, select, type_coerce

from photoage.database.connect import database_errors, database_name, reading
from photoage.database.tables import DamagedValueError, Face, Photo, StoredEstimate

BIN_YEARS = 5


class AgeBin(NamedTuple):
    """Faces with an estimated age of at least `low` and less than `high` years."""

    low: int
    high: int
    faces: int


class YearCount(NamedTuple):
    """Photos taken in a year, and their faces; `year` is None for photos without a date."""

    year: int | None
    photos: int
    faces: int


class FolderCount(NamedTuple):
    """Photos that lie directly in a folder, and their faces."""

    folder: str
    photos: int
    faces: int


@dataclass(frozen=True, slots=True)
class LibraryStats:
    """`by_status` counts photos. Ages and years ascend, an unknown year last; folders by path.

    A photo that is `missing` counts with its faces, as it does in queries.
    """

    photos: int
    photos_with_faces: int
    faces: int
    by_status: dict[str, int]
    ages: list[AgeBin] = field(default_factory=list)
    years: list[YearCount] = field(default_factory=list)
    folders: list[FolderCount] = field(default_factory=list)


def _year(taken_at: object) -> int | None:
    try:
        return int(str(taken_at)[:4]) if taken_at else None
    except ValueError as error:
        raise DamagedValueError(f"not a time: {taken_at}") from error


def library_stats(engine: Engine) -> LibraryStats:
    """Count everything; takes seconds when there are millions of faces. Raises `DatabaseError`."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        current = select(func.count()).select_from(StoredEstimate).where(StoredEstimate.current)
        oldest = connection.scalar(select(func.max(StoredEstimate.age)).where(StoredEstimate.current))
        ages = []
        for low in range(0, 0 if oldest is None else int(max(oldest, 0)) + 1, BIN_YEARS):
            # Ages are positive; should one not be, it is in the first bin all the same.
            above = [StoredEstimate.age >= low] if low else []
            inside = current.where(*above, StoredEstimate.age < low + BIN_YEARS)
            ages.append(AgeBin(low, low + BIN_YEARS, connection.scalar(inside) or 0))
        by_status = {"done": 0, "unreadable": 0, "missing": 0}
        years: dict[int | None, list[int]] = {}
        folders: dict[str, list[int]] = {}
        with_faces = 0
        faces = select(func.count()).where(Face.photo_id == Photo.id).scalar_subquery()
        photos = select(Photo.path, type_coerce(Photo.taken_at, Text), Photo.status, faces)
        with reading(connection).execute(photos) as found:
            for path, taken_at, status, number in found:
                by_status[status] = by_status.get(status, 0) + 1
                with_faces += number > 0
                for group in (
                    years.setdefault(_year(taken_at), [0, 0]),
                    folders.setdefault(os.path.dirname(path), [0, 0]),
                ):
                    group[0] += 1
                    group[1] += number
    return LibraryStats(
        photos=sum(by_status.values()),
        photos_with_faces=with_faces,
        faces=sum(number for _, number in years.values()),
        by_status=by_status,
        ages=ages,
        years=[YearCount(year, *years[year]) for year in sorted(years, key=lambda y: (y is None, y or 0))],
        folders=[FolderCount(folder, *folders[folder]) for folder in sorted(folders)],
    )
