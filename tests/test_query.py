"""Queries against a plain Python filter over the same faces, and how they find them."""

from __future__ import annotations

import calendar
import fnmatch
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import Place, begin, opened, run_sql, save
from sqlalchemy import Engine, event

from photoage.database.connect import open_database
from photoage.database.face_filter import SORTS, FaceFilter
from photoage.database.history import iter_errors
from photoage.database.query import FIELDS, FaceRow, count_faces, iter_faces, iter_paths
from photoage.database.stats import AgeBin, FolderCount, YearCount, library_stats
from photoage.database.store import Store
from photoage.errors import UsageError
from photoage.records import Detection, Estimate, PhotoDate, PhotoFaces, PhotoFile

FOLDERS = ("/p/2019/summer", "/p/2020", os.fsdecode(b"/p/caf\xe9"), "/q [1]", "/日本")
GLOBS = ("/p/*", "/p/2019/*", "*/IMG_0*", "/*_??1?.jpg", "/no*", "/q [[]1]/*")
PHOTOS = 1500


@pytest.fixture(scope="module")
def engine(new_database: Callable[[], Place]) -> Iterator[Engine]:
    """Some 3,000 faces: few enough to check in Python, enough for both ways of finding them."""
    path = new_database()
    chance = random.Random(1)
    landmarks = np.zeros((5, 2), np.float32)
    with Store.open(path) as store:
        begin(store)
        for number in range(PHOTOS):
            day = datetime(2019, 12, 25) + timedelta(hours=chance.randrange(24 * 14))
            number_of_faces = chance.choice((0, 1, 1, 2, 2, 3, 7))
            found = tuple(
                Detection((i, 0.0, i + 50.0, 60.0), landmarks, round(chance.uniform(0.5, 1), 3))
                for i in range(number_of_faces)
            )
            ages = [round(chance.uniform(1, 90), chance.choice((0, 3))) for _ in found]
            widths = [chance.choice((2.5, 5, 7.3)) for _ in found]
            exact = PhotoDate.of(day)
            vague = [PhotoDate(*(day.year, day.month, day.day)[:known]) for known in (1, 2, 3)]
            taken_at = chance.choice((None, exact, exact, exact, *vague))
            source = taken_at and chance.choice(("exif", "folder"))
            file = PhotoFile(f"{chance.choice(FOLDERS)}/IMG_{number:04}.jpg", number, 1, "", taken_at, source)
            estimates = [Estimate(a, a - width, a + width) for a, width in zip(ages, widths, strict=True)]
            store.save_many([(file, PhotoFaces(f"{number:032x}", 640, 480, found), estimates)])
        store.commit()
    with opened(path, read_only=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def faces(engine: Engine) -> list[FaceRow]:
    return list(iter_faces(engine, FaceFilter()))


@cache
def days_of(taken_at: str | None) -> tuple[date, date] | None:
    """The first and the last day that a date may be."""
    if taken_at is None:
        return None
    taken = PhotoDate.parse(taken_at)
    month = taken.month or 12
    last = date(taken.year, month, taken.day or calendar.monthrange(taken.year, month)[1])
    return taken.first_day, last


def matches(face: FaceRow, wanted: FaceFilter, faces_of: Counter[str]) -> bool:
    days = days_of(face.taken_at)
    dated = wanted.from_date or wanted.to_date
    return (
        (wanted.min_age is None or face.age >= wanted.min_age)
        and (wanted.max_age is None or face.age <= wanted.max_age)
        and (not dated or days is not None)
        and (wanted.from_date is None or (days is not None and days[1] >= wanted.from_date))
        and (wanted.to_date is None or (days is not None and days[0] <= wanted.to_date))
        and (not wanted.undated or days is None)
        and (wanted.date_source is None or face.date_source == wanted.date_source)
        and (wanted.path_glob is None or fnmatch.fnmatchcase(face.path, wanted.path_glob))
        and (wanted.min_faces is None or faces_of[face.path] >= wanted.min_faces)
        and (wanted.max_faces is None or faces_of[face.path] <= wanted.max_faces)
        and (wanted.min_score is None or face.det_score >= wanted.min_score)
        and (wanted.max_interval is None or round(face.age_high - face.age_low, 3) <= wanted.max_interval)
    )


def in_order(faces: list[FaceRow], wanted: FaceFilter, faces_of: Counter[str]) -> list[FaceRow]:
    keys: dict[str, Any] = {
        "path": lambda face: os.fsencode(face.path),
        "age": lambda face: face.age,
        "date": lambda face: face.taken_at or "",
        "score": lambda face: face.det_score,
        "interval": lambda face: face.age_high - face.age_low,
        "faces": lambda face: faces_of[face.path],
    }
    # Sorting is stable: `faces` come by path and face_index.
    ordered = sorted(faces, key=keys[wanted.sort], reverse=wanted.descending)
    return sorted(ordered, key=lambda face: face.taken_at is None) if wanted.sort == "date" else ordered


def random_filter(chance: random.Random) -> FaceFilter:
    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.3 else None

    low = chance.choice((1, 30.5, 60))
    first = date(2019, 12, 25) + timedelta(days=chance.randrange(8))
    least = chance.randrange(3)
    return FaceFilter(
        min_age=maybe(low),
        max_age=maybe(low + chance.choice((0, 5, 60))),
        from_date=maybe(first),
        to_date=maybe(first + timedelta(days=chance.randrange(10))),
        path_glob=maybe(
            chance.choice(("/p/*", "/p/2019/*", "*/IMG_0*", "/*_??1?.jpg", "/no*", "/q [[]1]/*"))
        ),
        min_faces=maybe(least),
        max_faces=maybe(least + chance.randrange(5)),
        min_score=maybe(chance.choice((0.5, 0.75, 0.999))),
        max_interval=maybe(chance.choice((5, 10, 14.6))),
        date_source=maybe(chance.choice(("exif", "folder", "people"))),
        sort=chance.choice(SORTS),  # type: ignore[arg-type]
        descending=chance.random() < 0.5,
        limit=maybe(chance.choice((0, 1, 20, 10_000))),
    )


def test_filters_orders_and_limits_are_those_of_a_plain_loop(engine: Engine, faces: list[FaceRow]) -> None:
    faces_of = Counter(face.path for face in faces)
    chance = random.Random(2)
    found = 0
    for _ in range(100):
        wanted = random_filter(chance)
        ordered = in_order([face for face in faces if matches(face, wanted, faces_of)], wanted, faces_of)
        expected = ordered[: wanted.limit]
        assert list(iter_faces(engine, wanted)) == expected, wanted
        assert count_faces(engine, wanted) == len(expected), wanted
        paths = list(dict.fromkeys(face.path for face in ordered))[: wanted.limit]
        assert list(iter_paths(engine, wanted)) == paths, wanted
        found += len(expected)
    assert found > 5_000  # the filters are not all empty


def test_a_date_that_is_a_year_counts_wherever_one_of_its_days_does(
    new_database: Callable[[], Place],
) -> None:
    path = new_database()
    texts = ["1984", "1984-06", "1984-02", "1984-06-12T10:00:00", "1985", None]
    with Store.open(path) as store:
        begin(store)
        face = Detection((0.0, 0.0, 50.0, 60.0), np.zeros((5, 2), np.float32), 0.9)
        for number, text in enumerate(texts):
            taken = (PhotoDate.parse(text), "folder") if text else (None, None)
            content = PhotoFaces(f"{number:032x}", 640, 480, (face,))
            store.save_many([(PhotoFile(f"/p/{number}.jpg", 1, 1, "", *taken), content, [Estimate(5, 4, 6)])])
        store.commit()

    def found(**wanted: Any) -> list[str | None]:
        with opened(path, read_only=True) as engine:
            rows = list(iter_faces(engine, FaceFilter(sort="date", **wanted)))
            assert count_faces(engine, FaceFilter(**wanted)) == len(rows)
        return [row.taken_at for row in rows]

    of_1984 = ["1984", "1984-02", "1984-06", "1984-06-12T10:00:00"]
    assert found() == [*of_1984, "1985", None]
    assert found(from_date=date(1984, 1, 1), to_date=date(1984, 12, 31)) == of_1984
    assert found(from_date=date(1984, 6, 1), to_date=date(1984, 6, 30)) == ["1984", *of_1984[2:]]
    assert found(from_date=date(1984, 6, 12), to_date=date(1984, 6, 12)) == ["1984", *of_1984[2:]]
    assert found(from_date=date(1984, 6, 13), to_date=date(1984, 6, 30)) == ["1984", "1984-06"]
    assert found(from_date=date(1984, 7, 2)) == ["1984", "1985"]
    assert found(to_date=date(1984, 1, 31)) == ["1984"]
    assert found(undated=True) == [None]
    assert found(date_source="folder") == [*of_1984, "1985"]


def test_intervals_are_compared_as_they_are_shown(engine: Engine, faces: list[FaceRow]) -> None:
    # 7.3 years to both sides is 14.6, but rarely so in binary.
    wide = [face for face in faces if round(face.age_high - face.age_low, 3) == 14.6]
    assert any(face.age_high - face.age_low > 14.6 for face in wide)
    assert count_faces(engine, FaceFilter(max_interval=14.6)) == len(faces)
    assert count_faces(engine, FaceFilter(max_interval=14.59)) == len(faces) - len(wide)


# --- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.jpg", ["/lib/2019/a.jpg", "/lib/a.jpg"]),
        ("?.jpg", ["/lib/2019/a.jpg", "/lib/a.jpg", "/lib/é.jpg", "/lib/\udcff.jpg"]),
        ("[a-b].jpg", ["/lib/2019/a.jpg", "/lib/a.jpg"]),
        ("[!a].jpg", ["/lib/é.jpg", "/lib/\udcff.jpg"]),
        ("[^a].jpg", ["/lib/é.jpg", "/lib/\udcff.jpg"]),
        ("[[]x].jpg", ["/lib/[x].jpg"]),
        ("*.JPG", ["/lib/2019/B.JPG"]),
        ("2019*", ["/lib/2019-05.jpg"]),
        ("2019/*", ["/lib/2019/B.JPG", "/lib/2019/a.jpg"]),
        ("019/*", []),
        ("/lib/2019/", ["/lib/2019/B.JPG", "/lib/2019/a.jpg"]),
        ("/lib/2019", []),
        ("/lib/2019*", ["/lib/2019-05.jpg", "/lib/2019/B.JPG", "/lib/2019/a.jpg"]),
        ("/lib/a.jpg", ["/lib/a.jpg"]),
        ("/lib/*/a.jpg", ["/lib/2019/a.jpg"]),
        ("/lib/**", 7),
        ("*/lib/*", 7),
        ("lib/*", 7),
        ("**/a.jpg", ["/lib/2019/a.jpg", "/lib/a.jpg"]),
        ("*", 7),
        ("\udcff*", ["/lib/\udcff.jpg"]),
        ("/lib", []),
    ],
)
def test_path_patterns(pattern: str, expected: list[str] | int, tmp_path: Path) -> None:
    names = ("2019/a.jpg", "2019/B.JPG", "a.jpg", "é.jpg", "[x].jpg", "2019-05.jpg", "\udcff.jpg")
    database = tmp_path / "photoage.db"
    with Store.open(database) as store:
        begin(store)
        for name in names:
            save(store, f"/lib/{name}", 30)
        store.commit()
    with opened(database, read_only=True) as engine:
        found = sorted(iter_paths(engine, FaceFilter(path_glob=pattern)))
    assert found == expected if isinstance(expected, list) else len(found) == expected


