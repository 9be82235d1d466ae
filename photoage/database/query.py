"""Faces that match a filter: how many they are, their rows, and the photos that they are on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Text,
    and_,
    func,
    literal,
    or_,
    select,
    type_coerce,
)

from photoage.database.chances import Chances, chances_of
from photoage.database.connect import database_errors, database_name, reading
from photoage.database.dialect import backend, unindexed
from photoage.database.face_filter import FaceFilter, Sort
from photoage.database.globs import folder_of, path_tests
from photoage.database.persons import find_person, has_persons, person_labels
from photoage.database.tables import (
    DamagedValueError,
    Face,
    PersonFace,
    Photo,
    StoredCheckpoint,
    StoredDetector,
    StoredEstimate,
)

# An index gives matches in its own order, and reading their rows in that order costs some ten times
# as much per row as reading the whole table does: it pays for less than this share of the faces.
NARROW = 1 / 20
FEW = 1000  # rows that are always worth it
ROUNDING = 0.0005  # stored ages have three decimals; their difference in binary may miss by less

# --- the filter ---------------------------------------------------------------------------------


# --- faces --------------------------------------------------------------------------------------


class FaceRow(NamedTuple):
    """One face with its current estimate. Dates are ISO 8601 text, as stored.

    x1, y1, x2, y2 in pixels of the upright photo.
    """

    path: str
    face_index: int
    age: float
    age_low: float
    age_high: float
    det_score: float
    x1: float
    y1: float
    x2: float
    y2: float
    photo_width: int
    photo_height: int
    taken_at: str | None
    scanned_at: str
    detector: str
    checkpoint: str
    date_source: str | None = None
    person: str | None = None
    age_source: str = "face"
    page: int = 1


FIELDS = FaceRow._fields
DETAILS = ("sharpness", "yaw")  # what JSON tells beyond the columns of the CSV; yaw in degrees

_COLUMNS: tuple[Any, ...] = (
    Photo.path,
    Face.face_index,
    StoredEstimate.age,
    StoredEstimate.age_low,
    StoredEstimate.age_high,
    Face.det_score,
    Face.x1,
    Face.y1,
    Face.x2,
    Face.y2,
    Photo.width,
    Photo.height,
    type_coerce(Photo.taken_at, Text),
    type_coerce(Photo.scanned_at, Text),
    Photo.detector_id,  # these two are replaced by names
    StoredEstimate.checkpoint_id,
    Photo.date_source,
    literal(None, Text),  # the person
    StoredEstimate.age_source,
    Face.page,
)
_DETECTOR = FIELDS.index("detector")
_PERSON = FIELDS.index("person")
_PERSON_OF_FACE = (
    select(PersonFace.person_id).where(PersonFace.face_id == Face.id).correlate(Face).scalar_subquery()
)
NUMBERS = slice(FIELDS.index("face_index"), FIELDS.index("taken_at"))


def count_faces(engine: Engine, wanted: FaceFilter) -> int:
    """How many faces `iter_faces` gives."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        found = select(func.count()).select_from(StoredEstimate)
        if _only_estimates(wanted):
            # Ages alone are counted in their index. Where intervals or strata count, reading all is faster.
            indexed = wanted.max_interval is None and wanted.prob is None
            column: Callable[[Any], Any] = _indexed if indexed else unindexed
            chances = chances_of(connection, wanted)
            tests = _tests(wanted, _ranges(connection, wanted, chances), column, chances)
            found = found.where(column(_shown(wanted)), *tests)
        else:
            found = _matching(connection, found, wanted)
        number = connection.scalar(found) or 0
    return number if wanted.limit is None else min(number, wanted.limit)


def iter_faces(engine: Engine, wanted: FaceFilter) -> Iterator[FaceRow]:
    """The faces that match. Read as they are asked for, however many there are."""
    return (row for row, _ in iter_with(engine, wanted))


def iter_detailed(engine: Engine, wanted: FaceFilter) -> Iterator[tuple[Any, ...]]:
    """`iter_faces`, each row with the values of DETAILS after its own."""
    return ((*row, *more) for row, more in iter_with(engine, wanted, Face.sharpness, Face.yaw))


