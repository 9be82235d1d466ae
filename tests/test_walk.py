from __future__ import annotations

import os
import socket
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from photoage.errors import UsageError
from photoage.photos.walk import WalkOptions, check_roots, files_from, walk
from photoage.records import PhotoFile, WalkProblem

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")


def names(root: Path, options: WalkOptions = WalkOptions()) -> list[str]:
    """Relative paths of the photos found; any problem fails the test."""
    found = list(walk([str(root)], options))
    problems = [entry for entry in found if isinstance(entry, WalkProblem)]
    assert problems == []
    return [os.path.relpath(entry.path, root).replace(os.sep, "/") for entry in found]


def problems(entries: Iterator[PhotoFile | WalkProblem]) -> list[tuple[str, str]]:
    return [(os.path.basename(e.path), e.kind) for e in entries if isinstance(e, WalkProblem)]


def test_photos_come_in_path_order_with_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a/z.jpg", "a.jpg", "a b/x.jpg", "a/deep/er/y.jpg", "B.jpg", "é.jpg")
    found = list(walk([str(tmp_path)]))
    paths = [entry.path for entry in found]
    assert paths == sorted(paths)
    assert len(paths) == 7
    info = os.stat(paths[0])
    assert found[0] == PhotoFile(paths[0], info.st_size, info.st_mtime_ns)


def test_candidates_are_chosen_by_suffix_whatever_its_case(tmp_path: Path) -> None:
    photos = ["a.jpg", "b.JPEG", "c.Heic", "d.hif", "e.AVIF", "f.tif", "g.mpo", "h.jfif"]
    make(tmp_path, *photos)
    make(tmp_path, "a.txt", "a.mp4", "jpg", "a.jpg.part", "a.nef")
    assert names(tmp_path) == photos


def test_a_file_given_by_name_is_a_candidate_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, "scan0001", ".hidden.jpg")
    for name in ("scan0001", ".hidden.jpg"):
        assert [e.path for e in walk([str(tmp_path / name)])] == [str(tmp_path / name)]


def test_hidden_and_junk_are_skipped(tmp_path: Path) -> None:
    junk = ["@eaDir", ".Trashes", ".Spotlight-V100", "#recycle", "$RECYCLE.BIN", ".thumbnails", "lost+found"]
    junk += ["System Volume Information", ".hidden", "__MACOSX"]
    make(tmp_path, *(f"sub/{folder}/a.jpg" for folder in junk), "sub/._a.jpg", "sub/a.jpg")
    assert names(tmp_path) == ["sub/a.jpg"]


def test_a_hidden_folder_given_by_name_is_walked(tmp_path: Path) -> None:
    make(tmp_path, ".private/a.jpg", "b.jpg")
    assert names(tmp_path / ".private") == ["a.jpg"]
    assert len(list(walk([str(tmp_path), str(tmp_path / ".private")]))) == 2


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("raw", ["2019/a.jpg", "2019/b.png", "a.jpg"]),
        ("*.png", ["2019/a.jpg", "2019/raw/a.jpg", "a.jpg"]),
        ("2019/*.png", ["2019/a.jpg", "2019/raw/a.jpg", "2019/raw/c.png", "a.jpg"]),
        ("2019/**/*.png", ["2019/a.jpg", "2019/raw/a.jpg", "a.jpg"]),
        ("**/raw", ["2019/a.jpg", "2019/b.png", "a.jpg"]),
        ("2019/", ["a.jpg"]),
        ("./2019/raw", ["2019/a.jpg", "2019/b.png", "a.jpg"]),
        ("a.jpg/", ["2019/a.jpg", "2019/b.png", "2019/raw/a.jpg", "2019/raw/c.png", "a.jpg"]),
        ("201[0-8]", ["2019/a.jpg", "2019/b.png", "2019/raw/a.jpg", "2019/raw/c.png", "a.jpg"]),
    ],
)
def test_exclude(tmp_path: Path, pattern: str, left: list[str]) -> None:
    make(tmp_path, "a.jpg", "2019/a.jpg", "2019/b.png", "2019/raw/a.jpg", "2019/raw/c.png")
    assert names(tmp_path, WalkOptions(exclude=(pattern,))) == left


