"""How right persons, birth dates and dates are, on libraries made of photos of people of known ages.

    python benchmarks/people_albums.py ALBUMS [DATABASE] [LIBRARIES]

ALBUMS is a folder with `labels.csv` (columns file, age, person, set): photos of `fgnet` show the same people
over decades, one photo of each person of `lfw...` a stranger. They are scanned once, into DATABASE
(albums.db). Each of the LIBRARIES (20) invents a birth date for each person and gives the photos the dates
that follow; 15 % have no date, 10 % a false one. Printed are figures over all libraries, and the lowest and
highest of one.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select, update

from photoage.database.changes import changing
from photoage.database.connect import open_database
from photoage.database.tables import Face, Person, PersonFace, Photo, StoredEstimate
from photoage.people.births import YEAR
from photoage.people.find import find_persons
from photoage.people.names import new_person, set_birth_date
from photoage.people.refresh import refresh_persons
from photoage.people.undated import implausible_dates, suggest_dates
from photoage.records import PhotoDate

UNDATED, FALSE = 0.15, 0.10
FAR = 15.0  # years by which a false date is off that is to be found
CHILD = 13.0
Counts = dict[str, list[float]]


class Truth(NamedTuple):
    """Days of birth and of the photo; `stated` is the photo's date: none, or a false one, as it may be."""

    person: str
    born: int
    taken: int
    stated: int | None


