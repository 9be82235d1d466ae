"""The tables of the database, and how values that SQL has no type for are stored in it.

A table's class is called `Stored...` where the plain name is that of what is stored; a `...Row` is a row of
an answer.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from photoage.records import PhotoDate, storable_ns

# --- values -----------------------------------------------------------------------------------


class DamagedValueError(ValueError):
    """A stored value that photoage cannot have written: not a path, not a time, not JSON."""


def read_json(stored: str | bytes) -> Any:
    """Raises `DamagedValueError`."""
    try:
        return json.loads(stored)
    except (TypeError, ValueError) as error:
        raise DamagedValueError(f"not JSON: {error}") from error


def _read_time(stored: str | None) -> datetime | None:
    try:
        return None if stored is None else datetime.fromisoformat(stored)
    except (TypeError, ValueError) as error:
        raise DamagedValueError(str(error)) from error


# A private range of Unicode stands for bytes that no UTF-8 text can hold: U+EF00 + byte.
_STAND_IN = re.compile("[\uef80-\uefff]")
_STAND_INS = re.compile("[\uef80-\uefff]+")
_UNSTORABLE = re.compile("[\ud800-\udfff\uef80-\uefff]")
_PATHS_ARE_UTF8 = sys.getfilesystemencoding() == "utf-8"


def encode_path(path: str) -> str:
    """A path as the database stores it: text that holds every byte of the path.

    Each byte that is not valid UTF-8, and each byte of a genuine U+EF80..U+EFFF, becomes the
    character U+EF00 + byte; everything else stays as it is. `decode_path` is the exact inverse.
    Neither depends on the locale, in which Python may read the bytes of a path in another way.
    """
    if path.isascii() or (_PATHS_ARE_UTF8 and not _UNSTORABLE.search(path)):
        return path
    found = os.fsencode(path).decode("utf-8", "surrogateescape")
    found = _STAND_IN.sub(lambda m: "".join(chr(0xEF00 + b) for b in m[0].encode()), found)
    return re.sub("[\udc80-\udcff]", lambda m: chr(ord(m[0]) - 0xDC00 + 0xEF00), found)


def decode_path(stored: str) -> str:
    """The path that `encode_path` made `stored` of. Raises `DamagedValueError` for what is no text."""
    if not isinstance(stored, str):
        raise DamagedValueError("a path that is not text")
    if stored.isascii() or (_PATHS_ARE_UTF8 and not _STAND_IN.search(stored)):
        return stored
    pieces, end = [], 0
    for match in _STAND_INS.finditer(stored):
        pieces += [stored[end : match.start()].encode(), bytes(ord(c) - 0xEF00 for c in match[0])]
        end = match.end()
    return os.fsdecode(b"".join([*pieces, stored[end:].encode()]))


# Compared and sorted by code point, as SQLite does, whatever language a PostgreSQL database speaks.
PLAIN_TEXT = Text().with_variant(Text(collation="C"), "postgresql")


class PathText(TypeDecorator[str]):
    """A path (or other text from the file system), kept losslessly and sorted by code point."""

    impl = PLAIN_TEXT
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else encode_path(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        return decode_path  # process_result_value would be called by way of two others, for every file


class OptionalPathText(PathText):
    """As `PathText`, or NULL."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        return lambda value: decode_path(value) if value else value


