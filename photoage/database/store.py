"""All writes to the database, through one connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, Self

from sqlalchemy import Engine, and_, case, column, delete, insert, or_, select, update, values
from sqlalchemy.orm import aliased

from photoage import __version__
from photoage.database.connect import (
    check_schema,
    database_errors,
    database_name,
    make_engine,
    update_statistics,
)
from photoage.database.dialect import backend, upsert
from photoage.database.known import KnownPhotos, all_or_nothing, chunks
from photoage.database.person_faces import Remembered, put_embeddings, recogniser_row
from photoage.database.persons import has_persons
from photoage.database.rows import (
    CONTENT,
    COPIED,
    DONE,
    IS_INCOMPLETE,
    KEYS,
    column_names,
    columns_of,
    date_columns,
    detect_key_of,
    face_row,
    of_copy,
    outcome_columns,
    quality_row,
    rounded,
)
from photoage.database.tables import (
    Base,
    Face,
    Photo,
    ScanRun,
    StoredCheckpoint,
    StoredDetector,
    StoredEstimate,
    encode_path,
)
from photoage.records import Estimate, PhotoFaces, PhotoFile, Quality, RunCounts

MAX_MESSAGE = 1000  # characters
WORTH_ANALYZING = 100  # changed photos; a folder that is watched changes by a few at a time, but often


class Store:
    """A writing connection. Use it as a context manager. `known` reads what is stored, through it.

    `Store.open` gives the one of a scan. Should several store the same photo at the same time, the last
    one's faces stay, and nothing is doubled.

    Changes are kept by `commit`; leaving the context without it drops them. Every method raises
    `DatabaseError` (`DatabaseLockedError`) when the database cannot be read or written, after
    rolling back to the last commit.
    """

    run_id: int
    detect_key: str
    _recogniser_id: int | None = None
    has_persons = False
    resumes = False  # whether the scan before this one did not come to its end

    def __init__(self, engine: Engine, release: Callable[[], None] | None = None) -> None:
        self.known = KnownPhotos(engine)
        self.name = self.known.name
        self._connection = self.known.connection
        self._release = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def open(cls, spec: str | os.PathLike[str] | None) -> Store:
        """Take the scan lock and open the database, made and upgraded as needed.

        Raises `DatabaseLockedError` at once when another scan holds the lock.
        """
        engine = make_engine(spec, create=True)
        release = None
        try:
            with database_errors(database_name(engine.url)):
                release = backend(engine.url).take_scan_lock(engine)
            check_schema(engine, upgradable=True)
            return cls(engine, release)
        except BaseException:
            engine.dispose()
            if release is not None:
                release()
            raise

    def close(self) -> None:
        """Drop what is not committed and let the next scan in."""
        try:
            self.known.close()
        finally:
            if self._release is not None:
                self._release()

    def rollback(self) -> None:
        self.known.rollback()

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
        residuals: dict[str, Any] | None = None,
        recogniser: tuple[str, str] | None = None,
    ) -> int:
        """Record that a scan has begun; the models are (name, sha256). Commits.

        `residuals` are those of the checkpoint, as `ages.intervals.residual_table` gives them.

        `options` are JSON-ready; their entry `detect` holds the fields of a `DetectOptions`.

        Nobody else holds the scan lock, so a run that is still `running` was killed.
        """
        execute = self._connection.execute
        execute(update(ScanRun).where(ScanRun.status == "running").values(status="interrupted"))
        last = execute(select(ScanRun.status).order_by(ScanRun.id.desc()).limit(1)).scalar()
        self.resumes = last not in (None, "finished")
        known = self.known
        known.find_models(detector[1], checkpoint[1])
        known.detector_id = known.detector_id or self._insert_model(StoredDetector, *detector)
        known.checkpoint_id = known.checkpoint_id or self._insert_model(StoredCheckpoint, *checkpoint)
        row = update(StoredCheckpoint).where(StoredCheckpoint.id == known.checkpoint_id)
        execute(row.values(residuals=residuals))
        self._recogniser_id = recogniser and recogniser_row(self._connection, *recogniser)
        self.has_persons = has_persons(self._connection)
        run = (
            insert(ScanRun)
            .returning(ScanRun.id)
            .values(
                started_at=datetime.now(UTC),
                status="running",
                roots=[encode_path(root) for root in roots],
                options=options,
                detector_id=known.detector_id,
                checkpoint_id=known.checkpoint_id,
                version=__version__,
            )
        )
        self.run_id = execute(run).scalar_one()
        self.detect_key = detect_key_of(options)
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
        changed = counts.done + counts.re_estimated + counts.duplicates + counts.relinked + counts.missing
        if changed >= WORTH_ANALYZING:
            update_statistics(self._connection)

    # --- photos and faces ---------------------------------------------------------------------

    @all_or_nothing
    def save_many(self, photos: Iterable[tuple[PhotoFile, PhotoFaces, Sequence[Estimate]]]) -> list[int]:
        """Store photos that were read, each in place of what was stored under its path.

        The estimates are by the run's checkpoint, one per detection, in their order. Gives the ids, in
        the order of the paths.
        """
        # All writers in the same order: one may have to wait for another, but no two for each other.
        photos = sorted({photo[0].path: photo for photo in photos}.values(), key=lambda photo: photo[0].path)
        remembered = None
        if self.has_persons:
            remembered = Remembered(self._connection, [file.path for file, _, _ in photos])
        ids = self._put(
            [self._photo_row(file, **date_columns(file), **self._content(faces)) for file, faces, _ in photos]
        )
        self._drop_faces(ids)
        rows = [
            face_row(photo_id, index, face) | quality_row(faces.quality[index : index + 1])
            for photo_id, (_, faces, _) in zip(ids, photos, strict=True)
            for index, face in enumerate(faces.detections)
        ]
        found = {(photo_id, index): face_id for face_id, photo_id, index in self._upsert(Face, rows)}
        self._put_estimates(
            (found[photo_id, index], estimate)
            for photo_id, (_, faces, estimates) in zip(ids, photos, strict=True)
            for index, (_, estimate) in enumerate(zip(faces.detections, estimates, strict=True))
        )
        for photo_id, (file, faces, _) in zip(ids, photos, strict=True):
            face_ids = [found[photo_id, index] for index in range(len(faces.detections))]
            if remembered is not None:
                remembered.restore(file.path, faces, face_ids)
            if self._recogniser_id is not None and faces.embeddings is not None:
                vectors = zip(face_ids, faces.embeddings, strict=True)
                put_embeddings(self._connection, self._recogniser_id, vectors)
        return ids

    @all_or_nothing
    def save_unreadable(self, file: PhotoFile, kind: str, message: str) -> int:
        """Record that a photo could not be read; its id.

        Faces stored for exactly this file (same size and time) stay; those of an earlier version go.
        """
        same = and_(Photo.path == file.path, Photo.size == file.size, Photo.mtime_ns == file.mtime_ns)
        known = self._connection.scalar(select(Photo.id).where(same))
        stale = {} if known else {**dict.fromkeys((*CONTENT, "taken_at", "date_source")), "turn": 0}
        line = " ".join(message.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00").split())
        error = {"status": "unreadable", "error_kind": kind, "error_message": line[:MAX_MESSAGE]}
        ids = self._put([self._photo_row(file, sidecars=file.sidecars, **error, **stale)])
        if not known:
            self._drop_faces(ids)
        return ids[0]

    @all_or_nothing
    def touch(self, photo_id: int, file: PhotoFile) -> None:
        """The photo's file has another time or size stamp but the same content: keep its faces."""
        photo = update(Photo).where(Photo.id == photo_id)
        self._connection.execute(
            photo.values(size=file.size, mtime_ns=file.mtime_ns, **date_columns(file), **DONE)
        )

    @all_or_nothing
    def redate(self, photo_id: int, file: PhotoFile) -> None:
        """The photo was dated anew, and nothing else."""
        self._connection.execute(update(Photo).where(Photo.id == photo_id).values(**date_columns(file)))

    @all_or_nothing
    def relink(self, photo_id: int, file: PhotoFile) -> None:
        """The photo moved to `file`: keep its faces, drop what was stored under the new path."""
        execute = self._connection.execute
        execute(delete(Photo).where(Photo.path == file.path, Photo.id != photo_id))
        moved = {"path": file.path, "size": file.size, "mtime_ns": file.mtime_ns, **date_columns(file)}
        execute(update(Photo).where(Photo.id == photo_id).values(**moved, **DONE))

    @all_or_nothing
    def copy_faces(self, copies: Iterable[tuple[int, PhotoFile]]) -> dict[str, int]:
        """Store exact duplicates of stored photos, given by id, with the same faces; their ids by path."""
        copies = sorted(copies, key=lambda copy: copy[1].path)  # as in `save_many`
        wanted = sorted({source for source, _ in copies})
        columns = columns_of(Photo, *COPIED)
        contents = {
            row[0]: of_copy(dict(zip(COPIED, row[1:], strict=True)))
            for chunk in chunks(wanted)
            for row in self._connection.execute(select(Photo.id, *columns).where(Photo.id.in_(chunk)))
        }
        rows = [
            self._photo_row(file, **date_columns(file), **contents[source], status="done")
            for source, file in copies
        ]
        ids = self._put(rows)
        pairs = [(copy, source) for copy, (source, _) in zip(ids, copies, strict=True) if copy != source]
        self._drop_faces([copy for copy, _ in pairs])
        for chunk in chunks(pairs):
            self._copy_faces(chunk)
        return {row["path"]: photo_id for row, photo_id in zip(rows, ids, strict=True)}

    def _copy_faces(self, pairs: Sequence[tuple[int, int]]) -> None:
        """To each photo the faces of another, both given by id: (copy, source)."""
        columns = column("copy_id", Photo.id.type), column("source_id", Photo.id.type)
        pair = values(*columns, name="pair").data([*pairs]).cte()
        names = [key for key in column_names(Face) if key not in ("id", "photo_id")]
        faces = select(pair.c.copy_id, *columns_of(Face, *names)).join(
            Face, Face.photo_id == pair.c.source_id
        )
        self._connection.execute(insert(Face).from_select(["photo_id", *names], faces))
        names = [key for key in column_names(StoredEstimate) if key not in ("id", "face_id", "current")]
        copy = aliased(Face)
        estimates = (
            # Nobody has said yet who is on the copy: its faces' own estimates are the current ones.
            select(copy.id, StoredEstimate.latest, *columns_of(StoredEstimate, *names))
            .select_from(pair)
            .join(Face, Face.photo_id == pair.c.source_id)
            .join(copy, and_(copy.photo_id == pair.c.copy_id, copy.face_index == Face.face_index))
            .join(
                StoredEstimate, and_(StoredEstimate.face_id == Face.id, StoredEstimate.age_source == "face")
            )
        )
        self._connection.execute(
            insert(StoredEstimate).from_select(["face_id", "current", *names], estimates)
        )

    @all_or_nothing
    def add_estimates(
        self, photo_id: int, estimates: Sequence[Estimate], quality: Sequence[Quality] = ()
    ) -> None:
        """Add the run's checkpoint's estimates, one per stored face, and make them current.

        So is `quality`, where it is known: faces of older scans have none.
        """
        execute = self._connection.execute
        # Another writer of the same photo waits here, or this one for it.
        execute(select(Photo.id).where(Photo.id == photo_id).with_for_update())
        found = execute(select(Face.id).where(Face.photo_id == photo_id).order_by(Face.face_index))
        face_ids = found.scalars().all()
        for face_id, one in zip(face_ids, quality, strict=False):
            execute(update(Face).where(Face.id == face_id).values(**quality_row([one])))
        of_photo = StoredEstimate.face_id.in_(select(Face.id).where(Face.photo_id == photo_id))
        execute(update(StoredEstimate).where(of_photo).values(current=False, latest=False))
        self._put_estimates(zip(face_ids, estimates, strict=True))

    @all_or_nothing
    def mark_missing(self, ids: Iterable[int]) -> None:
        """The photos' files are gone; their faces stay."""
        for chunk in chunks(list(ids)):
            self._connection.execute(update(Photo).where(Photo.id.in_(chunk)).values(status="missing"))

    @all_or_nothing
    def mark_present(self, photo_id: int) -> None:
        """A missing photo's file is back as it was, and so is the status that it had."""
        before = case((or_(Photo.error_kind.is_(None), IS_INCOMPLETE), "done"), else_="unreadable")
        photo = update(Photo).where(Photo.id == photo_id, Photo.status == "missing")
        self._connection.execute(photo.values(status=before))

    @all_or_nothing
    def prune(self, ids: Iterable[int]) -> None:
        """Forget photos, with their faces and estimates."""
        for chunk in chunks(list(ids)):
            self._connection.execute(delete(Photo).where(Photo.id.in_(chunk)))

    def _content(self, faces: PhotoFaces) -> dict[str, Any]:
        own = {"detector_id": self.known.detector_id, "detect_key": self.detect_key}
        row = {name: own[name] if name in own else getattr(faces, name) for name in CONTENT}
        return row | outcome_columns(faces)

    def _photo_row(self, file: PhotoFile, **columns: Any) -> dict[str, Any]:
        return columns | {
            "path": file.path,
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "scan_run_id": self.run_id,
            "scanned_at": datetime.now(UTC),
        }

    def _put(self, rows: list[dict[str, Any]]) -> list[int]:
        """Insert photos, or replace those columns of the photos at their paths; the ids.

        From here to the end of the transaction, no other writer changes these photos.
        """
        ids = {path: photo_id for photo_id, path in self._upsert(Photo, rows)}
        return [ids[row["path"]] for row in rows]

    def _drop_faces(self, photo_ids: Sequence[int]) -> None:
        for chunk in chunks(photo_ids):
            self._connection.execute(delete(Face).where(Face.photo_id.in_(chunk)))

    def _put_estimates(self, estimates: Iterable[tuple[int, Estimate]]) -> None:
        """Store the run's checkpoint's estimates of faces, given by id, as the current ones."""
        rows = [
            {
                "face_id": face_id,
                "checkpoint_id": self.known.checkpoint_id,
                "age": rounded(estimate.age),
                "age_low": rounded(estimate.age_low),
                "age_high": rounded(estimate.age_high),
                "current": True,
                "latest": True,
                "age_source": "face",
                "stratum": estimate.stratum,
            }
            for face_id, estimate in estimates
        ]
        self._upsert(StoredEstimate, rows)

    def _insert_model(self, table: type[StoredDetector | StoredCheckpoint], name: str, sha256: str) -> int:
        return int(self._upsert(table, [{"name": name, "sha256": sha256}])[0][0])

    def _upsert(self, table: type[Base], rows: list[dict[str, Any]]) -> Sequence[Any]:
        """Insert rows, or replace those with the same keys; the id and the keys of each, in any order."""
        if not rows:
            return []
        statement = upsert(self._connection.dialect.name, table, KEYS[table], tuple(rows[0]))
        return self._connection.execute(statement, rows).all()
