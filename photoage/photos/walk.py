"""Folders to candidate photos, in sorted order, without opening any file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

from photoage.paths import absolute, is_remote
from photoage.photos import remote
from photoage.photos.exclude import Excluded
from photoage.photos.file_list import listed_names
from photoage.photos.sidecar_files import FolderSidecars, fingerprint
from photoage.records import PhotoFile, WalkProblem

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".tif", ".tiff"}
    | {".bmp", ".gif", ".mpo", ".avif", ".heic", ".heif", ".hif"}
    | {".jp2", ".j2k", ".jpx", ".jpf", ".psd"}
)
JXL_SUFFIXES = frozenset({".jxl"})
RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw"}
)
# With a picture of the same name beside it, a RAW file is passed over: it is the same photo.
DEVELOPED_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"})


OWN_CROP = re.compile(r"\d{3}\.\d_.+_[0-9a-f]{8}_\d+\.jpg")  # as export/crop_files.py names them


@cache
def photo_suffixes() -> frozenset[str]:
    """Of the formats that can be read with the packages that are installed."""
    more = {"rawpy": RAW_SUFFIXES, "pillow_jxl": JXL_SUFFIXES}
    return PHOTO_SUFFIXES.union(*(suffixes for package, suffixes in more.items() if find_spec(package)))


# Folders that NAS systems, desktops and archivers fill with thumbnails, waste and copies; hidden ones
# (`.Trashes`, `._*`, `.thumbnails`) are skipped as such.
JUNK = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)


@dataclass(frozen=True)
class WalkOptions:
    """`exclude`: patterns as in a .gitignore at the root, or absolute ones (see photos/exclude.py)."""

    exclude: tuple[str, ...] = ()
    follow: bool = False
    one_file_system: bool = False


@dataclass(frozen=True)
class RootCheck:
    """Roots that are not there, and folders with nothing to scan in them: unmounted drives, perhaps."""

    absent: tuple[str, ...]
    empty: tuple[str, ...]


def walk(roots: Sequence[str], options: WalkOptions = WalkOptions()) -> Iterator[PhotoFile | WalkProblem]:
    """Every candidate photo under the roots once, sorted by path under each root.

    A root may be a file, which is a candidate whatever its name. Memory grows with the largest
    folder, not with the library (with `follow`, also with the number of folders).
    """
    walker = _Walker({absolute(root) for root in roots}, options)
    for root in sorted(walker.roots):
        yield from walker.walk_remote(root) if is_remote(root) else walker.walk_root(root)


def walk_changed(
    roots: Sequence[str], paths: Iterable[str], options: WalkOptions = WalkOptions()
) -> Iterator[PhotoFile | WalkProblem]:
    """Those of the absolute paths that `walk` would find under the roots; of a folder, all in it."""
    walker = _Walker({os.path.abspath(root) for root in roots}, options)
    names: dict[str, set[str]] = {}
    for path in paths:
        names.setdefault(os.path.dirname(path), set()).add(path)
    seen = set()
    for folder in sorted(names):
        root = next((root for root in sorted(walker.roots) if walker.reaches(root, folder)), None)
        for entry in walker.walk_part(root, folder, names[folder]) if root is not None else ():
            if entry.path not in seen:
                seen.add(entry.path)
                yield entry


def files_from(lines: Iterable[bytes]) -> Iterator[PhotoFile | WalkProblem]:
    """The files that a list names, in its order; relative names start at the current folder.

    `lines` is a binary file, or pieces of one: names end with a newline, or with NUL if there is one.
    """
    seen = set()
    beside = _Beside()
    for name in listed_names(lines):
        if (path := absolute(os.fsdecode(name))) not in seen:
            seen.add(path)
            yield remote.examine(path) if is_remote(path) else beside.examine(path)


class WalkedFolders:
    """The folders that a walk of the roots enters."""

    def __init__(self, roots: Sequence[str], options: WalkOptions) -> None:
        self._walker = _Walker({os.path.abspath(root) for root in roots}, options)

    def within(self, folder: str) -> Iterator[str]:
        """A folder and those in it, outer ones first, at any depth."""
        root = next((each for each in sorted(self._walker.roots) if self._walker.reaches(each, folder)), None)
        if root is not None:
            yield from self._walker.folders(root, folder)


def exclusion(roots: Sequence[str], options: WalkOptions) -> Callable[[str], bool]:
    """Tells of a path below the roots whether the patterns leave it out, below each root that holds it."""
    return _Walker({absolute(root) for root in roots}, options).excludes


def check_roots(roots: Sequence[str]) -> RootCheck:
    """Which roots cannot be trusted to show what is missing. An unreadable root counts as absent."""
    absent, empty = [], []
    for root in roots:
        try:
            if is_remote(root):
                if remote.is_empty(root):
                    empty.append(root)
            elif stat.S_ISDIR(os.stat(root).st_mode):
                with os.scandir(root) as entries:
                    if all(_is_junk(entry.name) for entry in entries):
                        empty.append(root)
        except OSError:
            absent.append(root)
    return RootCheck(tuple(absent), tuple(empty))


class _Entry(NamedTuple):
    """A path in a folder, and the sidecars of that folder."""

    path: str
    sidecars: FolderSidecars


class _Beside:
    """Examines files that are named one by one, with what lies beside them."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._sidecars = FolderSidecars(())

    def examine(self, path: str) -> PhotoFile | WalkProblem:
        folder = os.path.dirname(path)
        if folder != self._folder:  # lists name many files of one folder in a row
            self._folder = folder
            try:
                self._sidecars = FolderSidecars(os.listdir(folder))
            except (OSError, ValueError):
                self._sidecars = FolderSidecars(())
        return _examine(path, self._sidecars)


