"""Which paths a walk leaves out: patterns by the rules of gitignore, given or in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from unicodedata import normalize

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from photoage.errors import UsageError


class Excluded:
    """Patterns as in a .gitignore at the root, the last one that matches deciding (`!` takes back).

    Beyond gitignore, a pattern that begins with a slash may be an absolute path, and `#` stands for
    itself. Names compare in NFC: which form a file system stores is not the user's choice. Raises
    `UsageError` for what is no pattern.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        lines = [_as_line(pattern) for pattern in patterns]
        # Of the same length as the other, so that places in both compare; # has no effect.
        absolute = [line if os.path.isabs(line.removeprefix("!")) else "#" for line in lines]
        try:
            self._relative, self._absolute = (
                GitIgnoreSpec.from_lines(lines) if any(line != "#" for line in lines) else None
                for lines in (lines, absolute)
            )
        except GitIgnorePatternError as error:
            raise UsageError(f"exclude: {' '.join(str(error).split())}") from error

    def matches(self, path: str, root: str, is_folder: bool) -> bool:
        """Whether a path below `root` is left out."""
        last, excluded = -1, False
        for spec, part in ((self._relative, path[len(root) :]), (self._absolute, path)):
            if spec is None:
                continue
            name = normalize("NFC", part).replace(os.sep, "/").strip("/")
            found = spec.check_file(f"{name}/" if is_folder else name)
            if found.index is not None and found.index > last:
                last, excluded = found.index, bool(found.include)
        return excluded


class IgnoreFile:
    """The rules that a file in a folder holds, as a .gitignore does; an empty one leaves out the folder.

    Raises `ValueError` for rules that are none.
    """

    def __init__(self, folder: str, content: bytes) -> None:
        text = normalize("NFC", content.decode("utf-8-sig", errors="surrogateescape"))
        self.is_empty = not text.strip()
        self._folder = folder
        try:
            self._rules = GitIgnoreSpec.from_lines(text.splitlines())
        except GitIgnorePatternError as error:
            raise ValueError(" ".join(str(error).split())) from error

    def decides(self, path: str, is_folder: bool) -> bool | None:
        """Whether a path below the folder is left out; None if no rule is about it."""
        name = normalize("NFC", path[len(self._folder) :]).replace(os.sep, "/").strip("/")
        return self._rules.check_file(f"{name}/" if is_folder else name).include


def _as_line(pattern: str) -> str:
    """A pattern of the command line as a line of a .gitignore."""
    line = normalize("NFC", pattern).replace(os.sep, "/").removeprefix("./")  # Windows takes either slash
    if line.startswith("#"):
        line = f"\\{line}"
    return f"{line[:-1]}\\ " if line.endswith(" ") else line
