"""The page is written in one pass: head, blocks of faces as their crops come, then totals and script.

Whatever comes from the database goes into the page as JSON inside <script> elements of a type that is not
run, with `<` escaped; the script puts it on the page as text, never as markup.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib import resources
from itertools import islice
from pathlib import PurePath
from string import punctuation
from typing import Any, BinaryIO
from urllib.parse import quote

from sqlalchemy import Engine

from photoage import __version__
from photoage.database.face_filter import FaceFilter
from photoage.export.crops import FaceCrop, iter_crops
from photoage.export.html import as_picture, content_policy, embedded, json_text, visible
from photoage.paths import is_remote

SIZE = 96  # pixels of a thumbnail
MARGIN = 0.2  # hair and chin make a face easier to recognise than the model's tight crop
SCRIPTS = ("page.js", "charts.js", "gallery.js")
BLOCK = 250  # faces in one block of the page


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """How many faces a report shows, and how many of them without a picture."""

    faces: int
    without_picture: int


def write_report(
    engine: Engine,
    wanted: FaceFilter,
    out: BinaryIO,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda faces: None,
) -> ReportSummary:
    """Write the faces that match, in the filter's order, as one HTML page.

    Photos are opened to cut the faces' pictures, never changed; a face whose photo cannot be used any
    more is shown without one. `progress` is called with the number of faces written so far.
    Memory use does not grow with the number of pictures. Raises `DatabaseError`.
    """
    style, script = _asset("page.css"), "".join(map(_asset, SCRIPTS))
    head, tail = _asset("page.html").split("{{faces}}")
    head = head.replace("{{policy}}", content_policy(style, script)).replace("{{version}}", __version__)
    out.write(head.replace("{{style}}", style).encode())
    page = _Page()
    crops = iter_crops(engine, wanted, size=SIZE, margin=MARGIN, workers=workers)
    while block := list(islice(crops, BLOCK)):
        out.writelines(page.block(block))
        progress(page.faces)
    totals = embedded("totals", "application/json", json_text(page.totals(wanted)))
    out.write(tail.replace("{{script}}", script).replace("{{totals}}", totals).encode())
    return ReportSummary(page.faces, page.without_picture)


def _asset(name: str) -> str:
    return (resources.files("photoage.export.report") / name).read_text(encoding="utf-8")


class _Page:
    """What has been written so far."""

    def __init__(self) -> None:
        self.faces = self.without_picture = 0
        self._folders: dict[str, int] = {}
        self._photos: set[bytes] = set()
        self._models: dict[str, set[str]] = {"checkpoint": set(), "detector": set()}

    def block(self, crops: list[FaceCrop]) -> Iterator[bytes]:
        """Some faces: what is known of them, and their pictures, one line of base64 each."""
        known = len(self._folders)
        rows = [self._row(crop) for crop in crops]
        folders = [[visible(folder), _url(folder)] for folder in list(self._folders)[known:]]
        yield embedded("", "application/json", json_text({"folders": folders, "faces": rows})).encode()
        pictures = "\n".join("" if crop.crop is None else as_picture(crop.crop) for crop in crops)
        yield embedded("", "text/plain", pictures).encode()

    def _row(self, crop: FaceCrop) -> list[Any]:
        row = crop.row
        folder, name = os.path.split(row.path)
        self.faces += 1
        self.without_picture += crop.crop is None
        self._photos.add(hashlib.blake2b(os.fsencode(row.path), digest_size=12).digest())
        self._models["checkpoint"].add(visible(row.checkpoint))
        self._models["detector"].add(visible(row.detector))
        number = self._folders.setdefault(folder, len(self._folders))
        ages = [round(age, 1) for age in (row.age, row.age_low, row.age_high)]
        when = row.taken_at or "", row.date_source or ""
        entry = [*ages, *when, number, visible(name), _quoted(name, remote=is_remote(folder))]
        return entry if crop.problem is None else [*entry, visible(crop.problem)]

    def totals(self, wanted: FaceFilter) -> dict[str, Any]:
        return {
            "block": BLOCK,
            "separator": os.sep,
            "photos": len(self._photos),
            "filter": _in_words(wanted),
            "order": wanted.sort,
            "made": datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
            "version": __version__,
            **{kind: sorted(names) for kind, names in self._models.items()},
        }


def _in_words(wanted: FaceFilter) -> str:
    """The restrictions of a filter, as the options that set them."""
    names = {"path_glob": "path"}
    words = []
    for field in fields(wanted):
        value = getattr(wanted, field.name)
        if (
            field.name not in ("sort", "descending")
            and value is not None
            and value is not False
            and value != ()
        ):
            text = " or ".join(value) if isinstance(value, tuple) else str(value)
            words.append(f"{names.get(field.name, field.name).replace('_', ' ')} {visible(text)}")
    return ", ".join(words)


def _url(folder: str) -> str:
    """The folder as a URL that ends in a slash, byte for byte: file://, or its own in object storage."""
    if is_remote(folder):
        return _quoted(folder, remote=True).rstrip("/") + "/"
    return PurePath(folder).as_uri().rstrip("/") + "/"


def _quoted(text: str, *, remote: bool) -> str:
    """Part of a URL; what is one already stays as it is."""
    return quote(os.fsencode(text), safe=punctuation if remote else "/")
