"""Where SQLite and PostgreSQL differ: what each does its own way, and SQL that each writes its own way."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    URL,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Text,
    TypeDecorator,
    bindparam,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from photoage.database import postgres, sqlite
from photoage.database.tables import Base, encode_path
from photoage.errors import DatabaseError


class Backend(Protocol):
    """What the modules sqlite and postgres do, each for its databases."""

    TRUST_PLANNER: bool  # whether the planner finds the best way to the rows by itself
    insert: Callable[..., Any]  # SQLAlchemy's, with ON CONFLICT

    def name(self, url: URL) -> str:
        """How messages call a database; never with a password."""

    def make_engine(self, url: URL, *, create: bool, read_only: bool) -> Engine:
        """An engine for a database; a missing one is refused unless `create`. Raises `DatabaseError`."""

    def cause(self, error: BaseException) -> tuple[type[DatabaseError], str]:
        """The error to raise for an error of the driver, and its one-line message."""

    def take_scan_lock(self, engine: Engine) -> Callable[[], None]:
        """Keep other scans out until the function returned is called. Raises `DatabaseLockedError`."""

    def prepare_writing(self, connection: Connection) -> None:
        """Called once it is certain that the database is photoage's."""

    def begin_schema_change(self, connection: Connection) -> None:
        """Begin a transaction in which nobody else changes the schema."""

    def erase(self, connection: Connection) -> None:
        """Leave nothing of deleted rows in the database's files. Raises `DatabaseLockedError`."""

    def analyze(self, connection: Connection) -> None:
        """Let the planner know how the values are distributed."""

    def size(self, connection: Connection) -> int:
        """Bytes on disk."""

    def problems(self, connection: Connection) -> Iterator[str]:
        """Damage that the database itself can find, one line each."""

    def backup(self, engine: Engine, target: Path) -> None:
        """Copy the database to a new file. Raises `DatabaseError`."""


BACKENDS: dict[str, Backend] = {"sqlite": sqlite, "postgresql": postgres, "postgres": postgres}


def backend(url: URL) -> Backend:
    """Raises `DatabaseError` for a kind of database that photoage does not know."""
    kind = url.get_backend_name()
    if kind not in BACKENDS:
        raise DatabaseError(f"{kind} databases are not supported; use a file, or postgresql+psycopg://")
    return BACKENDS[kind]


def cause(error: BaseException) -> tuple[type[DatabaseError], str]:
    """The error to raise for an error of SQLAlchemy or of a driver, and its one-line message."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return sqlite.cause(original) if isinstance(original, sqlite3.Error) else postgres.cause(error)


# --- writing ------------------------------------------------------------------------------------


@cache
def upsert(kind: str, table: type[Base], keys: tuple[str, ...], columns: tuple[str, ...]) -> Any:
    """An INSERT of rows with these columns that replaces rows with the same keys; gives id and keys.

    `kind` is the name of the engine's dialect.
    """
    insert = BACKENDS[kind].insert(table)
    replaced = {column: insert.excluded[column] for column in columns if column not in keys}
    returned = [getattr(table, column) for column in ("id", *keys)]
    return insert.on_conflict_do_update(index_elements=keys, set_=replaced).returning(*returned)


# --- conditions ---------------------------------------------------------------------------------


class _Unindexed(FunctionElement[Any]):
    inherit_cache = True


def unindexed(column: Any) -> ColumnElement[Any]:
    """The column, in a condition for which the planner is not to choose an index."""
    element = _Unindexed(column)
    element.type = column.type
    return element


@compiles(_Unindexed)
def _as_it_is(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Unindexed, "sqlite")
def _with_plus(element: _Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


class _GlobPattern(TypeDecorator[str]):
    """A pattern of SQLite's GLOB; a regular expression that matches the same in PostgreSQL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or dialect.name == "sqlite":
            return value
        return glob_as_regex(value)


class _Glob(FunctionElement[bool]):
    type = Boolean()
    inherit_cache = True


def glob(text: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """Whether a path matches a pattern with * (any characters), ? (any one) and [sets]."""
    return _Glob(text, bindparam(None, encode_path(pattern), type_=_GlobPattern()))


@compiles(_Glob, "sqlite")
def _glob(element: _Glob, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{text} GLOB {pattern}"


@compiles(_Glob, "postgresql")
def _regex(element: _Glob, compiler: SQLCompiler, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{text} ~ {pattern}"


NOTHING = "$."  # in PostgreSQL's regular expressions, what no text matches
_SET = re.compile(r"\[(\^?)(\]?[^\]]*)\]", re.DOTALL)


def glob_as_regex(pattern: str) -> str:
    """The PostgreSQL regular expression that matches the texts that SQLite's GLOB matches."""
    found, at = [], 0
    while at < len(pattern):
        character = pattern[at]
        if character == "[":
            if not (group := _SET.match(pattern, at)):
                return NOTHING  # as in SQLite: a set without an end matches nothing
            found.append(_set_as_regex(group[2], negated=bool(group[1])))
            at = group.end()
        else:
            found.append({"*": ".*", "?": "."}.get(character) or _escaped(character))
            at += 1
    return f"^{''.join(found)}$"


def _set_as_regex(members: str, *, negated: bool) -> str:
    pieces, at, previous = [], 0, ""
    while at < len(members):
        character = members[at]
        if character == "-" and previous and at + 1 < len(members):
            if previous <= members[at + 1]:  # another range holds nothing
                pieces.append(f"{_escaped(previous)}-{_escaped(members[at + 1])}")
            previous, at = "", at + 2
        else:
            pieces.append(_escaped(character))
            # A first ] stands for itself, and begins no range.
            previous, at = "" if (character, at) == ("]", 0) else character, at + 1
    if not pieces:
        return "." if negated else NOTHING
    return f"[{'^' if negated else ''}{''.join(pieces)}]"


def _escaped(character: str) -> str:
    return character if character.isalnum() else f"\\U{ord(character):08x}"
