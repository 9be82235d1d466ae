"""Which faces a question is about, and in what order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from typing import Literal, get_args

from photoage.errors import UsageError

Sort = Literal["path", "age", "date", "score", "interval", "faces"]
SORTS: tuple[str, ...] = get_args(Sort)


@dataclass(frozen=True, slots=True)
class FaceFilter:
    """Which faces, in what order. Bounds are inclusive; None does not restrict.

    Ages and intervals in years. With `prob`, the faces whose chance to be of somebody aged `min_age` to
    `max_age` is at least that, instead of those whose estimate lies there. `min_faces` and `max_faces`
    count all stored faces of a photo. A photo whose date is a year or a month matches dates if one of its
    days does, one without a date never. `undated`: only those; `date_source`: only photos with a date from
    there. `persons`: names or numbers, of which a face must be one. `age_source`: `face` for the ages that
    single faces tell, whoever they show. `path_glob` is described in docs/database.md. Faces come in the
    order of `sort`, then by path and face_index; photos without a date come last either way. Raises
    `UsageError` when the filter makes no sense. `min_sharpness` and `max_yaw`, to
    either side in degrees, are never matched by faces of scans that did not measure them.
    """

    min_age: float | None = None
    max_age: float | None = None
    prob: float | None = None
    from_date: date | None = None
    to_date: date | None = None
    path_glob: str | None = None
    min_faces: int | None = None
    max_faces: int | None = None
    min_score: float | None = None
    max_interval: float | None = None
    min_sharpness: float | None = None
    max_yaw: float | None = None
    undated: bool = False
    date_source: str | None = None
    persons: tuple[str, ...] = ()
    age_source: Literal["face"] | None = None
    sort: Sort = "path"
    descending: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        for low, high in (("min_age", "max_age"), ("from_date", "to_date"), ("min_faces", "max_faces")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise UsageError(f"`{low}` {least} is above `{high}` {most}: nothing can match")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not 0 <= value < 2**63:  # nor is NaN in there
                raise UsageError(f"`{field.name}` {value} makes no sense")
        if self.prob is not None and not 0 < self.prob <= 1:
            raise UsageError(f"`prob` {self.prob:g} is not a chance above 0 and up to 1")
        if self.prob is not None and self.min_age is None and self.max_age is None:
            raise UsageError("`prob` needs `min_age` or `max_age`")
        check_glob(self.path_glob)
        if self.undated and (self.from_date or self.to_date or self.date_source):
            raise UsageError("`undated` cannot be combined with dates or their source: nothing can match")
        if self.sort not in SORTS:
            raise UsageError(f"`sort` {self.sort}: choose one of {', '.join(SORTS)}")


def check_glob(path_glob: str | None) -> None:
    """Raises `UsageError` for a glob that no path can match."""
    if path_glob is not None and (not path_glob or "\0" in path_glob):
        raise UsageError("`path_glob` is empty or holds a NUL character: nothing can match")