# --- filters that make no sense -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_age": 90, "max_age": 10}, "`min_age` 90 is above `max_age` 10: nothing can match"),
        ({"min_faces": 3, "max_faces": 2}, "`min_faces` 3 is above `max_faces` 2: nothing can match"),
        (
            {"from_date": date(2020, 2, 1), "to_date": date(2020, 1, 31)},
            "`from_date` 2020-02-01 is above `to_date` 2020-01-31: nothing can match",
        ),
        ({"min_age": float("nan")}, "`min_age` nan makes no sense"),
        ({"limit": -1}, "`limit` -1 makes no sense"),
        ({"path_glob": ""}, "`path_glob` is empty or holds a NUL character: nothing can match"),
        ({"path_glob": "a\0b"}, "`path_glob` is empty or holds a NUL character: nothing can match"),
        ({"limit": 2**63}, "`limit` 9223372036854775808 makes no sense"),
        ({"sort": "beauty"}, "`sort` beauty: choose one of path, age, date, score, interval, faces"),
    ],
)
def test_senseless_filters_are_usage_errors(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        FaceFilter(**wrong)
    assert str(caught.value) == message


# --- how they are found -------------------------------------------------------------------------


def plan_of(engine: Engine, wanted: FaceFilter) -> list[str]:
    """The steps by which SQLite finds the faces."""
    statements = []

    def record(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    try:
        list(iter_faces(engine, wanted))
    finally:
        event.remove(engine, "before_cursor_execute", record)
    with engine.connect() as connection:
        statement, parameters = statements[-1]
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]


@pytest.mark.parametrize("statistics", [False, True])
def test_the_narrowest_range_finds_the_rows_and_else_the_whole_table(
    engine: Engine, statistics: bool, tmp_path: Path
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("only SQLite is told how to find rows")
    database = tmp_path / "photoage.db"
    database.write_bytes(Path(str(engine.url.database)).read_bytes())
    if statistics:
        run_sql(database, "ANALYZE")
    rows = {
        "estimate": "SEARCH estimate USING INTEGER PRIMARY KEY (rowid=?)",
        "photo": "SEARCH photo USING INTEGER PRIMARY KEY (rowid=?)",
        "face": "SEARCH face USING INTEGER PRIMARY KEY (rowid=?)",
    }
    for wanted, first, index in (
        (FaceFilter(min_age=60, max_age=62), rows["estimate"], "ix_estimate_age (age>? AND age<?)"),
        (FaceFilter(max_age=2, limit=3), rows["estimate"], "ix_estimate_age (age<?)"),
        (FaceFilter(from_date=date(2020, 1, 6)), rows["photo"], "ix_photo_taken_at (taken_at>?)"),
        (FaceFilter(path_glob="/q [[]1]/*"), "SCAN estimate", None),
        (FaceFilter(path_glob="/p/2019/*"), rows["photo"], "(path>? AND path<?)"),
        (FaceFilter(min_age=10), "SCAN estimate", None),
        (FaceFilter(), "SCAN estimate", None),
        (FaceFilter(sort="age", limit=3), "SCAN estimate", None),
    ):
        with opened(database, read_only=True) as copy:
            steps = [step for step in plan_of(copy, wanted) if "SUBQUERY" not in step]
        assert steps[0] == first, wanted
        assert index is None or any(index in step for step in steps), wanted
        assert not any(step.startswith("SCAN") for step in steps[1:]), (wanted, steps)


def test_rows_are_read_as_they_are_asked_for(engine: Engine, faces: list[FaceRow]) -> None:
    rows, paths = iter_faces(engine, FaceFilter()), iter_paths(engine, FaceFilter())
    assert next(rows) == faces[0]
    assert next(paths) == faces[0].path
    assert engine.pool.checkedout() == 2  # type: ignore[attr-defined]
    rows.close()  # type: ignore[attr-defined]
    del paths
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert count_faces(engine, FaceFilter()) == len(faces)
    assert FIELDS[:3] == ("path", "face_index", "age")


# --- statistics ---------------------------------------------------------------------------------


def test_statistics_count_everything_once(engine: Engine, faces: list[FaceRow]) -> None:
    stats = library_stats(engine)
    assert (stats.photos, stats.faces) == (PHOTOS, len(faces))
    assert stats.photos_with_faces == len({face.path for face in faces})
    assert stats.by_status == {"done": PHOTOS, "unreadable": 0, "missing": 0}
    ages = Counter(int(face.age // 5) * 5 for face in faces)
    assert stats.ages == [AgeBin(low, low + 5, ages[low]) for low in range(0, max(ages) + 5, 5)]
    years = Counter(face.taken_at[:4] if face.taken_at else None for face in faces)
    assert [(count.year, count.faces) for count in stats.years] == [
        (2019, years["2019"]), (2020, years["2020"]), (None, years[None])
    ]  # fmt: skip
    assert sum(count.photos for count in stats.years) == PHOTOS
    folders = Counter(os.path.dirname(face.path) for face in faces)
    assert [(count.folder, count.faces) for count in stats.folders] == sorted(folders.items())
    assert sum(count.photos for count in stats.folders) == PHOTOS


def test_statistics_of_few_photos(tmp_path: Path) -> None:
    database = tmp_path / "photoage.db"
    with Store.open(database) as store:
        begin(store)
        store.commit()
        with opened(database, read_only=True) as engine:
            stats = library_stats(engine)
            assert (stats.photos, stats.ages, stats.years, stats.folders) == (0, [], [], [])
            assert list(iter_errors(engine)) == []
        save(store, "/p/a.jpg", 5, 4.999)
        store.mark_missing([save(store, "/p/gone.jpg", 0)])
        store.save_unreadable(PhotoFile("/q/bad.jpg", 1, 1), "io", "bad")
        store.commit()
    with opened(database, read_only=True) as engine:
        stats = library_stats(engine)
    assert asdict(replace(stats, ages=[], years=[], folders=[])) == {
        "photos": 3, "photos_with_faces": 2, "faces": 3,
        "by_status": {"done": 1, "unreadable": 1, "missing": 1}, "ages": [], "years": [], "folders": [],
    }  # fmt: skip
    assert stats.ages == [AgeBin(0, 5, 2), AgeBin(5, 10, 1)]
    assert stats.years == [YearCount(2020, 2, 3), YearCount(None, 1, 0)]
    assert stats.folders == [FolderCount("/p", 2, 3), FolderCount("/q", 1, 0)]


def test_a_database_that_vanishes_is_one_line(tmp_path: Path) -> None:
    database = tmp_path / "photoage.db"
    Store.open(database).close()
    engine = open_database(database, read_only=True)
    engine.dispose()
    database.unlink()
    with pytest.raises(Exception, match="cannot be opened") as caught:
        count_faces(engine, FaceFilter())
    assert "\n" not in str(caught.value)
