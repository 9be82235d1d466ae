"""Databases in tests: opened and closed, seen by Python's own module, and used by other processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from photoage.db import open_database


@contextmanager
def opened(path: Path, **options: bool) -> Iterator[Engine]:
    engine = open_database(path, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def run_sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """What the last statement gives, by Python's own module."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


@contextmanager
def another_process(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has printed a line, and is killed in the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


HOLD_LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(60)
"""


def without_privileges(code: str, *arguments: str | Path) -> str:
    """What a Python process prints for which file permissions count, even when root runs the tests."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions, and setpriv is not there to change that")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
