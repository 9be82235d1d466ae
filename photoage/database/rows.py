"""Records as rows of the tables, and what tells rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case

from photoage.database.tables import Base, Face, Photo, StoredCheckpoint, StoredDetector, StoredEstimate
from photoage.records import Detection, DetectOptions, PhotoFaces, PhotoFile, Quality

# What tells the rows of a table apart, however often a photo is stored.
KEYS: dict[type[Base], tuple[str, ...]] = {
    StoredDetector: ("sha256",),
    StoredCheckpoint: ("sha256",),
    Photo: ("path",),
    Face: ("photo_id", "face_index"),
    StoredEstimate: ("face_id", "checkpoint_id", "age_source"),
}
# What reading a photo's content gave, apart from its faces.
CONTENT = ("content_hash", "width", "height", "turn", "pages", "detector_id", "detect_key")
COPIED = (*CONTENT, "error_kind", "error_message")
INCOMPLETE = "incomplete"  # the error kind of photos that are done, but of which a part is lacking
IS_INCOMPLETE = Photo.error_kind == INCOMPLETE
DONE = {
    "status": "done",
    "error_kind": case((IS_INCOMPLETE, Photo.error_kind)),
    "error_message": case((IS_INCOMPLETE, Photo.error_message)),
}


def column_names(table: type[Base]) -> list[str]:
    return [column.key for column in table.__table__.columns]


def columns_of(table: type[Base], *names: str) -> list[Any]:
    return [getattr(table, name) for name in names]


def date_columns(file: PhotoFile) -> dict[str, Any]:
    """What dating a photo gave: it depends on names and sidecars too, so that copies differ in it."""
    return {"sidecars": file.sidecars, "taken_at": file.taken_at, "date_source": file.date_source}


def outcome_columns(faces: PhotoFaces) -> dict[str, Any]:
    """A photo of which a part is lacking is done all the same; `photoage errors` lists it."""
    kind = None if faces.problem is None else INCOMPLETE
    pages = [list(page) for page in faces.pages] or None
    return {"status": "done", "error_kind": kind, "error_message": faces.problem, "pages": pages}


def of_copy(content: dict[str, Any]) -> dict[str, Any]:
    """Of the errors of a photo, only what is lacking of its content holds for a copy."""
    kept = content["error_kind"] == INCOMPLETE
    return content if kept else content | {"error_kind": None, "error_message": None}


def face_row(photo_id: int, index: int, face: Detection) -> dict[str, Any]:
    x1, y1, x2, y2 = map(rounded, face.bbox)
    return {
        "photo_id": photo_id,
        "face_index": index,
        "page": face.page,
        "x1": x1,
        "y1": y1,
        "x2": x2,
        "y2": y2,
        "det_score": rounded(face.det_score),
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
    }


def quality_row(quality: Sequence[Quality]) -> dict[str, Any]:
    """Of one face, or of none."""
    sharpness, yaw = quality[0] if quality else (None, None)
    return {
        "sharpness": None if sharpness is None else rounded(sharpness),
        "yaw": None if yaw is None else rounded(yaw),
    }


def detect_key_of(options: dict[str, Any]) -> str:
    """Recorded with every photo: other options find other faces."""
    return DetectOptions(**options.get("detect", {})).key


def rounded(value: float) -> float | None:
    """Three decimals, as every output shows it: what is compared is what is seen.

    None, which the tables refuse, for what is not a number.
    """
    return None if value != value else round(float(value), 3)