class _Walker:
    def __init__(self, roots: set[str], options: WalkOptions) -> None:
        self.roots, self.options = roots, options
        self._exclude = Excluded(options.exclude) if options.exclude else None
        self._entered: set[tuple[int, int]] = set()
        self._root_folders = {identity for root in roots if (identity := _folder_identity(root))}
        self._given_files: set[str] = set()

    def walk_root(self, root: str) -> Iterator[PhotoFile | WalkProblem]:
        try:
            info = os.stat(root)  # a root that is a link is meant to be followed
        except (OSError, ValueError) as error:
            yield _problem(root, error, gone="missing")
            return
        if not stat.S_ISDIR(info.st_mode):
            if root not in self._given_files and not self._excluded(root, os.path.dirname(root), False):
                self._given_files.add(root)
                yield _Beside().examine(root)
        elif self._enter(info):
            yield from self._walk_folder(root, info.st_dev)

    def walk_remote(self, root: str) -> Iterator[PhotoFile | WalkProblem]:
        """The same of a root that is a URL; nothing there is a link."""

        def is_wanted(path: str, is_folder: bool) -> bool:
            name = path.rpartition("/")[2]
            if _is_junk(name) or self._excluded(path, root, is_folder):
                return False
            if is_folder:
                return path not in self.roots  # which is walked by itself
            return os.path.splitext(name)[1].lower() in photo_suffixes()

        for entry in remote.walk(root, is_wanted):
            if entry.path not in self._given_files:
                if entry.path in self.roots:
                    self._given_files.add(entry.path)
                yield entry

    def reaches(self, root: str, folder: str) -> bool:
        """Whether a walk of `root` comes to `folder`."""
        inside = os.path.join(root, "")
        if folder != root and not folder.startswith(inside):
            return False
        while folder != root:
            outer, name = os.path.split(folder)
            is_link = os.path.islink(folder) and not self.options.follow
            if is_link or _is_junk(name) or self._excluded(folder, root, True):
                return False
            folder = outer
        return True

    def folders(self, root: str, folder: str) -> Iterator[str]:
        entered: set[tuple[int, int]] = set()  # with links, folders may contain themselves
        device = _folder_identity(root)
        stack = [folder]
        while stack:
            folder = stack.pop()
            identity = _folder_identity(folder)
            if identity is None or device is None or identity in entered:
                continue
            if self.options.one_file_system and identity[0] != device[0]:
                continue
            entered.add(identity)
            yield folder
            entries = [entry.path for entry in self._entries(root, folder) if isinstance(entry, _Entry)]
            stack += [path[:-1] for path in reversed(entries) if path.endswith(os.sep)]

    def excludes(self, path: str) -> bool:
        holding = [root for root in self.roots if path == root or path.startswith(os.path.join(root, ""))]
        return bool(holding) and all(self._excluded_below(root, path) for root in holding)

    def _excluded_below(self, root: str, path: str) -> bool:
        if path == root:
            return self._excluded(root, os.path.dirname(root), False)
        is_folder = False
        while path != root:
            if self._excluded(path, root, is_folder):
                return True
            path, is_folder = os.path.dirname(path), True
        return False

    def walk_part(self, root: str, folder: str, wanted: set[str]) -> Iterator[PhotoFile | WalkProblem]:
        """What is at the `wanted` paths in `folder`, or below them."""
        try:
            device = os.stat(root).st_dev
            if self.options.one_file_system and os.stat(folder).st_dev != device:
                return
        except OSError:
            return  # gone again
        entries = self._entries(root, folder)
        yield from self._walk_entries(
            root,
            device,
            (e for e in entries if isinstance(e, WalkProblem) or e.path.removesuffix(os.sep) in wanted),
        )

    def _walk_folder(self, root: str, device: int) -> Iterator[PhotoFile | WalkProblem]:
        yield from self._walk_entries(root, device, self._entries(root, root))

    def _walk_entries(
        self, root: str, device: int, entries: Iterator[_Entry | WalkProblem]
    ) -> Iterator[PhotoFile | WalkProblem]:
        """Depth first with an explicit stack: no depth of folders exhausts Python's own."""
        stack = [entries]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, WalkProblem):
                yield entry
            elif entry.path.endswith(os.sep):
                folder = entry.path[:-1]
                try:
                    info = os.stat(folder)
                except OSError as error:
                    yield _problem(folder, error)
                    continue
                if (info.st_dev == device or not self.options.one_file_system) and self._enter(info):
                    stack.append(self._entries(root, folder))
            elif entry.path not in self._given_files:
                if entry.path in self.roots:
                    self._given_files.add(entry.path)
                yield _examine(entry.path, entry.sidecars)

    def _entries(self, root: str, folder: str) -> Iterator[_Entry | WalkProblem]:
        """Sorted paths in a folder that matter; a sub-folder's ends with a slash, and sorts as such."""
        found: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_junk(entry.name) or OWN_CROP.fullmatch(entry.name):
                        continue
                    names.append(entry.name)
                    is_folder, is_candidate = self._classify(entry)
                    if (is_folder or is_candidate) and not self._excluded(entry.path, root, is_folder):
                        found.append(entry.path + os.sep if is_folder else entry.path)
        except OSError as error:
            yield _problem(folder, error)
        found = _without_developed_raws(found)
        found.sort()
        sidecars = FolderSidecars(names)
        yield from (_Entry(path, sidecars) for path in found)

    def _classify(self, entry: os.DirEntry[str]) -> tuple[bool, bool]:
        """Whether the entry is a folder to enter; whether it is a candidate photo. Never blocks."""
        follow = self.options.follow
        has_suffix = os.path.splitext(entry.name)[1].lower() in photo_suffixes()
        try:
            if entry.is_dir(follow_symlinks=follow):
                return True, False
            # With `follow` a broken link is a candidate: examining it will say what is wrong.
            is_broken = has_suffix and follow and entry.is_symlink() and not os.path.exists(entry.path)
            return False, has_suffix and (entry.is_file(follow_symlinks=follow) or is_broken)
        except OSError:
            return False, has_suffix

    def _enter(self, info: os.stat_result) -> bool:
        """Whether a folder is entered for the first time.

        Without symlinks a folder can only be met again through another root, so only the roots are
        remembered; with them every folder is.
        """
        identity = (info.st_dev, info.st_ino)
        if identity in self._entered:
            return False
        if self.options.follow or identity in self._root_folders:
            self._entered.add(identity)
        return True

    def _excluded(self, path: str, root: str, is_folder: bool) -> bool:
        return self._exclude is not None and self._exclude.matches(path, root, is_folder)


