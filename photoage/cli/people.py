"""`photoage people`: who is in the photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from photoage.cli.context import Context, global_options
from photoage.cli.output import Column, print_json, print_line, print_rows
from photoage.cli.people_find import find
from photoage.cli.people_import import import_names
from photoage.cli.people_page import apply, page

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from photoage.database.persons import PersonRow

COLUMNS = (
    Column("Person", 6, right=True),
    Column("Name", 20),
    Column("Faces", 7, right=True),
    Column("Born", 10),
    Column("90 %", 13),
    Column("Photos"),
)


@click.group()
@global_options
def people(context: Context) -> None:
    """Find out who is in the photos, and make the ages of persons exact.

    Who is in several photos has one birth date, which tells the age in each of them. Persons are found by
    embeddings of their faces. Embeddings are biometric data: they are computed and stored only by `people
    find` and `scan --people`, stay in the database on this machine, and `people forget` removes all of them.

    A PERSON is a name, or the number that `people list` shows.

    \b
    Example:
      photoage people find
      photoage people list
      photoage people name 1 Anna
      photoage people birth Anna 1984-06-12
      photoage query --person Anna --max-age 3
    """


for command in (find, page, apply, import_names):
    people.add_command(command)


@people.command("list", short_help="List the persons that were found or named.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array.")
@global_options
def list_(context: Context, as_json: bool) -> None:
    """List the persons that were found or named, those with most faces first.

    Born is the date that you gave, or the one that the ages in the person's dated photos fit, with its 90 %
    interval.

    \b
    Example:
      photoage people list
    """
    from photoage.database.persons import stored_persons

    with context.reading() as engine:
        persons = stored_persons(engine)
    if as_json:
        print_json([person._asdict() for person in persons])
    elif not print_rows(COLUMNS, map(_cells, persons)):
        context.say("no persons; `photoage people find` looks for them")


@people.command(short_help="Show one person with all their faces.")
@click.argument("person")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@global_options
def show(context: Context, person: str, as_json: bool) -> None:
    """Show what is known of a PERSON, and their faces by date.

    \b
    Example:
      photoage people show Anna
    """
    from photoage.database.face_filter import FaceFilter
    from photoage.database.persons import find_person, list_persons
    from photoage.database.query import iter_faces

    with _looking(context) as connection:
        (row,) = list_persons(connection, [find_person(connection, person)])
        faces = list(iter_faces(connection.engine, FaceFilter(persons=(f"#{row.id}",), sort="date")))
    if as_json:
        kept = ("path", "face_index", "taken_at", "age", "age_low", "age_high", "age_source")
        print_json({**row._asdict(), "photos": [{key: getattr(face, key) for key in kept} for face in faces]})
        return
    print_line(f"{row.label} (#{row.id}), {row.faces} faces")
    born, interval = _born(row)
    print_line(f"born: {f'{born} ({interval})' if interval else born}")
    for face in faces:
        age = f"{face.age:.1f} ({face.age_low:.0f}-{face.age_high:.0f})"
        print_line(f"{(face.taken_at or '-')[:10]:10}  {age:15}  {face.age_source:6}  {face.path}")


@people.command(short_help="Name a person.")
@click.argument("person")
@click.argument("name")
@global_options
def name(context: Context, person: str, name: str) -> None:
    """Give a PERSON a NAME, in place of the one that they may have.

    Who has a name keeps their faces, whatever is found later.

    \b
    Example:
      photoage people name 1 Anna
    """
    from photoage.people.names import name_person

    with _changing(context) as (connection, find_person):
        name_person(connection, find_person(person), name)


@people.command(short_help="Make several persons one.")
@click.argument("person")
@click.argument("others", nargs=-1, required=True)
@global_options
def merge(context: Context, person: str, others: tuple[str, ...]) -> None:
    """Make a PERSON and all OTHERS one, who keeps the number and the name of PERSON.

    Birth dates that were given must agree; the most precise one is kept.

    \b
    Example:
      photoage people merge Anna 12 15
    """
    from photoage.people.names import merge_persons

    with _changing(context) as (connection, find_person):
        merge_persons(connection, find_person(person), [find_person(other) for other in others])


@people.command(short_help="Take faces away from a person.")
@click.argument("person")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--name", metavar="NAME", help="Whose faces they are: a person that there is, or a new one.")
@global_options
def split(context: Context, person: str, photos: tuple[str, ...], name: str | None) -> None:
    """Take the faces in these PHOTOs away from a PERSON who was wrongly found in them.

    They will never be found to be this person again. Without a name, the next `people find` looks for whom
    they show.

    \b
    Example:
      photoage people split Anna IMG_2041.jpg IMG_2044.jpg --name Berta
    """
    from photoage.errors import UsageError
    from photoage.paths import absolute
    from photoage.people.names import faces_in, give_to, take_out

    with _changing(context) as (connection, find_person):
        number = find_person(person)
        faces = []
        for photo in photos:
            found = faces_in(connection, number, absolute(photo))
            if not found:
                raise UsageError(f"{photo}: {person} is not in this photo")
            faces += found
        take_out(connection, number, faces)
        if name is not None:
            give_to(connection, name, faces)


@people.command(short_help="Give a person's birth date.")
@click.argument("person")
@click.argument("date", required=False)
@click.option("--unknown", is_flag=True, help="Take the birth date away again.")
@global_options
def birth(context: Context, person: str, date: str | None, unknown: bool) -> None:
    """Give the birth DATE of a PERSON: 1984-06-12, 1984-06 or 1984, as precise as you know it.

    From then on, their age in every photo with a date is what follows from it.

    \b
    Example:
      photoage people birth Anna 1984-06-12
    """
    if (date is None) != unknown:
        raise click.UsageError("give either a DATE or --unknown")
    from photoage.people.names import set_birth_date

    with _changing(context) as (connection, find_person):
        set_birth_date(connection, find_person(person), date)


@people.command(short_help="Remove all embeddings, persons, names and birth dates.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@global_options
def forget(context: Context, dry_run: bool) -> None:
    """Remove all embeddings, persons, names and birth dates from the database, and nothing else.

    Faces then show the ages that they show by themselves. The database's files are written anew, so that no
    embedding is left in them; backups that you made still hold theirs.

    \b
    Example:
      photoage people forget -n
      photoage people forget
    """
    from photoage.database.changes import changing
    from photoage.people.forget import forget_persons, stored_of_persons

    if dry_run:
        with _looking(context) as connection:
            found = stored_of_persons(connection)
    else:
        with changing(context.database) as connection:
            found = forget_persons(connection)
    what = f"{found.embeddings} embeddings, {found.persons} persons, {found.ages} ages that follow from them"
    context.say(f"would remove {what}; nothing was changed" if dry_run else f"removed {what}")


@contextmanager
def _looking(context: Context) -> Iterator[Connection]:
    from photoage.database.connect import database_errors, database_name

    with (
        context.reading() as engine,
        database_errors(database_name(engine.url)),
        engine.connect() as connection,
    ):
        yield connection


class _Finder:
    """Persons by name or number."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, text: str) -> int:
        from photoage.database.persons import find_person

        return find_person(self._connection, text)


@contextmanager
def _changing(context: Context) -> Iterator[tuple[Connection, _Finder]]:
    """A transaction in which persons are changed, and after which ages follow."""
    from photoage.database.changes import changing
    from photoage.people.refresh import refresh_persons

    with changing(context.database) as connection:
        yield connection, _Finder(connection)
        refresh_persons(connection)


def _cells(person: PersonRow) -> tuple[str, ...]:
    years = dict.fromkeys(date[:4] for date in (person.first, person.last) if date)
    return (
        f"#{person.id}",
        person.name or "",
        f"{person.faces:,}",
        *_born(person),
        "-".join(years),
    )


def _born(person: PersonRow) -> tuple[str, str]:
    """When a person was born, and the interval of a date that was fitted."""
    if person.birth_date:
        return person.birth_date, ""
    if person.fitted_birth and person.fitted_low and person.fitted_high:
        return f"about {person.fitted_birth[:4]}", f"{person.fitted_low[:4]}-{person.fitted_high[:4]}"
    return "", person.unfitted or ""