class Nanoseconds(TypeDecorator[int]):
    """A file's time. Some file systems go beyond what 64 bits hold, to where no real file is."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else storable_ns(value)


class UtcTime(TypeDecorator[datetime]):
    """A moment, stored as ISO 8601 text in UTC: 2026-01-31T12:00:00Z."""

    impl = PLAIN_TEXT
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return _read_time(value)


class DateText(TypeDecorator[PhotoDate]):
    """A date of any precision, stored as ISO 8601 text without a zone: 1984, 2026-01-31T12:00:00.

    Compared with texts, it is one.
    """

    impl = PLAIN_TEXT
    cache_ok = True

    def process_bind_param(self, value: PhotoDate | str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> PhotoDate | None:
        try:
            return None if value is None else PhotoDate.parse(value)
        except (TypeError, ValueError) as error:
            raise DamagedValueError(str(error)) from error


# PostgreSQL uses up an id with every attempt to insert a row that is there already; SQLite's have 64 bits.
Id = BigInteger().with_variant(Integer, "sqlite")

# --- tables -----------------------------------------------------------------------------------


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, float: Double, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class StoredDetector(Base):
    __tablename__ = "detector"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(PathText)
    sha256: Mapped[str] = mapped_column(unique=True)


class StoredCheckpoint(Base):
    __tablename__ = "checkpoint"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(PathText)
    sha256: Mapped[str] = mapped_column(unique=True)
    residuals: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


# The columns of scan_run that count what the run did: photos, and the faces found in them.
RUN_COUNTS = (
    "photos_seen",
    "unchanged",
    "done",
    "unreadable",
    "missing",
    "relinked",
    "duplicates",
    "re_estimated",
    "redated",
    "faces",
)


class ScanRun(Base):
    __tablename__ = "scan_run"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'finished', 'interrupted', 'failed')", "status"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    status: Mapped[str]
    roots: Mapped[list[Any]]  # as encode_path gives them
    options: Mapped[dict[str, Any]]
    detector_id: Mapped[int] = mapped_column(Id, ForeignKey("detector.id"))
    checkpoint_id: Mapped[int] = mapped_column(Id, ForeignKey("checkpoint.id"))
    version: Mapped[str]
    photos_seen: Mapped[int] = mapped_column(default=0)
    unchanged: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    unreadable: Mapped[int] = mapped_column(default=0)
    missing: Mapped[int] = mapped_column(default=0)
    relinked: Mapped[int] = mapped_column(default=0)
    duplicates: Mapped[int] = mapped_column(default=0)
    re_estimated: Mapped[int] = mapped_column(default=0)
    redated: Mapped[int] = mapped_column(default=0, server_default="0")
    faces: Mapped[int] = mapped_column(default=0)


class Photo(Base):
    __tablename__ = "photo"
    __table_args__ = (
        CheckConstraint("status IN ('done', 'unreadable', 'missing')", "status"),
        Index(
            "ix_photo_size",
            "size",
            sqlite_where=text("content_hash IS NOT NULL"),
            postgresql_where=text("content_hash IS NOT NULL"),
        ),
        Index(
            "ix_photo_error",
            "path",
            sqlite_where=text("error_kind IS NOT NULL"),
            postgresql_where=text("error_kind IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    path: Mapped[str] = mapped_column(PathText, unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(Nanoseconds)
    content_hash: Mapped[str | None] = mapped_column(index=True)
    width: Mapped[int | None]
    height: Mapped[int | None]
    taken_at: Mapped[PhotoDate | None] = mapped_column(DateText, index=True)
    date_source: Mapped[str | None]
    # The fingerprint of the files beside it that tell about it; NULL: dated by a version that knew none.
    sidecars: Mapped[str | None] = mapped_column(OptionalPathText)
    turn: Mapped[int] = mapped_column(
        default=0, server_default="0"
    )  # degrees clockwise, beyond its orientation
    pages: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # [width, height, turn] of each
    status: Mapped[str]
    error_kind: Mapped[str | None]
    error_message: Mapped[str | None]
    detector_id: Mapped[int | None] = mapped_column(Id, ForeignKey("detector.id"))
    detect_key: Mapped[str | None]
    scan_run_id: Mapped[int] = mapped_column(Id, ForeignKey("scan_run.id"))
    scanned_at: Mapped[datetime] = mapped_column(UtcTime)


class Face(Base):
    __tablename__ = "face"
    __table_args__ = (UniqueConstraint("photo_id", "face_index"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    photo_id: Mapped[int] = mapped_column(Id, ForeignKey("photo.id", ondelete="CASCADE"))
    face_index: Mapped[int]
    x1: Mapped[float]
    y1: Mapped[float]
    x2: Mapped[float]
    y2: Mapped[float]
    det_score: Mapped[float]
    landmarks: Mapped[list[Any]]  # five [x, y], in pixels of the upright photo
    page: Mapped[int] = mapped_column(default=1, server_default="1")
    sharpness: Mapped[float | None]
    yaw: Mapped[float | None]  # degrees


class StoredEstimate(Base):
    """`current` marks the one estimate of a face that queries show, `latest` the last one by an age model.

    They are the same but for the faces of persons, of whom a birth date is known.
    """

    __tablename__ = "estimate"
    __table_args__ = (
        UniqueConstraint("face_id", "checkpoint_id", "age_source"),
        Index(
            "uq_estimate_current",
            "face_id",
            unique=True,
            sqlite_where=text("current = 1"),
            postgresql_where=text("current"),
        ),
        Index("ix_estimate_age", "age", sqlite_where=text("current = 1"), postgresql_where=text("current")),
        Index("ix_estimate_latest", "age", sqlite_where=text("latest = 1"), postgresql_where=text("latest")),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    face_id: Mapped[int] = mapped_column(Id, ForeignKey("face.id", ondelete="CASCADE"))
    checkpoint_id: Mapped[int] = mapped_column(Id, ForeignKey("checkpoint.id"))
    age: Mapped[float]
    age_low: Mapped[float]
    age_high: Mapped[float]
    current: Mapped[bool]
    latest: Mapped[bool]
    age_source: Mapped[str] = mapped_column(default="face", server_default="face")
    stratum: Mapped[int] = mapped_column(default=0, server_default="0")


class StoredRecogniser(Base):
    __tablename__ = "recogniser"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(PathText)
    sha256: Mapped[str] = mapped_column(unique=True)


class Embedding(Base):
    """Biometric data, stored only on request; in a table of its own, so that it can be forgotten."""

    __tablename__ = "embedding"

    face_id: Mapped[int] = mapped_column(Id, ForeignKey("face.id", ondelete="CASCADE"), primary_key=True)
    recogniser_id: Mapped[int] = mapped_column(Id, ForeignKey("recogniser.id"))
    vector: Mapped[bytes] = mapped_column(LargeBinary)  # 512 half-precision floats, little endian
    grouped: Mapped[bool] = mapped_column(default=False)  # whether the grouping has seen it


class Person(Base):
    """`birth_date` is what the user gave, as precise as it is known; the fitted ones are days."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str | None] = mapped_column(PLAIN_TEXT, unique=True)
    birth_date: Mapped[str | None] = mapped_column(PLAIN_TEXT)
    fitted_birth: Mapped[str | None] = mapped_column(PLAIN_TEXT)
    fitted_low: Mapped[str | None] = mapped_column(PLAIN_TEXT)  # the bounds of a 90 % interval
    fitted_high: Mapped[str | None] = mapped_column(PLAIN_TEXT)
    fitted_faces: Mapped[str | None]  # a digest of the dates and ages that it was fitted to
    unfitted: Mapped[str | None]  # why there is none, in words


class PersonFace(Base):
    """Which person a face shows; `source` says who told: the grouping, the user, or an import."""

    __tablename__ = "person_face"
    __table_args__ = (CheckConstraint("source IN ('found', 'user', 'import')", "source"),)

    face_id: Mapped[int] = mapped_column(Id, ForeignKey("face.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(Id, ForeignKey("person.id", ondelete="CASCADE"), index=True)
    source: Mapped[str]


class PersonApart(Base):
    """A face of which the user said that it does not show this person."""

    __tablename__ = "person_apart"

    face_id: Mapped[int] = mapped_column(Id, ForeignKey("face.id", ondelete="CASCADE"), primary_key=True)
    person_id: Mapped[int] = mapped_column(Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True)
