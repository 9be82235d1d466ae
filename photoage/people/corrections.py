"""Corrections of persons, as the page of persons saves them: a CSV file, carried out all or not at all.

Columns: `action`, `person` (its number), `face` (the id of one of its faces, by which it is known again),
`value`, `other_face`. Actions: `name` (value: the name; empty takes it away), `birth` (a date, likewise),
`apart` (`other_face` does not show this person), `same` (value: the number of the person whom this one is
too, and `other_face` one of its faces).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from photoage.database.known import chunks
from photoage.database.tables import Person, PersonFace
from photoage.errors import UsageError
from photoage.people.names import clean_name, merge_persons, name_person, set_birth_date, take_out

COLUMNS = ("action", "person", "face", "value", "other_face")
ACTIONS = ("name", "birth", "apart", "same")


class Correction(NamedTuple):
    """One line of the file; `line` is its number."""

    line: int
    action: str
    person: int
    face: int
    value: str
    other_face: int


@dataclass(frozen=True, slots=True)
class Corrected:
    """How many persons were named or renamed, got a birth date, lost faces, and became one with another."""

    named: int
    born: int
    faces_apart: int
    merged: int


def read_corrections(lines: Iterable[str], name: str) -> list[Correction]:
    """The corrections in a file's lines; `name` is for messages. Raises `UsageError` naming the line."""
    rows = enumerate(_rows(lines, name), 1)
    if next(rows, (1, None))[1] != list(COLUMNS):
        raise UsageError(f"{name}: is not a file that the page of persons saves (its first line differs)")
    found = []
    for number, row in rows:
        if not row:
            continue
        if len(row) != len(COLUMNS) or row[0] not in ACTIONS:
            raise UsageError(f"{name}: line {number} is not a correction")
        action, person, face, value, other_face = row
        try:
            other = _id(other_face) if action in ("apart", "same") else 0
            number_of = _id(value) if action == "same" else 0
            found.append(Correction(number, action, _id(person), _id(face), value, other))
        except ValueError:
            raise UsageError(f"{name}: line {number} has a number that is none") from None
        if action == "same" and number_of == int(person):
            raise UsageError(f"{name}: line {number} makes a person the same as itself")
    return found


def _rows(lines: Iterable[str], name: str) -> Iterator[list[str]]:
    rows = csv.reader(lines)
    try:
        yield from rows
    except csv.Error as error:
        raise UsageError(f"{name}: line {rows.line_num} cannot be read ({error})") from error


def _id(text: str) -> int:
    """An id, as databases can hold it. Raises `ValueError` for anything else."""
    number = int(text)
    if not 0 < number < 2**63:
        raise ValueError(text)
    return number


def correct_persons(connection: Connection, corrections: list[Correction], name: str) -> Corrected:
    """Carry the corrections out, in an open transaction; `name` of the file is for messages.

    Raises `UsageError` for the first that cannot be carried out; the transaction is then to be rolled back.
    """
    _check_that_they_are_known(connection, corrections, name)
    by_action = {action: [c for c in corrections if c.action == action] for action in ACTIONS}
    renamed = [c.person for c in by_action["name"]]
    for some in chunks(renamed):  # so that two persons can swap names
        connection.execute(update(Person).where(Person.id.in_(some)).values(name=None))
    for correction in by_action["name"]:
        if correction.value:
            with _line_of(correction, name):
                name_person(connection, correction.person, clean_name(correction.value))
    for correction in by_action["birth"]:
        with _line_of(correction, name):
            set_birth_date(connection, correction.person, correction.value or None)
    apart: dict[int, set[int]] = {}
    for correction in by_action["apart"]:
        apart.setdefault(correction.person, set()).add(correction.other_face)
    for person, faces in apart.items():
        take_out(connection, person, faces)
    merged_into: dict[int, int] = {}
    for correction in by_action["same"]:
        person = _last(merged_into, correction.person)
        into = _last(merged_into, int(correction.value))
        if person != into:
            with _line_of(correction, name):
                merge_persons(connection, into, [person])
            merged_into[person] = into
    return Corrected(len(renamed), len(by_action["birth"]), sum(map(len, apart.values())), len(merged_into))


@contextmanager
def _line_of(correction: Correction, name: str) -> Iterator[None]:
    """Adds the file and the line to a `UsageError`."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{name}: line {correction.line}: {error}") from error


def _check_that_they_are_known(connection: Connection, corrections: list[Correction], name: str) -> None:
    """That each face still belongs to the person of whom the page showed it."""
    wanted = {c.face: (c.person, c.line) for c in corrections}
    wanted |= {c.other_face: (c.person, c.line) for c in corrections if c.action == "apart"}
    wanted |= {c.other_face: (int(c.value), c.line) for c in corrections if c.action == "same"}
    found: dict[int, int] = {}
    for some in chunks(list(wanted)):
        owners = select(PersonFace.face_id, PersonFace.person_id).where(PersonFace.face_id.in_(some))
        found |= {row.face_id: row.person_id for row in connection.execute(owners)}
    for face, (person, line) in wanted.items():
        if found.get(face) != person:
            raise UsageError(
                f"{name}: line {line}: person #{person} has changed since the page was made; make it anew"
            )


def _last(merged_into: dict[int, int], person: int) -> int:
    while person in merged_into:
        person = merged_into[person]
    return person
