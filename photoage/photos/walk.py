"""Folders to candidate photos, in sorted order; opened are only files that no name tells of."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from photoage.paths import absolute, is_remote
from photoage.photos import remote
from photoage.photos.choice import Choice, Listed
from photoage.photos.file_list import listed_names
from photoage.photos.sidecar_files import FolderSidecars, fingerprint
from photoage.photos.skips import IGNORE_FILE, PassedOver, is_junk
from photoage.records import PhotoFile, WalkProblem


@dataclass(frozen=True)
class WalkOptions:
    """`exclude`: patterns as in a .gitignore at the root, or absolute ones (see photos/exclude.py).

    `skip`: pass over what other programs keep for themselves, and what is marked (see photos/skips.py).
    """

    exclude: tuple[str, ...] = ()
    follow: bool = False
    one_file_system: bool = False
    skip: bool = True


@dataclass(frozen=True)
class RootCheck:
    """Roots that are not there, and folders with nothing to scan in them: unmounted drives, perhaps."""

    absent: tuple[str, ...]
    empty: tuple[str, ...]


def walk(
    roots: Sequence[str], options: WalkOptions = WalkOptions(), passed: PassedOver | None = None
) -> Iterator[PhotoFile | WalkProblem]:
    """Every candidate photo under the roots once, sorted by path under each root.

    A root may be a file, which is a candidate whatever its name. Memory grows with the largest
    folder, not with the library (with `follow`, also with the number of folders). What is passed over
    is counted in `passed`.
    """
    walker = _Walker({absolute(root) for root in roots}, options, passed)
    for root in sorted(walker.roots):
        yield from walker.walk_remote(root) if is_remote(root) else walker.walk_root(root)


def walk_changed(
    roots: Sequence[str], paths: Iterable[str], options: WalkOptions = WalkOptions()
) -> Iterator[PhotoFile | WalkProblem]:
    """Those of the absolute paths that `walk` would find under the roots; of a folder, all in it.

    Of a file that tells about photos beside it, which may be gone, these photos.
    """
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
    """Tells of a path below the roots whether the options leave it out, below each root that holds it."""
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
                    if all(is_junk(entry.name) for entry in entries):
                        empty.append(root)
        except OSError:
            absent.append(root)
    return RootCheck(tuple(absent), tuple(empty))


class _Listing(NamedTuple):
    """What matters of a folder: sorted paths, those of sub-folders with a slash at their end.

    Of the `uncertain` files only their content can tell. With a problem, perhaps not all is there.
    """

    paths: Sequence[str]
    sidecars: FolderSidecars
    uncertain: Collection[str] = ()
    problem: WalkProblem | None = None


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
    def __init__(self, roots: set[str], options: WalkOptions, passed: PassedOver | None = None) -> None:
        self.roots, self.options = roots, options
        self._choice = Choice(roots, options.exclude, options.skip, passed or PassedOver())
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
            if root not in self._given_files and not self._choice.excluded(
                root, os.path.dirname(root), False
            ):
                self._given_files.add(root)
                yield _Beside().examine(root)
        elif self._enter(info):
            yield from self._walk_listing(root, info.st_dev, self._list(root, root))

    def walk_remote(self, root: str) -> Iterator[PhotoFile | WalkProblem]:
        """As `walk_root`, of a root that is a URL; nothing there is a link."""

        def choose(folder: str, entries: Sequence[tuple[str, bool]]) -> set[str]:
            listed = [(path, path.rpartition("/")[2], is_folder) for path, is_folder in entries]
            wanted = [each for each in listed if not self._choice.is_junk(each[1])]
            found, uncertain = self._choice.take(root, folder, wanted, [name for _, name, _ in listed])
            self._choice.passed.unknown += len(
                uncertain
            )  # asking for their first bytes costs time, and money
            # A root in it is walked by itself.
            return (
                {path.rstrip("/") for path in found} - uncertain - {f for f in self.roots if f + "/" in found}
            )

        for entry in remote.walk(root, choose):
            if entry.path not in self._given_files:
                if entry.path in self.roots:
                    self._given_files.add(entry.path)
                yield entry

    def reaches(self, root: str, folder: str) -> bool:
        """Whether a walk of `root` comes to `folder`."""
        if folder != root and not folder.startswith(os.path.join(root, "")):
            return False
        self._choice.look(root)
        for each in _between(root, folder):
            is_link = os.path.islink(each) and not self.options.follow
            if is_link or self._choice.is_junk(os.path.basename(each)):
                return False
            if self._choice.excluded(each, root, True) or self._choice.look(each) is not False:
                return False
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
            listing = self._list(root, folder)
            stack += [path[:-1] for path in reversed(listing.paths) if path.endswith(os.sep)]

    def excludes(self, path: str) -> bool:
        holding = [root for root in self.roots if path == root or path.startswith(os.path.join(root, ""))]
        return bool(holding) and all(self._excluded_below(root, path) for root in holding)

    def _excluded_below(self, root: str, path: str) -> bool:
        choice = self._choice
        if path == root:
            return choice.excluded(root, os.path.dirname(root), False)
        choice.look(root)
        folders = _between(root, os.path.dirname(path))
        return any(choice.excluded(each, root, True) or choice.look(each) for each in folders) or (
            choice.excluded(path, root, False)
        )

    def walk_part(self, root: str, folder: str, wanted: set[str]) -> Iterator[PhotoFile | WalkProblem]:
        """What is at the `wanted` paths in `folder`, or below them; photos that these are sidecars of."""
        try:
            device = os.stat(root).st_dev
            if self.options.one_file_system and os.stat(folder).st_dev != device:
                return
        except OSError:
            return  # gone again
        listing = self._list(root, folder)
        beside = FolderSidecars(os.path.basename(path) for path in wanted)
        paths = [
            path
            for path in listing.paths
            if path.removesuffix(os.sep) in wanted or (beside and beside.of(os.path.basename(path)))
        ]
        yield from self._walk_listing(root, device, listing._replace(paths=paths))

    def _walk_listing(self, root: str, device: int, listing: _Listing) -> Iterator[PhotoFile | WalkProblem]:
        """Depth first with an explicit stack: no depth of folders exhausts Python's own."""
        stack: list[tuple[_Listing, Iterator[str]]] = []

        def enter(listing: _Listing) -> Iterator[WalkProblem]:
            stack.append((listing, iter(listing.paths)))
            if listing.problem is not None:
                yield listing.problem

        yield from enter(listing)
        while stack:
            listing, paths = stack[-1]
            for path in paths:
                if path.endswith(os.sep):
                    folder = path[:-1]
                    try:
                        info = os.stat(folder)
                    except OSError as error:
                        yield _problem(folder, error)
                        continue
                    if (info.st_dev == device or not self.options.one_file_system) and self._enter(info):
                        yield from enter(self._list(root, folder))
                        break  # and come back to this one
                elif path not in self._given_files:
                    # A root is a candidate whatever it is; its turn comes.
                    if path in listing.uncertain and (path in self.roots or not self._is_photo(path)):
                        continue
                    if path in self.roots:
                        self._given_files.add(path)
                    yield _examine(path, listing.sidecars)
            else:
                stack.pop()

    def _list(self, root: str, folder: str) -> _Listing:
        listed: list[Listed] = []
        names: list[str] = []
        problem = None
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    names.append(name)
                    if self._choice.is_junk(name):
                        continue
                    is_folder, is_file = self._classify(entry)
                    if is_folder or is_file:
                        listed.append((entry.path, name, is_folder))
        except OSError as error:
            problem = _problem(folder, error)
        try:
            found, uncertain = self._choice.take(root, folder, listed, names)
        except (OSError, ValueError) as error:
            return _Listing(
                (), FolderSidecars(()), problem=_problem(os.path.join(folder, IGNORE_FILE), error)
            )
        return _Listing(found, FolderSidecars(names), uncertain, problem)

    def _classify(self, entry: os.DirEntry[str]) -> tuple[bool, bool]:
        """Whether the entry is a folder to enter; whether it is a file to look at. Never blocks."""
        follow = self.options.follow
        try:
            if entry.is_dir(follow_symlinks=follow):
                return True, False
            # With `follow` a broken link is a candidate: examining it will say what is wrong.
            is_broken = follow and entry.is_symlink() and not os.path.exists(entry.path)
            return False, entry.is_file(follow_symlinks=follow) or is_broken
        except OSError:
            return False, True

    def _is_photo(self, path: str) -> bool:
        """Whether a file is a photo by its first bytes."""
        from photoage.photos.formats import HEAD, is_surely_photo  # which loads Pillow

        try:
            with open(path, "rb") as file:
                found = is_surely_photo(file.read(HEAD))
        except OSError:
            found = False
        self._choice.passed.unknown += not found and not os.path.basename(path).startswith(".")
        return found

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


def _between(root: str, folder: str) -> list[str]:
    """The folders from below `root` to `folder`, outer ones first."""
    found = []
    while folder != root:
        found.append(folder)
        folder = os.path.dirname(folder)
    return found[::-1]


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
    if not sidecars:
        return PhotoFile.of(path, info)
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
