"""XMP sidecars: a small file beside each photo that tells other programs of its faces and their ages."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import Engine

from photoage.database.face_filter import FaceFilter
from photoage.database.query import FaceRow, iter_faces
from photoage.database.scanned_file import ScannedFile, scanned_files
from photoage.errors import DecodeError, PhotoageError
from photoage.export.xmp import Packet, merged
from photoage.export.xmp_packet import SidecarError
from photoage.files import write_whole
from photoage.paths import is_remote
from photoage.photos.embedded_xmp import embedded_xmp
from photoage.photos.orientation import stored_orientation, with_turn
from photoage.photos.walk import examine

SUFFIX = ".xmp"
PHOTOS_LOOKED_UP = 200  # photos looked up at a time
MAX_SIZE = 64 * 1024 * 1024  # bytes of an existing sidecar; developed photos have some hundred thousand
# What keeps every file of a folder from being written, not only one.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}

Action = Literal["created", "changed", "unchanged", "left"]


class Sidecar(NamedTuple):
    """What became of one photo's sidecar. One that is `left` has a `problem`, in a line that names the file.

    Of the problems that all photos of a folder share, only the first is told; the others' are empty.
    """

    path: str
    action: Action
    problem: str = ""


def sidecar_path(photo: str, folder: str | None = None) -> str:
    """`IMG.JPG.xmp` beside the photo, or under `folder` by the photo's whole path: names cannot collide."""
    if folder is None:
        return photo + SUFFIX
    whole = Path(photo)
    drive = whole.drive.strip("\\/:").replace(":", "").replace("\\", "/")
    return os.path.join(folder, drive, os.path.relpath(photo, whole.anchor)) + SUFFIX


def write_sidecars(
    engine: Engine, wanted: FaceFilter, *, folder: str | None = None, dry_run: bool = False
) -> Iterator[Sidecar]:
    """Write the sidecar of every photo that has a wanted face, with its wanted faces.

    A sidecar that is there already is merged with, and not touched when it says everything; `dry_run`
    only tells what would be done. A photo that cannot be done costs no other photo its sidecar.
    Photos are only read. Raises `PhotoageError` when `folder` cannot be made.
    """
    if folder is not None and not dry_run:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise PhotoageError(f"{folder}: cannot be made ({error.strerror or error})") from error
    refused: set[str] = set()
    found = _photos(engine, wanted)
    while photos := list(islice(found, PHOTOS_LOOKED_UP)):
        files = scanned_files(engine, [faces[0].path for faces in photos])
        for faces in photos:
            path = sidecar_path(faces[0].path, folder)
            problem = _later_pages(faces)
            try:
                file = files.get(faces[0].path)
                yield Sidecar(path, _write(path, faces, file, refused, dry_run), problem)
            except _LeftError as left:
                yield Sidecar(path, "left", str(left))


def _later_pages(faces: list[FaceRow]) -> str:
    """That a sidecar cannot tell of some of the faces, in words; empty if it tells of all."""
    later = [face for face in faces if face.page > 1]
    if not later:
        return ""
    return f"{faces[0].path}: {len(later)} faces are on later pages, of which a sidecar cannot tell"


class _LeftError(Exception):
    """Why a sidecar was not written; empty if that was told before."""


def _photos(engine: Engine, wanted: FaceFilter) -> Iterator[list[FaceRow]]:
    """The wanted faces, photo by photo."""
    if wanted.limit is None:
        rows = iter_faces(engine, replace(wanted, sort="path", descending=False))
    else:  # which faces are within the limit depends on their order
        rows = iter(sorted(iter_faces(engine, wanted), key=lambda row: (row.path, row.face_index)))
    for _, faces in groupby(rows, key=lambda row: row.path):
        yield list(faces)


def _write(
    path: str, faces: list[FaceRow], file: ScannedFile | None, refused: set[str], dry_run: bool
) -> Action:
    photo = faces[0].path
    if is_remote(photo):
        # Of all photos of a storage, only the first is told.
        if (storage := "/".join(photo.split("/")[:3])) in refused:
            raise _LeftError
        refused.add(storage)
        raise _LeftError(f"{storage}: photos in object storage get no sidecars; export their faces to a file")
    if file is None or (difference := file.difference(examine(photo))) is not None:
        raise _LeftError(f"{photo}: {difference if file else 'no longer in the database'}")
    faces = [face for face in faces if face.page == 1]
    if not faces:
        raise _LeftError(f"{photo}: its faces are on later pages, of which a sidecar cannot tell")
    try:
        orientation = with_turn(stored_orientation(photo), file.turn)
        existing = _read(path)
        content = merged(existing, faces, orientation, lambda: _known(photo, path))
    except DecodeError as error:
        raise _LeftError(str(error)) from error
    except SidecarError as error:
        state = "left as it is" if os.path.lexists(path) else "not written"
        raise _LeftError(f"{path}: {state}: {error}") from error
    if content is None:
        return "unchanged"
    if not dry_run:
        _save(path, content, refused)
    return "created" if existing is None else "changed"


def _known(photo: str, sidecar: str) -> Iterator[Packet]:
    """What readers of the photo knew before it had the sidecar: the most trusted first.

    Other programs' sidecars are called IMG.JPG.xmp (which `sidecar` may not be), or IMG.xmp; readers
    prefer any of them to the XMP that the photo holds.
    """
    stem, extension = os.path.splitext(photo)
    for path in (photo + SUFFIX, photo + SUFFIX.upper(), stem + SUFFIX, stem + SUFFIX.upper()):
        if path != sidecar and (content := _read(path)) is not None:
            yield Packet(path, content, extension.removeprefix(".").lower())
    for content in embedded_xmp(photo):
        yield Packet("the XMP in the photo", content)


def _read(path: str) -> bytes | None:
    """The content of a sidecar, None if there is none."""
    try:
        if not os.path.isfile(path) and os.path.lexists(path):
            raise SidecarError("not a regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SidecarError(error.strerror or str(error)) from error
    if len(content) > MAX_SIZE:
        raise SidecarError("too large for a sidecar")
    return content


def _save(path: str, content: bytes, refused: set[str]) -> None:
    folder = os.path.dirname(path)
    if folder in refused:
        raise _LeftError
    try:
        os.makedirs(folder, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        cause = error.strerror or str(error)
        if error.errno in REFUSALS:
            refused.add(folder)
            raise _LeftError(f"{folder}: no sidecar can be written there ({cause})") from error
        raise _LeftError(f"{path}: cannot be written ({cause})") from error
