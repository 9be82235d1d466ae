"""All writes to the database, through one connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    and_,
    case,
    column,
    delete,
    exists,
    insert,
    literal,
    select,
    update,
    values,
)
from sqlalchemy.orm import aliased

from photoage import __version__
from photoage.db import (
    Base,
    CheckpointRow,
    DetectorRow,
    EstimateRow,
    Face,
    Photo,
    ScanRun,
    check_file,
    database_errors,
    database_file,
    database_name,
    database_url,
    encode_path,
    open_database,
    update_statistics,
)
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.records import Detection, DetectOptions, Estimate, FloatArray, PhotoFaces, PhotoFile

CHUNK = 500  # rows of one statement
MAX_MESSAGE = 1000  # characters
SAME_CONTENT = 50  # copies of one photo that `by_content` gives at most

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class KnownPhoto:
    """A photo as the database knows it.

    `estimated`: the current estimates of all its faces are by the run's checkpoint.
    """

    id: int
    path: str
    size: int
    mtime_ns: int
    status: str
    content_hash: str | None
    detector_id: int | None
    detect_key: str | None
    estimated: bool


@dataclass(slots=True)
class RunCounts:
    """What a scan run did, in photos (and `faces` found in the photos it read)."""

    seen: int = 0
    unchanged: int = 0
    done: int = 0
    unreadable: int = 0
    missing: int = 0
    relinked: int = 0
    duplicates: int = 0
    re_estimated: int = 0
    faces: int = 0

    @property
    def finished(self) -> int:
        """Photos that this run needs to do nothing more with."""
        return (
            self.unchanged + self.done + self.unreadable + self.relinked + self.duplicates + self.re_estimated
        )


def _all_or_nothing(
    method: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Make a method of Store raise `DatabaseError`, and leave no part of what it wrote.

    Whatever interrupts it, everything since the last commit is rolled back: half a photo can never
    be committed later.
    """

    @wraps(method)
    def guarded(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with database_errors(self.name):
                return method(self, *args, **kwargs)
        except BaseException:
            self.rollback()
            raise

    return guarded


class Store:
    """The one writing connection of a scan. Open it with `Store.open`; use it as a context manager.

    Changes are kept by `commit`; leaving the context without it drops them. Every method raises
    `DatabaseError` (`DatabaseLockedError`) when the database cannot be read or written, after
    rolling back to the last commit.
    """

    run_id: int
    detector_id: int
    checkpoint_id: int

    def __init__(self, engine: Engine, lock: FileLock | None) -> None:
        self.name = database_name(engine.url)
        self._engine, self._lock = engine, lock
        self._connection = engine.connect()

    @classmethod
    def open(cls, spec: str | os.PathLike[str] | None) -> Store:
        """Take the scan lock and open the database, made and upgraded as needed.

        Raises `DatabaseLockedError` at once when another scan holds the lock.
        """
        url = database_url(spec)
        lock = None
        if (file := database_file(url)) is not None:
            check_file(file, create=True, read_only=False)
            lock = _take_lock(os.path.realpath(file))
        try:
            engine = open_database(spec, create=True)
            with database_errors(database_name(url)):
                return cls(engine, lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is not committed and let the next scan in."""
        try:
            self.rollback()
            self._connection.close()
            self._engine.dispose()
        finally:
            if self._lock is not None:
                self._lock.release()

    @_all_or_nothing
    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        with database_errors(self.name):
            self._connection.rollback()

    # --- scan runs ----------------------------------------------------------------------------

    @_all_or_nothing
    def begin_run(
        self,
        roots: Sequence[str],
        options: dict[str, Any],
        detector: tuple[str, str],
        checkpoint: tuple[str, str],
    ) -> int:
        """Record that a scan has begun; detector and checkpoint are (name, sha256). Commits.

        `options` are JSON-ready; their entry `detect` holds the fields of a `DetectOptions`.

        Nobody else holds the scan lock, so a run that is still `running` was killed.
        """
        execute = self._connection.execute
        execute(update(ScanRun).where(ScanRun.status == "running").values(status="interrupted"))
        self.detector_id = self._model_id(DetectorRow, *detector)
        self.checkpoint_id = self._model_id(CheckpointRow, *checkpoint)
        self.run_id = self._insert_id(
            ScanRun,
            started_at=datetime.now(UTC),
            status="running",
            roots=[encode_path(root) for root in roots],
            options=options,
            detector_id=self.detector_id,
            checkpoint_id=self.checkpoint_id,
            version=__version__,
        )
        # Recorded with every photo: other options find other faces.
        self._detect_key = DetectOptions(**options.get("detect", {})).key
        self._connection.commit()
        return self.run_id

    @_all_or_nothing
    def finish_run(self, status: Literal["finished", "interrupted", "failed"], counts: RunCounts) -> None:
        """Record how the scan ended. Commits."""
        numbers = asdict(counts)
        numbers["photos_seen"] = numbers.pop("seen")
        run = update(ScanRun).where(ScanRun.id == self.run_id)
        self._connection.execute(run.values(finished_at=datetime.now(UTC), status=status, **numbers))
        self._connection.commit()
        update_statistics(self._connection)

    def _model_id(self, table: type[DetectorRow | CheckpointRow], name: str, sha256: str) -> int:
        found = self._connection.scalar(select(table.id).where(table.sha256 == sha256))
        return found or self._insert_id(table, name=name, sha256=sha256)

    # --- what is known ------------------------------------------------------------------------

    @_all_or_nothing
    def known(self, paths: Sequence[str]) -> dict[str, KnownPhoto]:
        """The photos stored under these paths, by path."""
        return {
            photo.path: photo
            for chunk in _chunks(paths)
            for photo in self._photos(self._known().where(Photo.path.in_(chunk)))
        }

    @_all_or_nothing
    def sizes_known(self, sizes: Iterable[int]) -> set[int]:
        """Those of the sizes (bytes) that a `done` or `missing` photo of known content has."""
        found: set[int] = set()
        for chunk in _chunks(list(sizes)):
            # One probe of the index per size, however many photos have it.
            wanted = values(column("size", Photo.size.type), name="wanted").data([(s,) for s in chunk]).cte()
            known = exists().where(
                Photo.size == wanted.c.size, Photo.content_hash.is_not(None), Photo.status != "unreadable"
            )
            found.update(self._connection.scalars(select(wanted.c.size).where(known)))
        return found

    @_all_or_nothing
    def by_content(self, content_hash: str, size: int) -> list[KnownPhoto]:
        """Photos with this content: `missing` ones first, at most SAME_CONTENT."""
        same = self._known().where(Photo.content_hash == content_hash, Photo.size == size)
        return self._photos(same.order_by(Photo.status.desc(), Photo.id).limit(SAME_CONTENT))

    def unseen(self, roots: Sequence[str], seen_ids: set[int]) -> Iterator[KnownPhoto]:
        """Photos under the roots (or equal to one), not `missing`, whose id is not in `seen_ids`.

        Changes made while iterating neither disturb it nor are disturbed by it.
        """
        covered: list[str] = []
        for root in sorted({os.path.join(root, "") for root in roots}):
            if not covered or not root.startswith(covered[-1]):
                covered.append(root)
                below = and_(Photo.path > root, Photo.path < root[:-1] + chr(ord(root[-1]) + 1))
                yield from self._unseen(Photo.path == root[:-1], seen_ids)
                yield from self._unseen(below, seen_ids)

    def _unseen(self, condition: ColumnElement[bool], seen_ids: set[int]) -> Iterator[KnownPhoto]:
        last = ""
        while page := self._page(condition, last):
            last = page[-1][1]
            yield from self._by_id([photo_id for photo_id, _ in page if photo_id not in seen_ids])

    @_all_or_nothing
    def _page(self, condition: ColumnElement[bool], last: str) -> list[tuple[int, str]]:
        rows = select(Photo.id, Photo.path).where(condition, Photo.path > last, Photo.status != "missing")
        found = self._connection.execute(rows.order_by(Photo.path).limit(CHUNK))
        return [(row.id, row.path) for row in found]

    @_all_or_nothing
    def _by_id(self, ids: list[int]) -> list[KnownPhoto]:
        return self._photos(self._known().where(Photo.id.in_(ids)).order_by(Photo.path)) if ids else []

    def _known(self) -> Select[Any]:
        columns = [getattr(Photo, name) for name in KnownPhoto.__slots__ if name != "estimated"]
        current = exists().where(
            EstimateRow.face_id == Face.id,
            EstimateRow.current,
            EstimateRow.checkpoint_id == getattr(self, "checkpoint_id", None),
        )
        lacking = exists().where(Face.photo_id == Photo.id, ~current)
        return select(*columns, (~lacking).label("estimated"))

    def _photos(self, query: Select[Any]) -> list[KnownPhoto]:
        return [KnownPhoto(*row) for row in self._connection.execute(query)]

    # --- photos and faces ---------------------------------------------------------------------

    @_all_or_nothing
    def save_faces(self, file: PhotoFile, faces: PhotoFaces, estimates: Sequence[Estimate]) -> int:
        """Store a photo that was read, in place of what was stored under its path; its id.

        `estimates` are by the run's checkpoint, one per detection, in their order.
        """
        photo_id = self._put(
            file,
            content_hash=faces.content_hash,
            width=faces.width,
            height=faces.height,
            taken_at=faces.taken_at,
            detector_id=self.detector_id,
            detect_key=self._detect_key,
            **_DONE,
        )
        self._connection.execute(delete(Face).where(Face.photo_id == photo_id))
        if faces.detections:
            rows = [_face_row(photo_id, index, face) for index, face in enumerate(faces.detections)]
            self._connection.execute(insert(Face), rows)
        self._add_estimates(photo_id, estimates)
        return photo_id

    @_all_or_nothing
    def save_unreadable(self, file: PhotoFile, kind: str, message: str) -> int:
        """Record that a photo could not be read; its id.

        Faces stored for exactly this file (same size and time) stay; those of an earlier version go.
        """
        same = and_(Photo.path == file.path, Photo.size == file.size, Photo.mtime_ns == file.mtime_ns)
        known = self._connection.scalar(select(Photo.id).where(same))
        stale = {} if known else dict.fromkeys(_CONTENT)
        line = " ".join(message.encode("utf-8", "backslashreplace").decode().split())
        photo_id = self._put(
            file, status="unreadable", error_kind=kind, error_message=line[:MAX_MESSAGE], **stale
        )
        if not known:
            self._connection.execute(delete(Face).where(Face.photo_id == photo_id))
        return photo_id

    @_all_or_nothing
    def touch(self, photo_id: int, file: PhotoFile) -> None:
        """The photo's file has another time or size stamp but the same content: keep its faces."""
        photo = update(Photo).where(Photo.id == photo_id)
        self._connection.execute(photo.values(size=file.size, mtime_ns=file.mtime_ns, **_DONE))

    @_all_or_nothing
    def relink(self, photo_id: int, file: PhotoFile) -> None:
        """The photo moved to `file`: keep its faces, drop what was stored under the new path."""
        execute = self._connection.execute
        execute(delete(Photo).where(Photo.path == file.path, Photo.id != photo_id))
        moved = {"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns}
        execute(update(Photo).where(Photo.id == photo_id).values(**moved, **_DONE))

    @_all_or_nothing
    def copy_faces(self, source_photo_id: int, file: PhotoFile) -> int:
        """Store `file`, an exact duplicate of a stored photo, with the same faces; its id."""
        execute = self._connection.execute
        source = execute(select(*_columns(Photo, *_CONTENT)).where(Photo.id == source_photo_id)).one()
        photo_id = self._put(file, **source._asdict(), **_DONE)
        if photo_id == source_photo_id:
            return photo_id
        execute(delete(Face).where(Face.photo_id == photo_id))
        names = [key for key in _names(Face) if key not in ("id", "photo_id")]
        faces = select(literal(photo_id), *_columns(Face, *names)).where(Face.photo_id == source_photo_id)
        execute(insert(Face).from_select(["photo_id", *names], faces))
        names = [
            column.key for column in EstimateRow.__table__.columns if column.key not in ("id", "face_id")
        ]
        copy = aliased(Face)
        estimates = (
            select(copy.id, *_columns(EstimateRow, *names))
            .join(Face, Face.id == EstimateRow.face_id)
            .join(copy, and_(copy.photo_id == photo_id, copy.face_index == Face.face_index))
            .where(Face.photo_id == source_photo_id)
        )
        execute(insert(EstimateRow).from_select(["face_id", *names], estimates))
        return photo_id

    @_all_or_nothing
    def stored_landmarks(self, photo_id: int) -> FloatArray:
        """Landmarks (F, 5, 2) of a photo's faces, by face_index, in pixels of the upright photo."""
        faces = select(Face.landmarks).where(Face.photo_id == photo_id).order_by(Face.face_index)
        return np.array(self._connection.scalars(faces).all(), dtype=np.float32).reshape(-1, 5, 2)

    @_all_or_nothing
    def add_estimates(self, photo_id: int, estimates: Sequence[Estimate]) -> None:
        """Add the run's checkpoint's estimates, one per stored face, and make them current."""
        faces = select(Face.id).where(Face.photo_id == photo_id)
        mine = EstimateRow.checkpoint_id == self.checkpoint_id
        of_photo = EstimateRow.face_id.in_(faces)
        self._connection.execute(delete(EstimateRow).where(of_photo, mine))
        self._connection.execute(update(EstimateRow).where(of_photo).values(current=False))
        self._add_estimates(photo_id, estimates)

    @_all_or_nothing
    def mark_missing(self, ids: Iterable[int]) -> None:
        """The photos' files are gone; their faces stay."""
        for chunk in _chunks(list(ids)):
            self._connection.execute(update(Photo).where(Photo.id.in_(chunk)).values(status="missing"))

    @_all_or_nothing
    def mark_present(self, photo_id: int) -> None:
        """A missing photo's file is back as it was, and so is the status that it had."""
        before = case((Photo.error_kind.is_(None), "done"), else_="unreadable")
        photo = update(Photo).where(Photo.id == photo_id, Photo.status == "missing")
        self._connection.execute(photo.values(status=before))

    @_all_or_nothing
    def prune(self, ids: Iterable[int]) -> None:
        """Forget photos, with their faces and estimates."""
        for chunk in _chunks(list(ids)):
            self._connection.execute(delete(Photo).where(Photo.id.in_(chunk)))

    def _put(self, file: PhotoFile, **columns: Any) -> int:
        """Insert or update the photo at the file's path; its id."""
        columns |= {
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "scan_run_id": self.run_id,
            "scanned_at": datetime.now(UTC),
        }
        photo_id = self._connection.scalar(select(Photo.id).where(Photo.path == file.path))
        if photo_id is None:
            return self._insert_id(Photo, path=file.path, **columns)
        self._connection.execute(update(Photo).where(Photo.id == photo_id).values(**columns))
        return photo_id

    def _add_estimates(self, photo_id: int, estimates: Sequence[Estimate]) -> None:
        of_photo = select(Face.id).where(Face.photo_id == photo_id).order_by(Face.face_index)
        rows = [
            {
                "face_id": face_id,
                "checkpoint_id": self.checkpoint_id,
                "age": _rounded(estimate.age),
                "age_low": _rounded(estimate.age_low),
                "age_high": _rounded(estimate.age_high),
                "current": True,
            }
            for face_id, estimate in zip(self._connection.scalars(of_photo), estimates, strict=True)
        ]
        if rows:
            self._connection.execute(insert(EstimateRow), rows)

    def _insert_id(self, table: type[Base], **row: Any) -> int:
        inserted = self._connection.execute(insert(table).values(**row)).inserted_primary_key
        assert inserted is not None
        return int(inserted[0])


# What reading a photo's content gave, apart from its faces.
_CONTENT = ("content_hash", "width", "height", "taken_at", "detector_id", "detect_key")
_DONE = {"status": "done", "error_kind": None, "error_message": None}


def _names(table: type[Base]) -> list[str]:
    return [column.key for column in table.__table__.columns]


def _columns(table: type[Base], *names: str) -> list[Any]:
    return [getattr(table, name) for name in names]


def _face_row(photo_id: int, index: int, face: Detection) -> dict[str, Any]:
    x1, y1, x2, y2 = map(_rounded, face.bbox)
    return {
        "photo_id": photo_id,
        "face_index": index,
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "det_score": _rounded(face.det_score),
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
    }


def _rounded(value: float) -> float:
    """Three decimals, as every output shows it: what is compared is what is seen."""
    return round(float(value), 3)


def _chunks(items: Sequence[R]) -> Iterator[Sequence[R]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _take_lock(database: str) -> FileLock:
    lock = FileLock(f"{database}.scan.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DatabaseLockedError(f"another scan is writing to {database}") from error
    except (OSError, NotImplementedError) as error:
        raise DatabaseError(f"{lock.lock_file}: cannot be locked: {error}") from error
    return lock
