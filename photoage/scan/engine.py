"""What runs the stages of a scan: on this machine, worker processes and one age model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from photoage.faces.read import ReadPhoto
from photoage.pool import Outcome
from photoage.records import Estimate, FloatArray, PhotoFile

if TYPE_CHECKING:
    from photoage.database.known import KnownPhoto
    from photoage.scan.plan import Planned

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class PhotoTask:
    """A photo to read. With `landmarks`, only its crops are needed; with one of `hashes`, nothing is."""

    file: PhotoFile
    known: KnownPhoto | None = None
    landmarks: FloatArray | None = None
    hashes: frozenset[str] = frozenset()


# A photo that an engine is through with; estimates are one per face, none if it could not be read.
Finished = tuple[Outcome[T, ReadPhoto], list[Estimate]]


class Engine(Protocol):
    """Tasks come back in any order, each once; one photo's failure is its outcome.

    Every other `PhotoageError` (a detector that cannot be loaded, say) ends the scan.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def prepare(self) -> None:
        """There will be photos to read."""

    def hash(self, files: Iterable[Planned]) -> Iterator[Outcome[Planned, tuple[PhotoFile, str]]]:
        """Identity of the content of files."""

    def read(self, tasks: Iterable[PhotoTask]) -> Iterator[list[Finished[PhotoTask]]]:
        """Read photos and estimate their faces; some photos at a time, to be stored together."""