def _without_developed_raws(paths: list[str]) -> list[str]:
    """The paths of a folder without RAW files that lie beside a JPEG or HEIC file of the same name."""
    named = [(path, *os.path.splitext(path)) for path in paths]
    raws = {path: stem for path, stem, suffix in named if suffix.lower() in RAW_SUFFIXES}
    if not raws:
        return paths
    developed = {stem.lower() for _, stem, suffix in named if suffix.lower() in DEVELOPED_SUFFIXES}
    return [path for path in paths if path not in raws or raws[path].lower() not in developed]


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def examine(path: str) -> PhotoFile | WalkProblem:
    """The file at a path, or in object storage, as it is now, without its sidecars."""
    return remote.examine(path) if is_remote(path) else _examine(path, FolderSidecars(()))


def _examine(path: str, sidecars: FolderSidecars) -> PhotoFile | WalkProblem:
    """The file as it is now, if it is a regular one: one stat, and one for each sidecar."""
    try:
        info = os.stat(path)
    except (OSError, ValueError) as error:
        return _problem(path, error)
    if not stat.S_ISREG(info.st_mode):
        what = "a folder" if stat.S_ISDIR(info.st_mode) else "a special file"
        return WalkProblem(path, "not-a-file", f"is {what}, not a photo")
    folder, name = os.path.split(path)
    beside = fingerprint(sidecars.of(name), lambda found: os.stat(os.path.join(folder, found)))
    return PhotoFile.of(path, info, beside)


def _folder_identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    return (info.st_dev, info.st_ino) if stat.S_ISDIR(info.st_mode) else None


def _problem(path: str, error: OSError | ValueError, gone: str = "vanished") -> WalkProblem:
    """What is wrong with a path; `gone` is the kind for one that is not there."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return WalkProblem(path, gone, "no such file or folder")
    cause = error.strerror if isinstance(error, OSError) else None
    return WalkProblem(path, "unreadable", (cause or str(error)).lower())
