"""Files beside a photo that tell about it: XMP sidecars, and the JSON files of a Google Takeout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from photoage.photos import takeout

XMP = ".xmp"
_LONGEST = len(takeout.SUFFIX)
MAX_SIDECAR = 16 * 1024 * 1024  # bytes that are read of one


class FolderSidecars:
    """Those of one folder, found by the names in it: what is not there costs nothing."""

    def __init__(self, names: Iterable[str]) -> None:
        self._xmp: dict[str, str] = {}
        jsons = []
        for name in names:
            ending = name[-_LONGEST:].lower()
            if ending.endswith(XMP):
                self._xmp[name.lower()] = name
            elif ending == takeout.SUFFIX:
                jsons.append(name)
        self._takeout = takeout.TakeoutFiles(jsons) if jsons else None

    def __bool__(self) -> bool:
        return bool(self._xmp) or self._takeout is not None

    def of(self, photo: str) -> list[str]:
        """The names of a photo's sidecars, `IMG.JPG.xmp` before `IMG.xmp`, then Takeout's."""
        found = []
        if self._xmp:
            photo_lower = photo.lower()
            usual = (photo_lower + XMP, os.path.splitext(photo_lower)[0] + XMP)
            found += [self._xmp[name] for name in usual if name in self._xmp]
        if self._takeout is not None and (json := self._takeout.of(photo)) is not None:
            found.append(json)
        return found


def fingerprint(names: Iterable[str], stat: Callable[[str], os.stat_result]) -> str:
    """Names, sizes and times of sidecars as one text, in which a change of any shows; empty for none."""
    parts = []
    for name in names:
        try:
            info = stat(name)
        except (OSError, ValueError):
            continue
        parts.append(f"{name}/{info.st_size}/{info.st_mtime_ns}")
    return "//".join(parts)


def sidecar_names(text: str) -> Iterator[str]:
    """The names in a fingerprint."""
    return (part.split("/")[0] for part in text.split("//") if part)
