"""What the database knows of photos: the reading half of the store, enough to plan a scan."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    and_,
    case,
    column,
    exists,
    select,
    type_coerce,
    values,
)

from photoage.database.connect import database_errors, database_name
from photoage.database.tables import (
    PLAIN_TEXT,
    DamagedValueError,
    Face,
    Photo,
    StoredCheckpoint,
    StoredDetector,
    StoredEstimate,
)
from photoage.errors import DatabaseError
from photoage.records import KnownFaces

STATEMENT_ROWS = 500  # rows of one statement
SAME_CONTENT = 50  # copies of one photo that `by_content` gives at most
SAME_SIZE = 64  # photos of one size whose hashes are handed out
_OF_KNOWN_CONTENT = (Photo.content_hash.is_not(None), Photo.status != "unreadable")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """A photo as the database knows it.

    `estimated`: the latest estimates of all its faces are by the run's checkpoint.
    """

    id: int
    path: str
    size: int
    mtime_ns: int
    status: str
    content_hash: str | None
    detector_id: int | None
    detect_key: str | None
    error_kind: str | None
    sidecars: str | None
    estimated: bool


class IdSet:
    """Ids of rows, a bit each: a set of Python's takes some 70 bytes for one, 7 GB for 100 million photos.

    In pages of PAGE bytes, so that large ids, which PostgreSQL comes to in time, take no more.
    """

    PAGE = 8192

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, row_id: int) -> None:
        number, byte = divmod(row_id >> 3, self.PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray(self.PAGE)
        page[byte] |= 1 << (row_id & 7)

    def update(self, row_ids: Iterable[int]) -> None:
        for row_id in row_ids:
            self.add(row_id)

    def discard(self, row_id: int) -> None:
        if row_id in self:
            number, byte = divmod(row_id >> 3, self.PAGE)
            self._pages[number][byte] ^= 1 << (row_id & 7)

    def __contains__(self, row_id: object) -> bool:
        if not isinstance(row_id, int):
            return False
        number, byte = divmod(row_id >> 3, self.PAGE)
        page = self._pages.get(number)
        return page is not None and bool(page[byte] >> (row_id & 7) & 1)


def all_or_nothing(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Make a method of KnownPhotos or Store raise `DatabaseError`, and leave no part of what it wrote.

    Whatever interrupts it, everything since the last commit is rolled back: half a photo can never
    be committed later.
    """

    @wraps(method)
    def guarded(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with database_errors(self.name):
                return method(self, *args, **kwargs)
        except BaseException:
            with suppress(DatabaseError):  # the first error is the one to report
                self.rollback()
            raise

    return guarded


class KnownPhotos:
    """A connection that answers what is stored of photos. A context manager.

    Every method raises `DatabaseError` (`DatabaseLockedError`) when the database cannot be read.
    """

    # 0 stands for a detector or checkpoint that the database has never seen.
    detector_id = 0
    checkpoint_id = 0

    def __init__(self, engine: Engine) -> None:
        self.name = database_name(engine.url)
        self._engine = engine
        with database_errors(self.name):
            self.connection = engine.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is not committed and disconnect."""
        try:
            self.rollback()
        finally:
            self.connection.close()
            self._engine.dispose()

    def rollback(self) -> None:
        with database_errors(self.name):
            self.connection.rollback()

    @all_or_nothing
    def find_models(self, detector_sha256: str, checkpoint_sha256: str) -> None:
        """Set `detector_id` and `checkpoint_id`, as beginning a run does, without storing anything."""
        self.detector_id = self._model_id(StoredDetector, detector_sha256) or 0
        self.checkpoint_id = self._model_id(StoredCheckpoint, checkpoint_sha256) or 0

    def _model_id(self, table: type[StoredDetector | StoredCheckpoint], sha256: str) -> int | None:
        return self.connection.scalar(select(table.id).where(table.sha256 == sha256))

    @all_or_nothing
    def by_path(self, paths: Sequence[str]) -> dict[str, KnownPhoto]:
        """The photos stored under these paths, by path."""
        return {
            photo.path: photo
            for chunk in chunks(paths)
            for photo in self._photos(self._known().where(Photo.path.in_(chunk)))
        }

    @all_or_nothing
    def hashes_by_size(self, sizes: Iterable[int]) -> dict[int, frozenset[str]]:
        """The content hashes of `done` and `missing` photos with these sizes (bytes); absent if none has it.

        A size that more than SAME_SIZE photos have comes with an empty set: its hashes are too many.
        """
        found: dict[int, set[str]] = {}
        for chunk in chunks(list(sizes)):
            # A few probes of the index per size, however many photos have it.
            wanted = values(column("size", Photo.size.type), name="wanted").data([(s,) for s in chunk]).cte()
            known = select(Photo.id).where(Photo.size == wanted.c.size, *_OF_KNOWN_CONTENT)
            known = known.correlate(wanted)
            sizes_known = select(wanted.c.size, exists(known.offset(SAME_SIZE).limit(1))).where(exists(known))
            few = []
            for size, many in self.connection.execute(sizes_known):
                found[size] = set()
                if not many:
                    few.append(size)
            if few:
                hashes = select(Photo.size, Photo.content_hash).where(Photo.size.in_(few), *_OF_KNOWN_CONTENT)
                for size, content_hash in self.connection.execute(hashes):
                    found[size].add(str(content_hash))
        return {size: frozenset(hashes) for size, hashes in found.items()}

    @all_or_nothing
    def by_content(self, content_hash: str, size: int) -> list[KnownPhoto]:
        """Photos with this content: `missing` ones first, at most SAME_CONTENT."""
        same = self._known().where(Photo.content_hash == content_hash, Photo.size == size)
        first = case((Photo.status == "missing", 0), else_=1)
        return self._photos(same.order_by(first, Photo.id).limit(SAME_CONTENT))

    def unseen(
        self, roots: Sequence[str], seen_ids: Container[int], *, missing: bool = False
    ) -> Iterator[KnownPhoto]:
        """Photos under the roots (or equal to one) whose id is not in `seen_ids`.

        With `missing`, those that were marked so before, too. Changes made while iterating neither disturb it
        nor are disturbed by it.
        """
        covered: list[str] = []
        for root in sorted({os.path.join(root, "") for root in roots}):
            if not covered or not root.startswith(covered[-1]):
                covered.append(root)
                below = and_(Photo.path > root, Photo.path < root[:-1] + chr(ord(root[-1]) + 1))
                yield from self._unseen(Photo.path == root[:-1], seen_ids, missing)
                yield from self._unseen(below, seen_ids, missing)

    def _unseen(
        self, condition: ColumnElement[bool], seen_ids: Container[int], missing: bool
    ) -> Iterator[KnownPhoto]:
        condition = condition if missing else and_(condition, Photo.status != "missing")
        last = ""
        while page := self._page(condition, last):
            last = page[-1][1]
            yield from self._by_id([photo_id for photo_id, _ in page if photo_id not in seen_ids])

    @all_or_nothing
    def _page(self, condition: ColumnElement[bool], last: str) -> list[tuple[int, str]]:
        # As they are stored: nobody wants to know the paths, and of most files they are read in vain.
        path = type_coerce(Photo.path, PLAIN_TEXT)
        rows = select(Photo.id, path).where(condition, path > last)
        found = self.connection.execute(rows.order_by(path).limit(STATEMENT_ROWS))
        return [(photo_id, stored) for photo_id, stored in found]

    @all_or_nothing
    def _by_id(self, ids: list[int]) -> list[KnownPhoto]:
        return self._photos(self._known().where(Photo.id.in_(ids)).order_by(Photo.path)) if ids else []

    def _known(self) -> Select[Any]:
        columns = [getattr(Photo, name) for name in KnownPhoto.__slots__ if name != "estimated"]
        current = exists().where(
            StoredEstimate.face_id == Face.id,
            StoredEstimate.latest,
            StoredEstimate.checkpoint_id == self.checkpoint_id,
        )
        lacking = exists().where(Face.photo_id == Photo.id, ~current)
        return select(*columns, (~lacking).label("estimated"))

    def _photos(self, query: Select[Any]) -> list[KnownPhoto]:
        return [KnownPhoto(*row) for row in self.connection.execute(query)]

    @all_or_nothing
    def faces(self, photo_id: int) -> KnownFaces:
        """A photo's faces, as stored."""
        faces = (
            select(Face.landmarks, Face.page, Photo.turn, Photo.pages)
            .join(Photo, Photo.id == Face.photo_id)
            .where(Face.photo_id == photo_id)
            .order_by(Face.face_index)
        )
        found = self.connection.execute(faces).all()
        try:
            landmarks = np.array([row.landmarks for row in found], dtype=np.float32).reshape(-1, 5, 2)
            turns = tuple(row.pages[row.page - 1][2] if row.pages else row.turn for row in found)
            return KnownFaces(landmarks, tuple(row.page for row in found), turns)
        except (IndexError, TypeError, ValueError) as error:
            raise DamagedValueError("landmarks that are not five points") from error


def chunks(items: Sequence[R]) -> Iterator[Sequence[R]]:
    """The items in runs that one statement can take."""
    for start in range(0, len(items), STATEMENT_ROWS):
        yield items[start : start + STATEMENT_ROWS]
