"""A scan with the default models uses no network: it works without one, and never asks for one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from faults.scanning import copy_photos, photoage, rows

pytestmark = pytest.mark.slow

# Every attempt to resolve a name or to connect, other than to a process of this scan, ends the process.
NO_SOCKETS = """
import os, socket, sys
def refuse(event, arguments):
    if event == "socket.connect" and arguments[0].family == getattr(socket, "AF_UNIX", None):
        return
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        os.write(2, f"network used: {event} {arguments}\\n".encode())
        os._exit(99)
sys.addaudithook(refuse)
"""


def fresh_home(folder: Path) -> dict[str, str]:
    """An environment in which no model was ever downloaded."""
    home = folder / "home"
    home.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "TORCH_", "HF_"))
    }
    return kept | {"HOME": str(home), "USERPROFILE": str(home)}


def works(*prefix: str) -> bool:
    try:
        return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def test_a_scan_in_a_network_namespace_of_its_own(tmp_path: Path) -> None:
    isolated = next((p for p in (("unshare", "-n"), ("unshare", "-rn")) if works(*p)), None)
    if isolated is None:
        pytest.skip("network namespaces are not permitted here")
    log = tmp_path / "strace.log"
    traced = ("strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(log))
    prefix = (*traced, *isolated) if shutil.which("strace") and works(*traced) else isolated
    copy_photos(tmp_path / "library", "orientations/1.jpg", "places/flower.jpg")
    database = tmp_path / "photoage.db"
    environment = fresh_home(tmp_path)
    result = photoage("scan", tmp_path / "library", database=database, prefix=prefix, env=environment)
    assert result.returncode == 0, result.stderr
    assert "2 read" in result.stderr
    assert sum(len(row.faces) for row in rows(database).values()) == 1
    if log.exists():
        # Sockets may be made (to see what the system can do), but nobody may be called.
        assert not re.findall(r".*(?:connect|sendto)\(.*AF_INET.*", log.read_text(errors="replace"))
    # Libraries that report their use keep an identifier of the machine, long before they call home.
    assert not list((tmp_path / "home").rglob("*"))


def test_a_scan_with_every_socket_refused(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_SOCKETS)
    copy_photos(tmp_path / "library", "orientations/1.jpg")
    environment = fresh_home(tmp_path) | {"PYTHONPATH": str(tmp_path / "site")}
    database = tmp_path / "photoage.db"
    result = photoage("scan", tmp_path / "library", database=database, env=environment)
    assert result.returncode == 0, result.stderr
    assert "network used" not in result.stderr
    assert [len(row.faces) for row in rows(database).values()] == [1]
