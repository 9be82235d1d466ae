"""Google Photos' exports (Takeout): which JSON file belongs to a photo, and what it says.

Google names the file after the photo's title: `TITLE.supplemental-metadata.json`, in older exports
`TITLE.json`, either cut to 46 characters before `.json`, and in some exports more. A second photo of the same
title in a folder has its number at the end of its own stem, `TITLE(1).jpg`, but in the JSON's name after all
else, `TITLE.jpg(1).json`.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from unicodedata import normalize

from photoage.records import PhotoDate

SUFFIX = ".json"
_LONGEST = 46  # characters before `.json`; or units of UTF-16, or bytes, which may be a quarter as many
_NEVER_CUT = _LONGEST - 4
_PHOTO_LONGEST = 47  # characters of a photo's stem, after which Takeout cuts it
_FULL = ".supplemental-metadata"
_NUMBER = re.compile(r"\(\d+\)$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OTHER_FORMATS = (".heic", ".jpg", ".jpeg", ".png", ".webp", ".dng")

# What Takeout adds to the name of an edited photo, in the language of the account; and of Google's effects.
EDITED = tuple(
    normalize("NFC", word)
    for word in (
        "-edited", "-effects", "-smile", "-mix", "-collage", "-animation", "-bearbeitet", "-modifié",
        "-edytowane", "-bewerkt", "-編集済み", "-modificato", "-ha editado", "-editado", "-editada",
        "-editat", "-redigerad", "-redigeret", "-redigert", "-muokattu", "-upraveno", "-upravené",
        "-szerkesztett", "-szerkesztve", "-düzenlendi", "-изменено", "-отредактировано",
        "-змінено", "-відредаговано",
        "-επεξεργασμένο", "-已修改", "-已编辑", "-已編輯", "-수정됨", "-편집됨", "-đã chỉnh sửa", "-แก้ไขแล้ว",
        "-diedit", "-נערך", "-تم التعديل", "-editovano", "-uređeno", "-urejeno", "-redaguota", "-rediģēts",
        "-muudetud", "-редактирано", "-измењено", "-संपादित",
    )
)  # fmt: skip


class TakeoutFiles:
    """The JSON files of one folder, to be asked for that of a photo."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[tuple[str, str], str] = {}  # stem without its number, the number: the name
        for name in sorted(names, reverse=True):
            stem = _plain(name)[: -len(SUFFIX)]
            self._names[stem, ""] = name
            if found := _NUMBER.search(stem):
                self._names[stem[: found.start()], found[0]] = name
        for (stem, number), name in list(self._names.items()):  # exports cut names that are short, too
            title, dot, ending = stem.rpartition(".")
            if ending and _FULL.startswith(dot + ending):
                self._names.setdefault((title, number), name)
        self._beginnings = sorted(stem for stem, _ in self._names)

    def of(self, photo: str) -> str | None:
        """The name of the JSON file that belongs to the photo of this name, if there is one."""
        titles = list(dict.fromkeys(_titles(_plain(photo))))
        if not any(self._may_have(title) for title, _ in titles):
            return None
        return next((found for key in _keys(titles) if (found := self._names.get(key)) is not None), None)

    def _may_have(self, title: str) -> bool:
        """Whether any name begins as all names for the title do: of most photos without a JSON, none does."""
        beginning = os.path.splitext(title)[0][: _NEVER_CUT if title.isascii() else _NEVER_CUT // 4]
        place = bisect_left(self._beginnings, beginning)
        return place < len(self._beginnings) and self._beginnings[place].startswith(beginning)


def _plain(name: str) -> str:
    """A name without what differs between file systems and exports."""
    return normalize("NFC", name).lower()


def _keys(titles: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for title, number in titles:
        yield from ((stem, number) for stem in _stems(title))
    # A JSON file may be named after the title without an extension, or with that of the original's format.
    for title, number in titles:
        stem, own = os.path.splitext(title)
        for extension in ("", *(other for other in _OTHER_FORMATS if other != own)):
            yield from ((cut, number) for cut in _stems(stem + extension))


def _titles(photo: str) -> Iterator[tuple[str, str]]:
    """What the photo may be called in Google Photos, with its number: first just so, then undone."""
    yield photo, ""
    stem, extension = os.path.splitext(photo)
    if number := _NUMBER.search(stem):
        yield stem[: number.start()] + extension, number[0]
    for edited in _unedited(stem):
        yield edited + extension, ""
        if inner := _NUMBER.search(edited):  # IMG(1)-edited.jpg
            yield edited[: inner.start()] + extension, inner[0]
    if number:
        for edited in _unedited(stem[: number.start()]):  # IMG-edited(1).jpg
            yield edited + extension, number[0]


def _unedited(stem: str) -> Iterator[str]:
    if len(stem) < _PHOTO_LONGEST and not stem.endswith(EDITED):
        return  # as most are: a walk asks for every photo
    for word in EDITED:
        if stem.endswith(word):
            yield stem.removesuffix(word)
        elif len(stem) >= _PHOTO_LONGEST:
            for length in range(len(word) - 1, 1, -1):  # cut off with the name that it ends
                if stem.endswith(word[:length]):
                    yield stem[:-length]


def _stems(title: str) -> Iterator[str]:
    """The JSON's name before `.json`, and before a number, for a title."""
    full = title + _FULL
    yield full
    yield title
    if len(full.encode("utf-16-le")) // 2 <= _NEVER_CUT and full.isascii():
        return
    cuts = {full[:_LONGEST], _cut_utf16(full, _LONGEST), full.encode()[:_LONGEST].decode("utf-8", "ignore")}
    # With a number, some exports cut more, so that all of it has the length.
    cuts |= {full[:length] for length in range(_NEVER_CUT, _LONGEST + 2)}
    yield from sorted(cuts, key=len, reverse=True)


def _cut_utf16(text: str, units: int) -> str:
    """The first characters, of which emoji count twice."""
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")


def taken_time(content: bytes) -> PhotoDate | None:
    """`photoTakenTime` of a JSON file's content, in UTC; None if it is no such file, or says none."""
    try:
        seconds = int(json.loads(content)["photoTakenTime"]["timestamp"])
        return PhotoDate.of(_EPOCH + timedelta(seconds=seconds))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
