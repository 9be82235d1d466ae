"""What a walk takes of a folder, by the names in it, and what it passes over."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from photoage.paths import is_remote
from photoage.photos import remote, skips
from photoage.photos.exclude import Excluded, IgnoreFile
from photoage.photos.suffixes import (
    OTHERS,
    OWN_CROP,
    PACKAGES,
    VIDEOS,
    photo_suffixes,
    suffix,
    without_developed_raws,
)

MAX_IGNORE_FILE = 1024 * 1024  # bytes
_TELLING = frozenset({skips.NO_MEDIA, skips.IGNORE_FILE, ".picasa.ini"})  # hidden files that count


Listed = tuple[str, str, bool]  # path, name, whether it is a folder; else a file that may be a photo


class Choice:
    """Chooses by the patterns `exclude`, and with `skip` by the rules of `skips`; counts in `passed`.

    A folder of the `roots` is taken whatever it is. Raises `UsageError` for what is no pattern.
    """

    def __init__(
        self, roots: Collection[str], exclude: Sequence[str], skip: bool, passed: skips.PassedOver
    ) -> None:
        self.passed = passed
        self._roots, self._skip = roots, skip
        self._patterns = Excluded(exclude) if exclude else None
        self._ignore_files: dict[str, IgnoreFile] = {}  # by their folder
        self._verdicts: dict[str, bool | None] = {}

    def is_junk(self, name: str) -> bool:
        """Whether nobody wants what has this name. AppleDouble files (`._*`) never are photos."""
        return skips.is_junk(name) if self._skip else name.startswith("._")

    def take(
        self, root: str, folder: str, listed: Iterable[Listed], names: Collection[str]
    ) -> tuple[list[str], set[str]]:
        """Sorted paths that matter, and those of them that only their content can tell of.

        A folder's path ends with a slash, and sorts as such. `names`: of all that is in the folder. Raises
        `OSError` or `ValueError` when rules that are kept in the folder cannot be read.
        """
        if self._skip and not _TELLING.isdisjoint(names) and self._is_marked(folder, names):
            self.passed.marked += 1
            return [], set()
        found: list[str] = []
        uncertain: set[str] = set()
        suffixes = photo_suffixes()
        has_rules = self._patterns is not None or bool(self._ignore_files)
        is_special = False  # a rescan does this for every file: what few files need is not done for all
        for path, name, is_folder in listed:
            ending = "" if is_folder else suffix(name)
            if ending in OTHERS or (has_rules and self.excluded(path, root, is_folder)):
                continue
            if is_folder:
                if self._skip and path not in self._roots and skips.program_of(path, lambda: names):
                    self.passed.folders += 1
                else:
                    found.append(path + os.sep)
            elif ending in suffixes or ending in PACKAGES:
                if self._skip and OWN_CROP.fullmatch(name):
                    self.passed.crops += 1
                else:
                    found.append(path)
                    is_special = is_special or ending in PACKAGES
            elif ending in VIDEOS:
                self.passed.videos += 1
            else:
                found.append(path)
                uncertain.add(path)
        if is_special and self._skip:
            found, raws = without_developed_raws(found)
            self.passed.raws += raws
        if is_special:
            found = self._readable(found, uncertain)
        found.sort()
        return found, uncertain

    def _readable(self, paths: list[str], uncertain: set[str]) -> list[str]:
        """The paths without those of formats whose package is not installed."""
        missing = PACKAGES.keys() - photo_suffixes()
        if not missing:
            return paths
        left = []
        for path in paths:
            if (ending := suffix(path)) in missing and path not in uncertain:
                self.passed.lacking[ending] += 1
            else:
                left.append(path)
        return left

    def excluded(self, path: str, root: str, is_folder: bool) -> bool:
        """Whether the patterns leave a path out, or the rules of a folder around it, inner ones first."""
        if self._patterns is not None and self._patterns.matches(path, root, is_folder):
            return True
        if not self._ignore_files:
            return False
        folder = path
        while folder != root and (outer := os.path.dirname(folder)) != folder:
            folder = outer
            file = self._ignore_files.get(folder)
            if file is not None and (decided := file.decides(path, is_folder)) is not None:
                return decided
        return False

    def look(self, folder: str) -> bool | None:
        """Whether a folder is passed over for what it is or holds; None where its rules cannot be read.

        Takes note of those rules.
        """
        if not self._skip or is_remote(folder):
            return False
        if folder not in self._verdicts:
            outer = os.path.dirname(folder)
            try:
                here = [name for name in _TELLING if os.path.lexists(os.path.join(folder, name))]
                is_programs = folder not in self._roots and skips.program_of(
                    folder, lambda: os.listdir(outer)
                )
                self._verdicts[folder] = bool(is_programs) or self._is_marked(folder, here)
            except (OSError, ValueError):
                self._verdicts[folder] = None
        return self._verdicts[folder]

    def _is_marked(self, folder: str, names: Collection[str]) -> bool:
        is_empty = False
        if skips.IGNORE_FILE in names:
            content = _read(f"{folder.rstrip('/')}/{skips.IGNORE_FILE}")
            file = IgnoreFile(folder, content)
            self._ignore_files[folder] = file
            is_empty = file.is_empty
        return folder not in self._roots and (is_empty or skips.NO_MEDIA in names)


def _read(path: str) -> bytes:
    if is_remote(path):
        return remote.read_file(path, MAX_IGNORE_FILE)[1]
    with open(path, "rb") as file:
        return file.read(MAX_IGNORE_FILE)