def test_exclude_follows_the_rules_of_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "2019/a.jpg", "2019/raw/a.jpg", "2019/#sum.jpg", "2020/a.jpg")
    for patterns, left in (
        (["a.jpg", "!2019/a.jpg"], ["2019/#sum.jpg", "2019/a.jpg"]),  # the last one that matches decides
        (["/a.jpg"], ["2019/#sum.jpg", "2019/a.jpg", "2019/raw/a.jpg", "2020/a.jpg"]),
        (["20*", f"!{tmp_path}/2020"], ["2020/a.jpg", "a.jpg"]),
        (["#*"], ["2019/a.jpg", "2019/raw/a.jpg", "2020/a.jpg", "a.jpg"]),  # unlike there, no comment
        (["2019/**", "2020/"], ["a.jpg"]),
    ):
        assert names(tmp_path, WalkOptions(exclude=tuple(patterns))) == left
    with pytest.raises(UsageError, match="exclude: "):
        names(tmp_path, WalkOptions(exclude=("!",)))


def test_exclude_by_absolute_path(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/x.jpg")
    assert names(tmp_path, WalkOptions(exclude=(f"{tmp_path}/a",))) == ["b/x.jpg"]
    assert names(tmp_path, WalkOptions(exclude=(f"{tmp_path}/*/x.jpg",))) == []


def test_exclude_applies_to_a_file_given_by_name_but_not_to_a_root_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert list(walk([str(tmp_path / "a.jpg")], WalkOptions(exclude=("a.*",)))) == []
    assert names(tmp_path, WalkOptions(exclude=(tmp_path.name,))) == ["a.jpg"]


def test_names_stay_as_they_are_stored_and_exclude_matches_both_forms(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "été.jpg") for form in ("NFC", "NFD"))
    make(tmp_path, nfc, nfd)
    if len(os.listdir(tmp_path)) != 2:
        pytest.skip("this file system stores one form only")
    assert sorted(names(tmp_path)) == sorted([nfc, nfd])
    assert names(tmp_path, WalkOptions(exclude=(nfd,))) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder + b"/\xff.jpg")).write_bytes(b"photo")
    (found,) = walk([str(tmp_path)])
    assert os.fsencode(found.path) == folder + b"/\xff.jpg"
    assert list(files_from([folder + b"/\xff.jpg\n"])) == [found]


@posix_only
def test_symlinks_are_followed_only_on_request(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.jpg", "library/b.jpg")
    (tmp_path / "library" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "library" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "library" / "broken.jpg").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path / "library") == ["b.jpg"]
    found = list(walk([str(tmp_path / "library")], WalkOptions(follow=True)))
    assert [os.path.relpath(entry.path, tmp_path / "library") for entry in found] == [
        "b.jpg",
        "broken.jpg",
        "c.jpg",
        "link/a.jpg",
    ]
    assert problems(iter(found)) == [("broken.jpg", "vanished")]


@posix_only
def test_symlink_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "a/b/x.jpg")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "self.jpg").symlink_to(tmp_path / "a" / "self.jpg")
    found = list(walk([str(tmp_path)], WalkOptions(follow=True)))
    assert problems(iter(found)) == [("self.jpg", "unreadable")]
    assert [e.path for e in found if isinstance(e, PhotoFile)] == [str(tmp_path / "a" / "b" / "x.jpg")]


@posix_only
def test_a_root_that_is_a_symlink_is_walked_under_its_own_name(tmp_path: Path) -> None:
    make(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (found,) = walk([str(tmp_path / "link")])
    assert found.path == str(tmp_path / "link" / "a.jpg")


def test_hard_links_are_photos_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert names(tmp_path) == ["a.jpg", "b.jpg"]


@posix_only
def test_overlapping_roots_give_each_file_once(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "a/sub/y.jpg", "a/notes")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "sub")
    roots = ["a/sub", "a", "a/sub/y.jpg", "a/notes", "link", "a"]
    found = [entry.path for entry in walk([str(tmp_path / root) for root in roots])]
    assert found == [str(tmp_path / name) for name in ("a/sub/y.jpg", "a/x.jpg", "a/notes")]


def test_a_relative_root_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "lib/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert [entry.path for entry in walk(["./lib/../lib"])] == [str(tmp_path / "lib" / "a.jpg")]