def labels(albums: Path) -> Iterator[tuple[str, str, float]]:
    """Files that are used, the person in each, and their age; of a stranger none."""
    strangers = set()
    with (albums / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["set"] == "fgnet":
                yield row["file"], row["person"], float(row["age"])
            elif row["set"].startswith("lfw") and row["person"] not in strangers:
                strangers.add(row["person"])
                yield row["file"], row["person"], np.nan


def scan(albums: Path, files: set[str], database: Path) -> None:
    paths = sorted(str(path) for path in albums.resolve().rglob("*") if path.name in files)
    command = (
        sys.executable,
        "-m",
        "photoage",
        "--db",
        str(database),
        "scan",
        "--people",
        "--files-from",
        "-",
    )
    subprocess.run(command, input="\n".join(paths), text=True, check=True)


def invent(connection: Connection, used: list[tuple[str, str, float]], seed: int) -> dict[str, Truth]:
    """Date the stored photos; what is true of those of known age, by file."""
    rng = np.random.default_rng(seed)
    oldest: dict[str, float] = {}
    for _, person, age in used:
        oldest[person] = max(age, oldest.get(person, 0.0))
    born = {
        person: date(int(rng.integers(1925, min(1990, 2022 - int(age)) + 1)), 1, 1).toordinal()
        + int(rng.integers(365))
        for person, age in oldest.items()
        if not np.isnan(age)
    }
    truth = {}
    for number, path in connection.execute(select(Photo.id, Photo.path)).all():
        file = Path(path).name
        _, person, age = next(each for each in used if each[0] == file)
        if np.isnan(age):
            stated: int | None = date(2002, 1, 1).toordinal() + int(rng.integers(3 * 365))
        else:
            taken = born[person] + int((age + rng.random()) * YEAR)
            chance = rng.random()
            wrong = (date(2000, 1, 1), date(2024, 1, 1))[rng.integers(2)].toordinal()
            stated = None if chance < UNDATED else wrong if chance < UNDATED + FALSE else taken
            truth[file] = Truth(person, born[person], taken, stated)
        day = None if stated is None else date.fromordinal(stated)
        values = {"taken_at": day and PhotoDate(day.year, day.month, day.day), "date_source": day and "exif"}
        connection.execute(update(Photo).where(Photo.id == number).values(**values))
    return truth


def main_faces(connection: Connection) -> dict[str, int]:
    """The largest face of each photo, by file."""
    faces = select(Photo.path, Face.id, (Face.x2 - Face.x1) * (Face.y2 - Face.y1)).join(Photo)
    largest: dict[str, tuple[float, int]] = {}
    for path, face, size in connection.execute(faces):
        largest[Path(path).name] = max((size, face), largest.get(Path(path).name, (0.0, 0)))
    return {file: face for file, (_, face) in largest.items()}


def measure(database: Path, used: list[tuple[str, str, float]], seed: int, how: str) -> Counts:
    """What is right (1) or not (0), and errors in years, by what is measured."""
    with changing(database) as connection:
        truth = invent(connection, used, seed)
        everybody = main_faces(connection)
        faces = {file: face for file, face in everybody.items() if file in truth}
        if how == "found":
            find_persons(connection)
        else:
            for person in sorted({told.person for told in truth.values()}):
                own = [face for file, face in faces.items() if truth[file].person == person]
                told = next(told for told in truth.values() if told.person == person)
                number = new_person(connection, own, person)
                if how == "named, with birth dates":
                    set_birth_date(connection, number, date.fromordinal(told.born).isoformat())
            refresh_persons(connection)
    counts: Counts = defaultdict(list)
    engine = open_database(database, read_only=True)
    with engine.connect() as connection:
        ages = select(StoredEstimate.face_id, StoredEstimate.age)
        current = dict(connection.execute(ages.where(StoredEstimate.current)).all())
        single = dict(connection.execute(ages.where(StoredEstimate.latest)).all())
        for file, face in faces.items():
            if truth[file].stated == truth[file].taken:
                counts["age, error"].append(abs(current[face] - _years(truth[file])))
                counts["age, error of a face alone"].append(abs(single[face] - _years(truth[file])))
        _births(connection, truth, faces, counts)
        if how == "found":
            _pairs(
                connection, {everybody[file]: person for file, person, _ in used if file in everybody}, counts
            )
    listed = {Path(each.path).name for each in implausible_dates(engine)}
    suggested = {Path(each.path).name: each for each in suggest_dates(engine)}
    engine.dispose()
    for file, told in truth.items():
        if told.stated is None and (each := suggested.get(file)):
            error = abs(each.date.toordinal() - told.taken) / YEAR
            counts["year, within 3"].append(error <= 3)
            counts["year, in 90 % interval"].append(
                each.low.toordinal() <= told.taken <= each.high.toordinal()
            )
            if _years(told) < CHILD:
                counts["year, error of children"].append(error)
        elif told.stated is not None:
            far = abs(told.stated - told.taken) >= FAR * YEAR
            counts["false dates listed" if far else "other dates listed"].append(file in listed)
    return counts


def _years(told: Truth) -> float:
    return (told.taken - told.born) / YEAR


def _births(connection: Connection, truth: dict[str, Truth], faces: dict[str, int], counts: Counts) -> None:
    """A found person is whoever most of their faces are of."""
    files = {face: file for file, face in faces.items()}
    born: dict[int, Counter[int]] = defaultdict(Counter)
    for face, person in connection.execute(select(PersonFace.face_id, PersonFace.person_id)):
        born[person][truth[files[face]].born if face in files else 0] += 1
    fitted = select(Person.id, Person.fitted_low, Person.fitted_high).where(Person.fitted_birth.is_not(None))
    for person, low, high in connection.execute(fitted):
        ((true, _),) = born[person].most_common(1)
        if true:
            inside = str(low) <= date.fromordinal(true).isoformat() <= str(high)
            counts["birth date in 90 % interval"].append(inside)


def _pairs(connection: Connection, who: dict[int, str], counts: Counts) -> None:
    """Of the pairs of faces found to be one person, which are; and of those that are, which were found."""
    found = dict(connection.execute(select(PersonFace.face_id, PersonFace.person_id)).all())
    for one, other in combinations(sorted(who), 2):
        together = one in found and found[one] == found.get(other)
        if together:
            counts["pairs found that are right"].append(who[one] == who[other])
        if who[one] == who[other]:
            counts["pairs that are found"].append(together)


def main(albums: Path, database: Path, libraries: int) -> None:
    used = list(labels(albums))
    if not database.exists():
        scan(albums, {file for file, _, _ in used}, database)
    for how in ("named, with birth dates", "named", "found"):
        all_counts = []
        for seed in range(libraries):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(shutil.copy(database, folder))
                all_counts.append(measure(copy, used, seed, how))
        for what in sorted({what for counts in all_counts for what in counts}):
            means = [np.mean(counts[what]) for counts in all_counts if counts[what]]
            mean = np.mean(np.concatenate([counts[what] for counts in all_counts]))
            print(f"{how:24} {what:28} {mean:6.3f}   {min(means):.3f} to {max(means):.3f}", flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(
        Path(arguments[0]),
        Path(arguments[1] if arguments[1:] else "albums.db"),
        int(arguments[2]) if arguments[2:] else 20,
    )
