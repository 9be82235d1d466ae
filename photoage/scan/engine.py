"""What runs the costly stages of a scan, reading and estimating, on this machine or on many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from photoage.faces.read import ReadPhoto
from photoage.pool import Outcome
from photoage.records import Estimate, KnownFaces, PhotoFile

if TYPE_CHECKING:
    from photoage.database.known import KnownPhoto
    from photoage.scan.model_files import ScanModels
    from photoage.scan.plan import Planned

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class PhotoTask:
    """A photo to read. With `faces`, only their crops are needed; with one of `hashes`, nothing is.

    With `only_date`, nothing but its date is.
    """

    file: PhotoFile
    known: KnownPhoto | None = None
    faces: KnownFaces | None = None
    hashes: frozenset[str] = frozenset()
    only_date: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Photos that the plan has looked at, on their way to be recorded; nothing is read for it.

    It comes before the tasks of those of them that are to be read.
    """

    photos: list[Planned]


Task = PhotoTask | Looked
# What an engine is through with. Estimates are one per face, none where there was nothing to read.
Finished = tuple[Outcome[T, ReadPhoto], list[Estimate]]


class Engine(Protocol):
    """Tasks come back in any order, each once; one photo's failure is its outcome.

    Every other `PhotoageError` (a detector that cannot be loaded, say) ends the scan.
    """

    models: ScanModels

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def hash(self, files: Iterable[Planned]) -> Iterator[list[Outcome[Planned, tuple[PhotoFile, str]]]]:
        """Identity of the content of files; some files at a time, as many as are well read together."""

    def read(self, tasks: Iterable[Task]) -> Iterator[list[Finished[Task]]]:
        """Read photos and estimate their faces; some photos at a time, to be stored together.

        A `Looked` comes back as it is, before any task that came after it.
        """

    def take_warnings(self) -> list[str]:
        """What the user should know, one line each, and told once."""
