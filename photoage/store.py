"""All writes to the database, through one connection."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from filelock import FileLock, Timeout
from sqlalchemy import Engine, and_, case, delete, insert, literal, select, update
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
    database_file,
    database_url,
    encode_path,
    open_database,
    update_statistics,
)
from photoage.errors import DatabaseError, DatabaseLockedError
from photoage.known import KnownPhoto, KnownPhotos, all_or_nothing, chunks
from photoage.records import Detection, DetectOptions, Estimate, PhotoFaces, PhotoFile

__all__ = ["KnownPhoto", "RunCounts", "Store"]

MAX_MESSAGE = 1000  # characters


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


class Store(KnownPhotos):
    """The one writing connection of a scan. Open it with `Store.open`; use it as a context manager.

    Changes are kept by `commit`; leaving the context without it drops them. Every method raises
    `DatabaseError` (`DatabaseLockedError`) when the database cannot be read or written, after
    rolling back to the last commit.
    """

    run_id: int

    def __init__(self, engine: Engine, lock: FileLock | None) -> None:
        super().__init__(engine)
        self._lock = lock

    @classmethod
    def open(cls, spec: str | os.PathLike[str] | None) -> Store:
        """Take the scan lock and open the database, made and upgraded as needed.

        Raises `DatabaseLockedError` at once when another scan holds the lock.
        """
        lock = None
        if (file := database_file(database_url(spec))) is not None:
            check_file(file, create=True, read_only=False)
            lock = _take_lock(os.path.realpath(file))
        try:
            return cls(open_database(spec, create=True), lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Drop what is not committed and let the next scan in."""
        try:
            super().close()
        finally:
            if self._lock is not None:
                self._lock.release()

    @all_or_nothing
    def commit(self) -> None:
        self._connection.commit()

    # --- scan runs ----------------------------------------------------------------------------

    @all_or_nothing
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
        self.find_models(detector[1], checkpoint[1])
        self.detector_id = self.detector_id or self._insert_id(
            DetectorRow, name=detector[0], sha256=detector[1]
        )
        self.checkpoint_id = self.checkpoint_id or self._insert_id(
            CheckpointRow, name=checkpoint[0], sha256=checkpoint[1]
        )
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

    @all_or_nothing
    def finish_run(self, status: Literal["finished", "interrupted", "failed"], counts: RunCounts) -> None:
        """Record how the scan ended. Commits."""
        numbers = asdict(counts)
        numbers["photos_seen"] = numbers.pop("seen")
        run = update(ScanRun).where(ScanRun.id == self.run_id)
        self._connection.execute(run.values(finished_at=datetime.now(UTC), status=status, **numbers))
        self._connection.commit()
        update_statistics(self._connection)

    # --- photos and faces ---------------------------------------------------------------------

    @all_or_nothing
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

    @all_or_nothing
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

    @all_or_nothing
    def touch(self, photo_id: int, file: PhotoFile) -> None:
        """The photo's file has another time or size stamp but the same content: keep its faces."""
        photo = update(Photo).where(Photo.id == photo_id)
        self._connection.execute(photo.values(size=file.size, mtime_ns=file.mtime_ns, **_DONE))

    @all_or_nothing
    def relink(self, photo_id: int, file: PhotoFile) -> None:
        """The photo moved to `file`: keep its faces, drop what was stored under the new path."""
        execute = self._connection.execute
        execute(delete(Photo).where(Photo.path == file.path, Photo.id != photo_id))
        moved = {"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns}
        execute(update(Photo).where(Photo.id == photo_id).values(**moved, **_DONE))

    @all_or_nothing
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

    @all_or_nothing
    def add_estimates(self, photo_id: int, estimates: Sequence[Estimate]) -> None:
        """Add the run's checkpoint's estimates, one per stored face, and make them current."""
        faces = select(Face.id).where(Face.photo_id == photo_id)
        mine = EstimateRow.checkpoint_id == self.checkpoint_id
        of_photo = EstimateRow.face_id.in_(faces)
        self._connection.execute(delete(EstimateRow).where(of_photo, mine))
        self._connection.execute(update(EstimateRow).where(of_photo).values(current=False))
        self._add_estimates(photo_id, estimates)

    @all_or_nothing
    def mark_missing(self, ids: Iterable[int]) -> None:
        """The photos' files are gone; their faces stay."""
        for chunk in chunks(list(ids)):
            self._connection.execute(update(Photo).where(Photo.id.in_(chunk)).values(status="missing"))

    @all_or_nothing
    def mark_present(self, photo_id: int) -> None:
        """A missing photo's file is back as it was, and so is the status that it had."""
        before = case((Photo.error_kind.is_(None), "done"), else_="unreadable")
        photo = update(Photo).where(Photo.id == photo_id, Photo.status == "missing")
        self._connection.execute(photo.values(status=before))

    @all_or_nothing
    def prune(self, ids: Iterable[int]) -> None:
        """Forget photos, with their faces and estimates."""
        for chunk in chunks(list(ids)):
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
        face_ids = self._connection.scalars(of_photo).all()
        assert len(face_ids) == len(estimates), "one estimate per face"
        rows = [
            {
                "face_id": face_id,
                "checkpoint_id": self.checkpoint_id,
                "age": _rounded(estimate.age),
                "age_low": _rounded(estimate.age_low),
                "age_high": _rounded(estimate.age_high),
                "current": True,
            }
            for face_id, estimate in zip(face_ids, estimates, strict=True)
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


def _take_lock(database: str) -> FileLock:
    lock = FileLock(f"{database}.scan.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DatabaseLockedError(f"another scan is writing to {database}") from error
    except (OSError, NotImplementedError) as error:
        raise DatabaseError(f"{lock.lock_file}: cannot be locked: {error}") from error
    return lock
