"""The training log: JSON lines, one per `log_every` steps and one per validated epoch.

A step's line has `epoch` (from 0), `step`, `size`, `images_per_s` and the parts of the loss; an
epoch's line has `epoch` (finished epochs), `size`, `seconds` of the run so far and `validation`.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a training log; a last line that a kill cut short is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


class TrainLog:
    """An open log. A resumed run first drops the entries that it is about to write again.

    `seconds` is the time that the validated epochs before it took.
    """

    def __init__(self, path: Path, steps: int, done: int) -> None:
        """`steps` per epoch; `done` steps lie behind, and entries about later ones are dropped."""
        kept = []
        if done and path.is_file():
            kept = [e for e in read_log(path) if e["epoch"] * steps + e.get("step", 0) <= done]
        self.seconds = max((e["seconds"] for e in kept if "seconds" in e), default=0.0)
        self._file = path.open("w", encoding="utf-8")
        for entry in kept:
            self.write(entry)

    def write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
