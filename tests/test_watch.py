"""Folders watched: by the program, on real photos, and by its parts."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from small_library import PROGRAM, real

from photoage.database.tables import decode_path
from photoage.photos import watch as watching
from photoage.photos.walk import WalkOptions, walk, walk_changed
from photoage.photos.watch import watch
from photoage.records import PhotoFile

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]

PATIENCE = 90.0  # seconds for what takes a few on an idle machine


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


# --- the program -----------------------------------------------------------------------------


@contextmanager
def watched(library: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real `photoage watch` that has done its first scan, with its messages in a file beside it."""
    messages = library.with_name("messages")
    words = [PROGRAM, "--db", library.with_name("db"), "watch", "-j", "1", *options, library]
    with open(messages, "wb") as file, subprocess.Popen(words, stderr=file) as process:
        try:
            until(lambda: b"watching for changes" in messages.read_bytes(), "the first scan")
            yield process
        finally:
            process.kill()


def stored(library: Path, status: str = "done") -> set[str]:
    """The photos in the database, asked without a program that would slow down the one under test."""
    with closing(sqlite3.connect(f"{library.with_name('db').as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT path FROM photo WHERE status = ?", (status,))
        return {os.path.relpath(decode_path(path), library) for (path,) in rows}


def test_photos_that_come_while_it_runs_are_scanned(tmp_path: Path, sample_library: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    portrait, other = (sample_library / "orientations" / name for name in ("1.jpg", "3.jpg"))
    with watched(library) as process:
        if sys.platform == "linux":
            assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        content = (sample_library / "white_house" / "obama_2009.jpg").read_bytes()
        with open(library / "slow.jpg", "wb") as slow:
            slow.write(content[:9000])
            slow.flush()
            name = os.fsdecode(b"new/caf\xe9\n.jpg")
            (library / "new").mkdir()
            shutil.copy(portrait, library / name)
            (tmp_path / "moved" / "in").mkdir(parents=True)
            shutil.copy(other, tmp_path / "moved" / "in")
            (tmp_path / "moved").rename(library / "moved")
            # Half a photo that stays so is unreadable: until the rest comes.
            until(lambda: stored(library, "unreadable") == {"slow.jpg"}, "the torn photo")
            helpers = set(psutil.Process(process.pid).children(recursive=True))
            slow.write(content[9000:])
        until(lambda: stored(library) == {name, "moved/in/3.jpg", "slow.jpg"}, "three photos")
        assert stored(library, "unreadable") == set()
        # To start them and to load the models anew would take seconds for every photo.
        assert helpers <= set(psutil.Process(process.pid).children(recursive=True))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
    runs = json.loads(real(tmp_path / "db", "runs", "--json").stdout)
    assert len(runs) >= 3
    assert {run["status"] for run in runs} <= {"finished", "interrupted"}


def test_polling_finds_them_as_well(tmp_path: Path, sample_library: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    with watched(library, "--poll", "1") as process:
        shutil.copy(sample_library / "orientations" / "1.jpg", library)
        until(lambda: stored(library) == {"1.jpg"}, "the photo")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (0, 130)
    # Looks that find nothing are no scan runs.
    assert 2 <= len(json.loads(real(tmp_path / "db", "runs", "--json").stdout)) <= 4


def test_only_folders_that_are_there_can_be_watched(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    for name, cause in (("photo.jpg", b"is not a folder"), ("absent", b"no such file or folder")):
        done = real(tmp_path / "db", "watch", str(tmp_path / name))
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
        assert cause in done.stderr


# --- its parts -------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("QUIET", 0.3), ("CHECK", 0.1), ("TICK", 0.02), ("REST", 0)):
        monkeypatch.setattr(watching, name, seconds)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Set after PATIENCE at the latest, so that a test that fails also ends."""
    event = threading.Event()
    timer = threading.Timer(PATIENCE, event.set)
    timer.start()
    yield event
    event.set()
    timer.cancel()


def paths(answer: list[PhotoFile] | None) -> list[str] | None:
    return None if answer is None else [Path(file.path).name for file in answer]


def notified(root: Path, options: WalkOptions, stop: threading.Event) -> Iterator[list[PhotoFile] | None]:
    """A watch after its first look, which the system notifies of changes.

    For a while it may not: other programs of this user have taken all that it lends.
    """
    while True:
        warnings: list[str] = []
        given = watch([str(root)], options, stop, warn=warnings.append)
        assert next(given, warnings) is None
        if not warnings:
            return given
        del given  # which ends that watch
        stop.wait(1)


@pytest.mark.usefixtures("quick")
def test_a_photo_is_given_once_it_is_at_rest(tmp_path: Path, stop: threading.Event) -> None:
    answers = watch([str(tmp_path)], WalkOptions(exclude=("skip",)), stop)
    assert next(answers) is None
    (tmp_path / "skip").mkdir()
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / "note.txt").touch()
    (tmp_path / "skip" / "b.jpg").touch()
    writer = threading.Thread(target=write_slowly, args=(tmp_path / "a.jpg",))
    writer.start()
    answer = next(answers)
    assert paths(answer) == ["a.jpg"]
    assert answer is not None
    assert answer[0].size == 10  # all of it, although it was written in ten pieces
    writer.join()
    with open(tmp_path / "a.jpg", "ab") as file:  # while it is being read
        file.write(b"more")
    assert paths(next(answers)) == ["a.jpg"]
    stop.set()
    assert next(answers, "end") == "end"


def write_slowly(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for _ in range(10):
            file.write(b"x")
            time.sleep(0.1)


@pytest.mark.usefixtures("quick")
def test_a_root_that_goes_and_comes_back_is_watched_again(tmp_path: Path, stop: threading.Event) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    warnings: list[str] = []
    answers = watch([str(root), str(other)], WalkOptions(), stop, warn=warnings.append)
    assert next(answers) is None
    root.rename(tmp_path / "away")
    assert next(answers) is None
    assert warnings == [f"{root}: is gone; it is watched again once it is back"]
    (other / "b.jpg").touch()
    assert paths(next(answers)) == ["b.jpg"]
    root.mkdir()
    assert next(answers) is None
    (root / "a.jpg").touch()
    assert paths(next(answers)) == ["a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of inotify")
@pytest.mark.usefixtures("quick")
def test_without_notifications_it_looks(
    tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "POLL", 0.2)
    code = (  # in a process of its own: the limit is the user's
        "import ctypes, sys; libc = ctypes.CDLL(None)\n"
        "while libc.inotify_init() >= 0: pass\n"
        "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code]
    assert ctypes.CDLL(None).inotify_init  # there is something to exhaust
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        warnings: list[str] = []
        answers = watch([str(tmp_path)], WalkOptions(), stop, warn=warnings.append)
        assert [next(answers) for _ in range(3)] == [None] * 3
        hog.kill()
    (warning,) = warnings
    assert "inotify instance limit reached" in warning


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a user namespace, for its own limits")
def test_more_folders_than_the_system_watches_are_looked_at(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    limit = ["unshare", "-Ur", "sh", "-c", 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*limit, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces are not allowed here")
    code = (
        "import sys, threading\nfrom photoage.photos.walk import WalkOptions\n"
        "from photoage.photos.watch import watch\n"
        "print(next(watch(sys.argv[1:], WalkOptions(), threading.Event(), warn=print)))"
    )
    done = subprocess.run([*limit, sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    # That of instances, where other programs of this user have taken all of them.
    assert re.search("inotify (watch|instance) limit reached", done.stdout)
    assert done.stdout.endswith("None\n")


def test_changed_paths_are_what_a_walk_finds(tmp_path: Path, sample_library: Path) -> None:
    everything = [entry for entry in walk([str(sample_library)]) if isinstance(entry, PhotoFile)]
    all_paths = [entry.path for entry in everything]
    assert [e.path for e in walk_changed([str(sample_library)], all_paths)] == sorted(
        all_paths, key=lambda path: (os.path.dirname(path), path)
    )
    (folder,) = [str(sample_library / "people")]
    inside = {e.path for e in walk([folder])}
    assert {e.path for e in walk_changed([str(sample_library)], [folder, *inside])} == inside
    for part in ("a/.b/c", "@eaDir", "link"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "link").symlink_to(folder)
    for part in ("a/.b/x.jpg", "@eaDir/x.jpg", "a/x.jpg", "a/skip/x.jpg", "x.txt"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).touch()
    candidates = [str(path) for path in tmp_path.rglob("*")] + [str(tmp_path / "link" / "grace_hopper.jpg")]
    candidates += [str(tmp_path / "gone.jpg"), "/elsewhere/x.jpg", str(tmp_path)]
    options = WalkOptions(exclude=("a/skip",))
    assert [e.path for e in walk_changed([str(tmp_path)], candidates, options)] == [str(tmp_path / "a/x.jpg")]
    followed = {e.path for e in walk_changed([str(tmp_path)], candidates, WalkOptions(follow=True))}
    assert str(tmp_path / "link" / "grace_hopper.jpg") in followed


@pytest.mark.usefixtures("quick")
def test_a_photo_is_given_again_when_a_file_beside_it_comes_changes_or_goes(
    tmp_path: Path, stop: threading.Event
) -> None:
    for name in ("a.jpg", "b.jpg", "b-edited.jpg", "c.jpg", "d.txt"):
        (tmp_path / name).write_bytes(b"photo")
    sidecar, json_file = tmp_path / "a.xmp", tmp_path / "b.jpg.supplemental-metadata.json"
    given = watch([str(tmp_path)], WalkOptions(), stop)
    assert next(given) is None

    sidecar.write_text("1")
    assert paths(next(given)) == ["a.jpg"]
    sidecar.write_text("2 changed")
    assert paths(next(given)) == ["a.jpg"]
    sidecar.rename(tmp_path / "c.jpg.xmp")
    assert paths(next(given)) == ["a.jpg", "c.jpg"]
    (tmp_path / "c.jpg.xmp").unlink()
    assert paths(next(given)) == ["c.jpg"]
    json_file.write_text("{}")
    assert paths(next(given)) == ["b-edited.jpg", "b.jpg"]
    json_file.unlink()
    assert paths(next(given)) == ["b-edited.jpg", "b.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts Linux's watches")
@pytest.mark.usefixtures("quick")
def test_folders_that_a_scan_leaves_out_take_no_watches(tmp_path: Path, stop: threading.Event) -> None:
    def watches() -> int:
        number = 0
        for path in Path("/proc/self/fdinfo").iterdir():
            with suppress(FileNotFoundError):  # that of the listing itself
                number += path.read_text(errors="replace").count("inotify wd:")
        return number

    for name in ("in/a", "in/b", "@eaDir/x", ".hidden/y", "raw/2019/z"):
        (tmp_path / name).mkdir(parents=True)
    before = watches()
    given = notified(tmp_path, WalkOptions(exclude=("raw",)), stop)
    assert watches() - before == 4  # the root, in, in/a and in/b
    late = tmp_path / "in" / "late" / "deep"
    late.mkdir(parents=True)
    (late / "a.jpg").write_bytes(b"photo")
    (tmp_path / "raw" / "left.jpg").write_bytes(b"photo")
    assert [file.path for file in next(given) or ()] == [str(late / "a.jpg")]
    assert watches() - before == 6
