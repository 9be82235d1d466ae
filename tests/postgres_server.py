"""A throw-away PostgreSQL server, from the programs that Debian's package `postgresql` installs."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

# What it writes need not survive a crash of the machine, and must not wait for its disk.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=60")


@dataclass(frozen=True)
class Server:
    port: int
    names: Iterator[int]

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """What the last statement gives."""
        url = self.url(database).replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The URL of an empty place for tables: a schema, which is made (and removed) much faster."""
        name = f"photos{next(self.names)}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}?options=-csearch_path%3D{name}"


def programs() -> Path:
    """The folder of the newest PostgreSQL's programs; skips where there is none, unless that is a fault."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    if installed := shutil.which("pg_ctl"):
        return Path(installed).resolve().parent
    if os.environ.get("PHOTOAGE_TEST_REQUIRE"):
        pytest.fail("PostgreSQL is not installed")
    pytest.skip("PostgreSQL is not installed")


@contextmanager
def running_server() -> Iterator[Server]:
    """A server on loopback that trusts everybody, in a folder of /tmp; gone in the end."""
    bin_folder = programs()
    with tempfile.TemporaryDirectory(prefix="photoage-pg-", ignore_cleanup_errors=True) as folder:
        prefix: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            prefix = ["runuser", "-u", "postgres", "--"]

        def run(program: str, *arguments: str) -> None:
            # To a file: the server keeps what it inherits open.
            with tempfile.TemporaryFile("w+") as errors:
                command = [*prefix, str(bin_folder / program), *arguments]
                done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=errors)
                errors.seek(0)
                assert done.returncode == 0, errors.read()

        data, port = f"{folder}/data", free_port()
        # A locale other than C, as most databases have: sorting must not depend on it.
        run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
            "--locale=C", "--locale-provider=icu", "--icu-locale=en")  # fmt: skip
        # Everybody is let in, except for a role that needs a password.
        rules = Path(data, "pg_hba.conf")
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        options = ["-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        for setting in SETTINGS:
            options += ["-c", setting]
        run("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", " ".join(options), "start")
        try:
            yield Server(port, count(1))
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
