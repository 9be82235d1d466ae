"""Files and folders that are gone, come back, cannot be entered, change under the scan, or are no files."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import unicodedata
from pathlib import Path

import pytest

from faults.scanning import (
    LIBRARY,
    assert_same_rows,
    assert_sound,
    copy_photos,
    photoage,
    query,
    rows,
    scan,
    statuses,
    without_privileges,
)
from photoage.database.tables import decode_path
from photoage.errors import DecodeError
from photoage.photos.content import is_gone, read_file
from photoage.photos.walk import WalkOptions

pytestmark = pytest.mark.slow

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
TEXT = b"no photo at all, but quickly scanned"


def make_files(folder: Path, count: int) -> list[Path]:
    """Files that are no photos: what becomes of them needs no model, and hardly any time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(TEXT + b"." * number)  # of different sizes, so that none is a suspected duplicate
    return paths


def test_a_missing_photo_keeps_its_faces_and_comes_back(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    photo, *_ = copy_photos(library / "a", "orientations/1.jpg", "places/flower.jpg")
    scan(library, database=database)
    before = rows(database)
    photo.rename(tmp_path / "elsewhere")
    summary = scan(library, database=database)
    assert (summary.counts.missing, summary.counts.unchanged) == (1, 1)
    assert statuses(database) == {"1.jpg": "missing", "flower.jpg": "done"}
    assert rows(database)[str(photo)].faces == before[str(photo)].faces
    assert scan(library, database=database).counts.missing == 0  # told once

    (tmp_path / "elsewhere").rename(photo)
    assert scan(library, database=database).counts.unchanged == 2
    assert_same_rows(rows(database), before)

    photo.unlink()
    assert scan(library, database=database, prune=True).counts.missing == 1
    assert statuses(database) == {"flower.jpg": "done"}
    assert query(database, "SELECT count(*) FROM face") == [(0,)]
    assert_sound(database)


def test_a_photo_that_was_marked_missing_before_is_forgotten_too(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    gone, *_ = make_files(library, 3)
    (drive,) = make_files(library / "nas", 1)
    scan(library, database=database)
    gone.unlink()
    drive.unlink()  # the mount point of a drive that is not plugged in
    assert scan(library, database=database).counts.missing == 2
    pruned = scan(library, database=database, prune=True)
    assert pruned.counts.missing == 1
    assert pruned.warnings == []  # of the drive, the scan before has told
    assert statuses(database) == {"001.jpg": "unreadable", "002.jpg": "unreadable", "000.jpg": "missing"}
    assert query(database, "SELECT path FROM photo WHERE status = 'missing'") == [(str(drive),)]


@pytest.mark.parametrize("prune", [False, True], ids=["", "prune"])
def test_an_empty_root_marks_nothing_and_says_so(prune: bool, tmp_path: Path) -> None:
    library, other, database = tmp_path / "drive", tmp_path / "other", tmp_path / "photoage.db"
    make_files(library / "a", 3)
    make_files(other, 2)
    scan(library, other, database=database)
    before = rows(database)
    shutil.rmtree(library / "a")  # the mount point of a drive that is not plugged in
    (other / "000.jpg").unlink()
    summary = scan(library, other, database=database, prune=prune)
    assert summary.counts.missing == 1  # in the other root, which is as it should be
    assert any(f"{library}: is absent or empty" in warning for warning in summary.warnings)
    expected = {path: row for path, row in before.items() if path != str(other / "000.jpg")}
    assert_same_rows({path: row for path, row in rows(database).items() if path in expected}, expected)


def test_a_drive_mounted_inside_the_library_that_is_not_there_is_not_forgotten(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    make_files(library, 2)
    make_files(library / "nas" / "2019", 3)
    scan(library, database=database)
    shutil.rmtree(library / "nas" / "2019")  # its mount point stays, empty
    (library / "000.jpg").unlink()
    summary = scan(library, database=database, prune=True)
    assert summary.counts.missing == 4
    (warning,) = summary.warnings
    assert warning.startswith(f"{library / 'nas'}: is empty; ")
    left = query(database, "SELECT status, count(*) FROM photo GROUP BY status ORDER BY status")
    assert left == [("missing", 3), ("unreadable", 1)]
    make_files(library / "nas" / "2019", 3)
    assert scan(library, database=database, prune=True).counts.missing == 0
    shutil.rmtree(library / "nas")  # the folder itself is gone: that was meant
    assert scan(library, database=database, prune=True).warnings == []
    assert query(database, "SELECT count(*) FROM photo") == [(1,)]


def test_an_absent_root_is_an_error_and_marks_nothing(tmp_path: Path) -> None:
    library, database = tmp_path / "drive", tmp_path / "photoage.db"
    make_files(library, 2)
    scan(library, database=database)
    before = rows(database)
    library.rename(tmp_path / "unplugged")
    result = photoage("scan", "--prune", library, database=database)
    assert result.returncode == 1
    assert result.stderr.startswith(f"photoage: error: {library}: no such file or folder")
    assert "marked missing" in result.stderr
    assert_same_rows(rows(database), before)


def test_a_drive_unplugged_during_the_scan_loses_nothing(tmp_path: Path) -> None:
    library, database = tmp_path / "drive", tmp_path / "photoage.db"
    make_files(library, 90)
    scan(library, database=database)
    before = rows(database)

    def unplug(counts: object) -> None:
        if not (tmp_path / "unplugged").exists():
            library.rename(tmp_path / "unplugged")
            library.mkdir()

    summary = scan(library, database=database, progress=unplug, force=True)
    assert summary.counts.missing == 0
    assert summary.counts.unreadable < 90
    assert any("is absent or empty" in warning for warning in summary.warnings)
    assert 2 < len(summary.warnings) < 30  # some photos by name, the rest as a number
    assert_same_rows(rows(database), before)


def test_files_that_vanish_or_change_during_the_scan(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    *_, edited, known, new = make_files(library, 92)
    new.unlink()
    scan(library, database=database)
    new.write_bytes(TEXT + b" and new")

    def change(counts: object) -> None:
        if new.exists():
            new.unlink()
            known.unlink()
            edited.write_bytes(TEXT * 9)

    summary = scan(library, database=database, progress=change, force=True)
    assert not new.exists()
    assert summary.counts.unreadable == 90
    assert summary.counts.missing == 1
    found = rows(database)
    assert str(new) not in found
    assert found[str(known)].status == "missing"
    # What is stored belongs to the file that was read, so that the next scan sees whether it is that.
    again = scan(library, database=database)
    assert again.counts.seen == 90
    assert again.counts.missing == 0
    assert rows(database)[str(edited)].photo[0] == len(TEXT) * 9
    assert scan(library, database=database).counts.unchanged == 90


def test_a_folder_that_became_a_file_took_its_photos_with_it(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(TEXT)
    with pytest.raises(DecodeError, match="the file is gone") as caught:
        read_file(str(tmp_path / "folder" / "1.jpg"))
    assert caught.value.kind == "vanished"
    assert is_gone(str(tmp_path / "folder" / "1.jpg"))


@posix_only
def test_a_fifo_in_the_place_of_a_photo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DecodeError, match="not a regular file"):
        read_file(str(tmp_path / "pipe.jpg"))


@posix_only
@pytest.mark.parametrize("follow", [False, True], ids=["", "follow"])
def test_a_library_of_oddities(follow: bool, tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    photo = LIBRARY / "orientations" / "1.jpg"
    library.mkdir()
    # Two forms of one name are two files; bytes that are no UTF-8 and control characters are a name, too.
    names = [unicodedata.normalize(form, "Zoë.jpg") for form in ("NFC", "NFD")]
    names += [os.fsdecode(b"caf\xe9.jpg"), "line\nbreak.jpg", "\x1b]0;title\x07.jpg", "-rf.jpg", "=1+1.jpg"]
    for number, name in enumerate(names):
        (library / name).write_bytes(photo.read_bytes() + b"\0" * number)
    os.link(library / names[0], library / "hard_link.jpg")
    (library / "loop").mkdir()
    (library / "loop" / "again").symlink_to(library)
    (library / "self.jpg").symlink_to("self.jpg")
    (library / "link.jpg").symlink_to(names[0])
    (library / "broken.jpg").symlink_to("nowhere")
    (library / "folder.jpg").mkdir()
    (library / "@eaDir").mkdir()
    shutil.copyfile(photo, library / "@eaDir" / "thumbnail.jpg")
    (library / "._1.jpg").write_bytes(b"resource fork")
    os.mkfifo(library / "pipe.jpg")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{short}/s")
        os.link(f"{short}/s", library / "socket.jpg")

        summary = scan(library, database=database, walk=WalkOptions(follow=follow))

    expected = {*names, "hard_link.jpg"} | ({"link.jpg"} if follow else set())
    found = {os.path.relpath(decode_path(path), library): row for path, row in rows(database).items()}
    assert found.keys() == expected
    assert {row.status for row in found.values()} == {"done"}
    assert {len(row.faces) for row in found.values()} == {1}
    assert summary.counts.duplicates == len(expected) - len(names)
    assert_sound(database)
    again = scan(library, database=database, walk=WalkOptions(follow=follow))
    assert again.counts.unchanged == len(expected)
    listing = photoage("query", "--paths", "-0", database=database)
    assert sorted(listing.stdout.strip("\0").split("\0")) == sorted(str(library / name) for name in expected)


@posix_only
def test_an_unreadable_folder_hides_its_photos_without_losing_them(tmp_path: Path) -> None:
    library, database = tmp_path / "library", tmp_path / "photoage.db"
    make_files(library / "private", 2)
    make_files(library / "public", 2)
    scan(library, database=database)
    before = rows(database)
    (library / "private").chmod(0)
    try:
        result = photoage("scan", "--prune", library, database=database, prefix=without_privileges())
    finally:
        (library / "private").chmod(0o755)
    assert result.returncode == 0, result.stderr
    assert "private: permission denied" in result.stderr
    assert "2 unchanged" in result.stderr
    assert "missing" not in result.stderr
    assert_same_rows(rows(database), before)
