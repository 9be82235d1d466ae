"""Dates of photos by the people in them, and names that other programs gave."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from exiftool import exiftool
from report_library import Stored, make_library
from small_library import runner
from sqlalchemy import select

from photoage.database.changes import changing
from photoage.database.persons import list_persons
from photoage.database.tables import Face, Photo
from photoage.people import births
from photoage.people.names import name_person, new_person, set_birth_date
from photoage.people.refresh import refresh_persons

BORN = datetime(1970, 3, 1)


@pytest.fixture
def library(tmp_path: Path, sample_library: Path) -> Path:
    """Grace, born in 1970: dated photos at 5, 15 and 25, undated ones at 10 and 30, and a false date."""
    ages = {"a5": 5, "a15": 15, "a25": 25}
    photos = [
        Stored(f"{name}.jpg", (float(age),), BORN + timedelta(days=365.25 * age))
        for name, age in ages.items()
    ]
    photos += [Stored("undated10.jpg", (10.0,)), Stored("undated30.jpg", (30.0,))]
    photos += [Stored("false.jpg", (8.0,), datetime(2010, 1, 1))]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", tmp_path / "library", photos)
    with changing(database) as connection:
        faces = connection.scalars(select(Face.id).join(Photo, Photo.id == Face.photo_id).order_by(Face.id))
        person = new_person(connection, list(faces))
        name_person(connection, person, "Grace")
        set_birth_date(connection, person, "1970-03-01")
        refresh_persons(connection)
    return database


def test_undated_photos_get_the_year_that_their_people_tell(library: Path) -> None:
    lines = runner(library)("dates").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1980", "2000"]
    assert all("undated" in line and "by Grace" in line for line in lines)


def test_a_date_that_the_faces_contradict_is_listed(library: Path) -> None:
    (line,) = runner(library)("dates", "--implausible").stdout.splitlines()
    assert line.startswith("1978")
    assert "false.jpg" in line
    assert "instead of 2010-01-01" in line


def test_exiftool_takes_the_csv(library: Path) -> None:
    text = runner(library)("dates", "--csv").stdout
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["SourceFile", "XMP:DateTimeOriginal"]
    assert [row[1] for row in rows[1:]] == ["1980", "2000"]
    file = library.with_suffix(".csv")
    file.write_text(text)
    exiftool("-q", "-overwrite_original", f"-csv={file}", library.with_suffix(""))
    assert exiftool("-s3", "-XMP:DateTimeOriginal", rows[1][0]).strip() == "1980"


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--csv", "--json"], "--csv and --json cannot be combined"),
        (["--csv", "--path", ""], "--path is empty"),
    ],
)
def test_options_that_make_no_sense(library: Path, options: list[str], cause: str) -> None:
    done = runner(library)("dates", *options, status=2)
    assert cause in done.stderr
    assert done.stdout == ""


def test_regions_name_faces_and_what_contradicts_the_user_is_listed(
    tmp_path: Path, sample_library: Path
) -> None:
    """The sample portrait's face is at 150..350 x 120..330 of 512 x 600."""
    photos = [Stored(f"{name}.jpg", (30.0,)) for name in ("region", "elsewhere", "alone", "given", "number")]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", tmp_path / "library", photos)
    folder = tmp_path / "library"
    size = exiftool("-s3", "-ImageSize", folder / "region.jpg").strip().split("x")
    x, y, width, height = 250 / int(size[0]), 225 / int(size[1]), 190 / int(size[0]), 200 / int(size[1])

    def region(name: str, x: float, y: float) -> str:
        area = f"Area={{X={x},Y={y},W={width},H={height},Unit=normalized}}"
        return f"-XMP-mwg-rs:RegionInfo={{RegionList=[{{Name={name},Type=Face,{area}}}]}}"

    exiftool("-q", region("Grace", x, y), folder / "region.jpg.xmp")
    exiftool("-q", region("Grace", 0.9, 0.9), folder / "elsewhere.xmp")
    exiftool("-q", "-overwrite_original", "-XMP-iptcExt:PersonInImage=Grace", folder / "alone.jpg")
    exiftool("-q", region("Grace", x, y), folder / "given.xmp")
    with changing(database) as connection:
        given = connection.scalar(
            select(Face.id).join(Photo, Photo.id == Face.photo_id).where(Photo.path.like("%given%"))
        )
        assert given is not None
        new_person(connection, [given], "Eileen")
    exiftool("-q", region("#7", x, y), folder / "number.xmp")
    done = runner(database)("people", "import")
    assert "2 faces named, 1 persons; 2 conflicts, 1 names" in done.stderr
    assert f"{folder / 'number.jpg'}: #7: a name that is a number" in done.stdout
    assert "elsewhere.jpg: no face where Grace is" in done.stdout
    assert "is called Grace, and here Eileen" in done.stdout
    with changing(database, dry_run=True) as connection:
        assert sorted((row.name, row.faces) for row in list_persons(connection)) == [
            ("Eileen", 1),
            ("Grace", 2),
        ]


def test_who_always_looks_older_has_no_implausible_dates(
    tmp_path: Path, sample_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [
        Stored(f"{age}.jpg", (age + 11.0,), BORN + timedelta(days=365.25 * age)) for age in range(20, 32, 2)
    ]
    photos += [Stored("false.jpg", (20.0,), datetime(2010, 1, 1))]
    database = make_library(sample_library / "people" / "grace_hopper.jpg", tmp_path / "library", photos)
    with changing(database) as connection:
        person = new_person(connection, connection.scalars(select(Face.id)).all(), "Grace")
        set_birth_date(connection, person, "1970-03-01")
        refresh_persons(connection)
    (line,) = runner(database)("dates", "--implausible").stdout.splitlines()
    assert "false.jpg" in line
    monkeypatch.setattr(births, "FEWEST_HABITS", 100)
    assert len(runner(database)("dates", "--implausible").stdout.splitlines()) > 1
