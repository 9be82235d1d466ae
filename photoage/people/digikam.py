"""Names of faces in digiKam's database (`digikam4.db`), which is only read.

Its tables (schema 9 to 17): `Tags` with `TagProperties` tell which tags are persons, `ImageTagProperties` has
the regions as `<rect x= y= width= height=/>` in pixels, `Images`, `Albums` and `AlbumRoots` make the path.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs

from photoage.errors import PhotoageError
from photoage.photos.regions import NamedPeople, NamedRegion

_QUERY = """
SELECT AlbumRoots.identifier, AlbumRoots.specificPath, Albums.relativePath, Images.name, Tags.name,
       ImageTagProperties.value, ImageInformation.width, ImageInformation.height
FROM ImageTagProperties
JOIN Tags ON Tags.id = ImageTagProperties.tagid
JOIN Images ON Images.id = ImageTagProperties.imageid
JOIN Albums ON Albums.id = Images.album
JOIN AlbumRoots ON AlbumRoots.id = Albums.albumRoot
JOIN ImageInformation ON ImageInformation.imageid = Images.id
WHERE ImageTagProperties.property = 'tagRegion'
  AND EXISTS (SELECT 1 FROM TagProperties WHERE TagProperties.tagid = Tags.id AND property = 'person')
"""
_NUMBER = re.compile(r'\b(x|y|width|height)\s*=\s*"(-?[\d.]+)"')


def read_digikam(database: Path, known: Iterable[str]) -> dict[str, NamedPeople]:
    """The named regions in digiKam's database, by the absolute path of the photo.

    `known`: paths of the photos that may be meant. An album whose drive digiKam knows by an id alone is
    found by the end of its photos' paths. Raises `PhotoageError` when the file is not such a database.
    """
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise PhotoageError(f"{database}: not a digiKam database that can be read ({error})") from error
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in known:
        by_name[path.rpartition("/")[2]].append(path)
    found: dict[str, NamedPeople] = defaultdict(NamedPeople)
    for identifier, specific, relative, name, person, value, width, height in rows:
        numbers = {key: float(number) for key, number in _NUMBER.findall(value or "")}
        if len(numbers) < 4 or not width or not height:
            continue
        inner = "/".join(part.strip("/") for part in (specific, relative, name) if part.strip("/"))
        photo = _path(identifier or "", f"/{inner}", by_name[name])
        if photo is not None:
            x, y = numbers["x"] / width, numbers["y"] / height
            box = (x, y, x + numbers["width"] / width, y + numbers["height"] / height)
            found[photo].regions.append(NamedRegion(person, box))
    return dict(found)


def _path(identifier: str, inner: str, candidates: list[str]) -> str | None:
    """The known photo that is meant: at the place that digiKam tells, or the only one that ends so."""
    query = parse_qs(identifier.partition("?")[2])
    for root in (*query.get("path", ()), *query.get("mountpath", ())):
        if (path := f"{root.rstrip('/')}{inner}") in candidates:
            return path
    fitting = [path for path in candidates if path.endswith(inner)]
    return fitting[0] if len(fitting) == 1 else None
