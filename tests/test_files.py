"""Files that appear whole or not at all, and streams, which are added to."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import threading
from pathlib import Path

import pytest

from photoage.errors import PhotoageError
from photoage.files import (
    file_sha256,
    is_stream,
    replacing_binary,
    replacing_path,
    replacing_text,
    write_whole,
)


def write(path: Path | str, content: bytes) -> None:
    with replacing_binary(path) as file:
        file.write(content)


def write_by_name(path: Path, content: bytes) -> None:
    with replacing_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: bytes) -> None:
    with replacing_text(path) as file:
        file.write(content.decode())


def write_at_once(path: Path, content: bytes) -> None:
    write_whole(str(path), content)


ways = pytest.mark.parametrize("way", [write, write_by_name, write_text, write_at_once])


@ways
def test_a_file_is_made_or_replaced_and_keeps_its_permissions(way: object, tmp_path: Path) -> None:
    assert callable(way)
    target = tmp_path / "file"
    way(target, b"one\r\n")
    assert target.read_bytes() == b"one\r\n"
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    way(link, b"two")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"two")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert len(list(tmp_path.iterdir())) == 3


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full_disk() -> None:
        with replacing_text(target) as file:
            file.write("new")
            raise OSError(28, "No space left on device")

    def interrupted() -> None:
        with replacing_path(target) as path:
            path.write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(PhotoageError, match="file: cannot be written"):
        full_disk()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does so itself")
@ways
def test_only_what_is_open_for_writing_is_synced(
    way: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses the others."""
    import fcntl

    synced = []

    def sync_as_windows_does(file: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(file)

    monkeypatch.setattr(os, "fsync", sync_as_windows_does)
    assert callable(way)
    (tmp_path / "file").write_bytes(b"old")
    way(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(synced) == 1


@ways
def test_a_planted_link_is_not_followed(way: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write into the folder must not choose what is overwritten elsewhere."""
    assert callable(way)
    folder, precious = tmp_path / "shared", tmp_path / "precious"
    folder.mkdir()
    precious.write_bytes(b"precious")
    names = (f".photoage-{os.getpid()}.part", f".faces.csv.{os.getpid()}.part", "faces.csv.part")
    for name in names:  # as they were once foreseen
        (folder / name).symlink_to(precious)
    way(folder / "faces.csv", b"new")
    assert precious.read_bytes() == b"precious"
    monkeypatch.setattr(secrets, "token_hex", lambda length: "guessed")
    (folder / ".photoage-guessed.part").symlink_to(precious)
    with pytest.raises((PhotoageError, FileExistsError)):
        way(folder / "faces.csv", b"newer")
    assert precious.read_bytes() == b"precious"
    assert (folder / "faces.csv").read_bytes() == b"new"


def test_an_open_file_is_written_to_where_it_stands(tmp_path: Path) -> None:
    """As `>> log` and `(a; b) > log` leave it to the program: DESCRIPTOR's place, not the file's start."""
    log = tmp_path / "log"
    log.write_bytes(b"kept\n")
    for flags in (os.O_APPEND, 0):
        descriptor = os.open(log, os.O_WRONLY | flags)
        os.lseek(descriptor, 0, os.SEEK_END)
        link = tmp_path / f"link{flags}"
        link.symlink_to(f"/dev/fd/{descriptor}")
        for name in (f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}", link):
            assert is_stream(name)
            write(name, b"added\n")
        os.write(descriptor, b"after\n")  # whose file it is goes on behind it
        os.close(descriptor)
    assert log.read_bytes() == b"kept\n" + (b"added\n" * 3 + b"after\n") * 2
    assert is_stream("/dev/stdout")
    assert is_stream("/dev/null")


def test_a_pipe_and_a_fifo_are_written_to(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write(f"/dev/fd/{writing}", b"through a pipe")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"through a pipe"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_text(fifo, b"through a fifo")
    reader.join()
    assert got == [b"through a fifo"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


def test_what_is_no_place_for_a_file_is_said(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for target, cause in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent" / "file", "No such file or folder|No such file or directory"),
        ("/dev/fd/987", "Bad file descriptor"),
    ):
        with pytest.raises(PhotoageError, match=f"cannot be written .({cause})"):
            write(target, b"")
    with pytest.raises(PhotoageError, match="no file that could be replaced"):
        write_by_name(fifo, b"")


def test_the_sha256_is_of_the_content_now(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert file_sha256(path).startswith("e3b0c442")
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf")