@posix_only
def test_special_files_are_never_opened(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    short = tempfile.mkdtemp(prefix="w")  # a socket's path is limited to about 100 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/socket.jpg")
        assert names(Path(short)) == []
    assert names(tmp_path) == ["a.jpg"]
    assert problems(walk([str(tmp_path / "fifo.jpg")])) == [("fifo.jpg", "not-a-file")]


def test_a_missing_root_is_a_problem_and_costs_no_other_root(tmp_path: Path) -> None:
    make(tmp_path, "lib/a.jpg")
    found = list(walk([str(tmp_path / "gone"), str(tmp_path / "lib"), f"{tmp_path}/a\0b"]))
    assert problems(iter(found)) == [("a\0b", "unreadable"), ("gone", "missing")]
    assert sum(isinstance(entry, PhotoFile) for entry in found) == 1


def test_files_and_folders_that_vanish_during_the_walk_are_problems(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "c/d.jpg", "e.jpg")
    entries = walk([str(tmp_path)])
    next(entries)
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c" / "d.jpg").unlink()
    (tmp_path / "c").rmdir()
    rest = list(entries)
    assert problems(iter(rest)) == [("b.jpg", "vanished"), ("c", "vanished")]
    assert [os.path.basename(e.path) for e in rest if isinstance(e, PhotoFile)] == ["e.jpg"]


@pytest.fixture
def without_privileges() -> Iterator[Path]:
    """A folder readable by all, in a process that permissions apply to, even in tests run by root."""
    folder = Path(tempfile.mkdtemp(prefix="photoage"))
    folder.chmod(0o755)
    was_root = os.geteuid() == 0
    make(folder, "closed/a.jpg", "open/b.jpg")
    (folder / "closed").chmod(0)
    if was_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        (folder / "closed").chmod(0o755)


@posix_only
def test_an_unreadable_folder_is_a_problem_and_costs_no_other(without_privileges: Path) -> None:
    found = list(walk([str(without_privileges)]))
    assert found[0] == WalkProblem(str(without_privileges / "closed"), "unreadable", "permission denied")
    assert [e.path for e in found[1:]] == [str(without_privileges / "open" / "b.jpg")]


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="needs a second file system")
def test_one_file_system(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "other").symlink_to("/proc/sys/kernel")  # another device, with nothing to find
    same = WalkOptions(follow=True, one_file_system=True)
    assert names(tmp_path, same) == ["a.jpg", "sub/b.jpg"]
    if os.path.isdir("/dev/shm") and os.stat("/dev/shm").st_dev != os.stat(tmp_path).st_dev:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as shared:
            make(Path(shared), "c.jpg")
            (tmp_path / "shared").symlink_to(shared)
            assert "shared/c.jpg" in names(tmp_path, WalkOptions(follow=True))
            assert "shared/c.jpg" not in names(tmp_path, same)


def test_folders_nested_deeper_than_pythons_stack(tmp_path: Path) -> None:
    deep = str(tmp_path)
    folders = []
    while len(folders) <= sys.getrecursionlimit():
        deep += "/d"
        os.mkdir(deep)
        folders.append(deep)
    make(Path(deep), "a.jpg")
    assert len(names(tmp_path)) == 1
    # Too deep for the recursive removal that the test runner does.
    os.unlink(f"{deep}/a.jpg")
    for folder in reversed(folders):
        os.rmdir(folder)


def test_the_walk_is_lazy(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    entries = walk([str(tmp_path)])
    next(entries)
    make(tmp_path, "b/3.jpg")
    assert [os.path.basename(entry.path) for entry in entries] == ["2.jpg", "3.jpg"]


@pytest.mark.parametrize("separator", [b"\n", b"\0", b"\r\n"])
def test_files_from_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: bytes) -> None:
    make(tmp_path, "b.jpg", "a.dat", "sub/c.jpg")
    monkeypatch.chdir(tmp_path)
    given = [
        b"b.jpg",
        b"a.dat",
        b"./b.jpg",
        b"",
        os.fsencode(tmp_path / "sub" / "c.jpg"),
        b"gone.jpg",
        b"sub",
    ]
    list_file = tmp_path / "list"
    list_file.write_bytes(separator.join(given))
    with list_file.open("rb") as lines:
        found = list(files_from(lines))
    assert [os.path.basename(entry.path) for entry in found] == ["b.jpg", "a.dat", "c.jpg", "gone.jpg", "sub"]
    assert problems(iter(found)) == [("gone.jpg", "vanished"), ("sub", "not-a-file")]


@posix_only
def test_files_from_a_nul_separated_list_may_hold_newlines(tmp_path: Path) -> None:
    make(tmp_path, "a\nb.jpg", "c.jpg")
    data = b"\0".join(os.fsencode(tmp_path / name) for name in ("a\nb.jpg", "c.jpg")) + b"\0"
    assert [os.path.basename(e.path) for e in files_from(data.splitlines(True))] == ["a\nb.jpg", "c.jpg"]


def test_files_from_an_empty_list() -> None:
    assert list(files_from([])) == []
    assert list(files_from([b"\n"])) == []


def test_check_roots(tmp_path: Path) -> None:
    make(tmp_path, "lib/a.jpg", "nas/.DS_Store", "nas/@eaDir/a.jpg")
    (tmp_path / "empty").mkdir()
    roots = [str(tmp_path / name) for name in ("lib", "nas", "empty", "gone", "lib/a.jpg")]
    checked = check_roots(roots)
    assert checked.absent == (roots[3],)
    assert checked.empty == (roots[1], roots[2])
