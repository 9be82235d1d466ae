"""Everything that is stored for the sake of persons removed, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from photoage.database.dialect import backend
from photoage.database.tables import (
    Base,
    Embedding,
    Person,
    PersonApart,
    PersonFace,
    StoredEstimate,
    StoredRecogniser,
)

TABLES: tuple[type[Base], ...] = (Embedding, PersonApart, PersonFace, Person, StoredRecogniser)


class Forgotten(NamedTuple):
    """How much there is to forget: embeddings, persons, and ages that follow from birth dates."""

    embeddings: int
    persons: int
    ages: int


def stored_of_persons(connection: Connection) -> Forgotten:
    embeddings, persons = (
        connection.scalar(select(func.count()).select_from(table)) or 0 for table in (Embedding, Person)
    )
    derived = select(func.count()).select_from(StoredEstimate).where(StoredEstimate.age_source != "face")
    return Forgotten(embeddings, persons, connection.scalar(derived) or 0)


def forget_persons(connection: Connection) -> Forgotten:
    """Remove embeddings, persons, names and birth dates; faces show their own ages again. Commits.

    What the database's files then hold is rewritten, so that no embedding is left in free pages or in a log.
    Raises `DatabaseLockedError` where another process keeps that from happening; all is removed then, too.
    """
    found = stored_of_persons(connection)
    connection.execute(delete(StoredEstimate).where(StoredEstimate.age_source != "face"))
    shown = update(StoredEstimate).where(StoredEstimate.current != StoredEstimate.latest)
    connection.execute(shown.values(current=StoredEstimate.latest))
    for table in TABLES:
        connection.execute(delete(table))
    connection.commit()
    backend(connection.engine.url).erase(connection)
    return found