def iter_with(engine: Engine, wanted: FaceFilter, *columns: Any) -> Iterator[tuple[FaceRow, tuple[Any, ...]]]:
    """`iter_faces`, each row with these further columns of the tables Photo, Face and StoredEstimate."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        persons = person_labels(connection) if has_persons(connection) else {}
        own_columns = [*_COLUMNS]
        if persons:
            own_columns[_PERSON] = _PERSON_OF_FACE
        faces = _matching(connection, select(*own_columns, Photo.pages, *columns), wanted)
        order = _order(_sort_key(wanted), wanted)
        faces = faces.order_by(order, Photo.path, Face.face_index).limit(wanted.limit)
        detectors, checkpoints = _names(connection, StoredDetector), _names(connection, StoredCheckpoint)
        with reading(connection).execute(faces) as found:
            for row in found:
                own = row[:_DETECTOR]
                try:
                    sum(own[NUMBERS])
                except TypeError as error:
                    raise DamagedValueError("a face with a value that is not a number") from error
                names = detectors.get(row[_DETECTOR]), checkpoints.get(row[_DETECTOR + 1])
                rest = row[_DETECTOR + 2 : len(FIELDS)]
                face = FaceRow._make(own + names + rest)
                if persons and face.person is not None:
                    face = face._replace(person=persons.get(row[_PERSON]))
                yield _on_its_page(face, row[len(FIELDS)]), row[len(FIELDS) + 1 :]


def _on_its_page(face: FaceRow, pages: list[Any] | None) -> FaceRow:
    """With the size of its page, where a file has several."""
    if pages is None:
        return face
    try:
        width, height, _ = pages[face.page - 1]
    except (IndexError, TypeError, ValueError) as error:
        raise DamagedValueError("a face on a page that the photo does not have") from error
    return face._replace(photo_width=width, photo_height=height)


def _names(connection: Connection, table: type[StoredDetector | StoredCheckpoint]) -> dict[int, str]:
    return {row.id: row.name for row in connection.execute(select(table.id, table.name))}


def iter_paths(engine: Engine, wanted: FaceFilter) -> Iterator[str]:
    """The photos of the faces that match, each once, in the order of its first face; `limit` photos."""
    with database_errors(database_name(engine.url)), engine.connect() as connection:
        photos = _matching(connection, select(Photo.path), wanted)
        key = _sort_key(wanted)
        if wanted.sort in ("age", "score", "interval"):  # these differ between the faces of a photo
            key = func.max(key) if wanted.descending else func.min(key)
        # Grouped by index, the faces would be read in the order of photos, which is slower for many.
        # PostgreSQL does so only where it pays: for the first few paths.
        by_path = wanted.sort == "path" and backend(engine.url).TRUST_PLANNER
        photos = photos.group_by(Photo.path if by_path else unindexed(Photo.id))
        photos = photos.order_by(_order(key, wanted), Photo.path).limit(wanted.limit)
        with reading(connection).scalars(photos) as paths:
            yield from paths


def _sort_key(wanted: FaceFilter) -> ColumnElement[Any]:
    faces_of_photo = select(func.count()).where(Face.photo_id == Photo.id).correlate(Photo)
    keys: dict[Sort, Any] = {
        "path": Photo.path,
        "age": StoredEstimate.age,
        "date": Photo.taken_at,
        "score": Face.det_score,
        "interval": StoredEstimate.age_high - StoredEstimate.age_low,
        "faces": faces_of_photo.scalar_subquery(),
    }
    key: ColumnElement[Any] = keys[wanted.sort]
    return key


def _order(key: ColumnElement[Any], wanted: FaceFilter) -> ColumnElement[Any]:
    directed = key.desc() if wanted.descending else key.asc()
    return directed.nulls_last() if wanted.sort == "date" else directed


# --- how to find them ---------------------------------------------------------------------------


class _Range(NamedTuple):
    """A range of an indexed column, bounds inclusive."""

    id: Any  # of the column's table
    column: Any
    low: Any
    high: Any
    indexed: Any = None  # the condition of a partial index
    also: tuple[Any, ...] = ()  # values outside the range that count as inside

    def test(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        inside = [] if self.low is None else [column >= self.low]
        inside += [] if self.high is None else [column <= self.high]
        return [or_(and_(*inside), column.in_(self.also))] if self.also else inside

    def ids(self) -> Select[int]:
        condition = [] if self.indexed is None else [self.indexed]
        return select(self.id).where(*condition, *self.test(self.column)).correlate(None)


class _OfPersons(NamedTuple):
    """The faces of persons, which an index finds as it finds a range."""

    id: Any
    column: Any
    persons: list[int]

    def test(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [column.in_(self.ids())]

    def ids(self) -> Select[int]:
        return select(PersonFace.face_id).where(PersonFace.person_id.in_(self.persons)).correlate(None)


def _shown(wanted: FaceFilter) -> Any:
    """What marks the estimates that the question is about."""
    return StoredEstimate.latest if wanted.age_source == "face" else StoredEstimate.current


def _ranges(connection: Connection, wanted: FaceFilter, chances: Chances | None) -> list[_Range | _OfPersons]:
    found: list[_Range | _OfPersons] = []
    if wanted.persons:
        persons = [find_person(connection, person) for person in wanted.persons]
        found.append(_OfPersons(Face.id, Face.id, persons))
    if chances is not None:
        found.append(_Range(StoredEstimate.id, StoredEstimate.age, chances.low, chances.high, _shown(wanted)))
    elif wanted.min_age is not None or wanted.max_age is not None:
        ages = wanted.min_age, wanted.max_age
        found.append(_Range(StoredEstimate.id, StoredEstimate.age, *ages, _shown(wanted)))
    if wanted.from_date or wanted.to_date:
        # A date that is less precise is the beginning of the texts of all that it may mean, and sorts before.
        first, *vague = _beginnings(wanted.from_date) if wanted.from_date else [None]
        last = wanted.to_date and f"{wanted.to_date}~"
        found.append(_Range(Photo.id, Photo.taken_at, first, last, also=tuple(vague)))
    if wanted.path_glob and (folder := folder_of(wanted.path_glob)):
        found.append(_Range(Photo.id, Photo.path, folder, folder[:-1] + chr(ord(os.sep) + 1)))
    return found


def _beginnings(day: date) -> list[str]:
    """The first text of dates on this day or later; and the month and year that this day is within."""
    if (day.month, day.day) == (1, 1):
        return [f"{day.year:04}"]
    return (
        [f"{day:%Y-%m}", f"{day.year:04}"] if day.day == 1 else [f"{day}", f"{day:%Y-%m}", f"{day.year:04}"]
    )


def _matching(connection: Connection, query: Select[Any], wanted: FaceFilter) -> Select[Any]:
    """`query`, which has estimates, faces and photos among its tables, joined and restricted as wanted.

    Of the ranges, the narrowest finds the rows if it is narrow enough; else the whole table of
    estimates is read. SQLite's planner is left nothing, for it cannot know how many rows a range has:
    tables are joined outward from where the rows are found, and other conditions use no index.
    PostgreSQL's knows, and gets all conditions as they are.
    """
    chances = chances_of(connection, wanted)
    ranges = _ranges(connection, wanted, chances)
    best: _Range | _OfPersons | None = None
    if ranges and not backend(connection.engine.url).TRUST_PLANNER:
        newest = connection.scalar(select(func.max(StoredEstimate.id))) or 0
        best = _narrowest(connection, ranges, max(FEW, int(newest * NARROW)))
    if best is not None:
        ranges.remove(best)
        # Collected first, rows are then read in the order of the table, not of the index.
        query = query.where(best.id.in_(best.ids()))
    if best is not None and best.id is Photo.id:
        query = query.where(
            Face.photo_id == unindexed(Photo.id), StoredEstimate.face_id == unindexed(Face.id)
        )
    elif best is not None and best.id is Face.id:
        query = query.where(
            Photo.id == unindexed(Face.photo_id), StoredEstimate.face_id == unindexed(Face.id)
        )
    else:
        query = query.where(
            Photo.id == unindexed(Face.photo_id), Face.id == unindexed(StoredEstimate.face_id)
        )
    return query.where(unindexed(_shown(wanted)), *_tests(wanted, ranges, unindexed, chances))


def _narrowest(
    connection: Connection, ranges: list[_Range | _OfPersons], fewest: int
) -> _Range | _OfPersons | None:
    """The range with the fewest rows, or None if even that has `fewest` or more."""
    best = None
    for candidate in ranges:
        some = candidate.ids().limit(fewest).subquery()
        if (rows := connection.scalar(select(func.count()).select_from(some)) or 0) < fewest:
            fewest, best = rows, candidate
    return best


def _tests(
    wanted: FaceFilter,
    ranges: list[_Range | _OfPersons],
    column: Callable[[Any], Any],
    chances: Chances | None,
) -> Iterator[ColumnElement[bool]]:
    """The conditions of the ranges and of what no index serves; `column` is applied to indexed columns."""
    for item in ranges:
        yield from item.test(column(item.column))
    if chances is not None:
        yield chances.test(unindexed)
    if wanted.path_glob is not None:
        yield from path_tests(column(Photo.path), wanted.path_glob)
    if wanted.undated:
        yield column(Photo.taken_at).is_(None)
    if wanted.date_source is not None:
        yield Photo.date_source == wanted.date_source
    if wanted.min_score is not None:
        yield Face.det_score >= wanted.min_score
    if wanted.min_sharpness is not None:
        yield Face.sharpness >= wanted.min_sharpness
    if wanted.max_yaw is not None:
        yield Face.yaw.between(-wanted.max_yaw, wanted.max_yaw)
    if wanted.max_interval is not None:
        yield StoredEstimate.age_high - StoredEstimate.age_low <= wanted.max_interval + ROUNDING
    if wanted.min_faces is not None or wanted.max_faces is not None:
        photos = select(Face.photo_id).group_by(Face.photo_id).correlate(None)
        number = func.count(type_=BigInteger)
        if wanted.min_faces is not None:
            photos = photos.having(number >= wanted.min_faces)
        if wanted.max_faces is not None:
            photos = photos.having(number <= wanted.max_faces)
        yield column(Face.photo_id).in_(photos)


def _indexed(column: Any) -> Any:
    """The opposite of `unindexed`."""
    return column


def _only_estimates(wanted: FaceFilter) -> bool:
    """Whether the filter asks about nothing but ages and intervals."""
    elsewhere = (
        wanted.from_date, wanted.to_date, wanted.path_glob, wanted.min_faces, wanted.max_faces,
        wanted.min_score, wanted.min_sharpness, wanted.max_yaw, wanted.date_source, wanted.undated or None,
    )  # fmt: skip
    return not wanted.persons and all(value is None for value in elsewhere)


# --- unreadable photos and scan runs ------------------------------------------------------------
