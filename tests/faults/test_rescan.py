"""Scanning again: only what changed is opened, and nothing that is known is lost or done twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from sqlalchemy import Engine, event

from faults.scanning import (
    NO_FACE,
    PORTRAIT,
    Scanned,
    assert_same_rows,
    assert_sound,
    photoage,
    query,
    replace_content,
    rows,
    scan,
)
from photoage.ages.checkpoint import int8_path
from photoage.ages.int8 import SOURCE_KEY
from photoage.files import file_sha256
from photoage.models import default_checkpoint
from photoage.photos.walk import WalkOptions
from photoage.records import DetectOptions

pytestmark = pytest.mark.slow


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every SQL statement that any engine executes."""
    executed: list[str] = []

    def record(connection: object, cursor: object, statement: str, *rest: object) -> None:
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def test_unchanged_photos_are_not_opened(scanned: Scanned) -> None:
    before = rows(scanned.database)
    for path in list(scanned.folder.iterdir()):
        # Whoever opened a photo would find another one; and no photo may be opened at all.
        replace_content(path, PORTRAIT, keep_time=True)
        path.chmod(0)
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.unchanged, summary.counts.seen) == (4, 4)
    assert_same_rows(rows(scanned.database), before)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_rescan_makes_no_system_call_that_opens_a_photo(scanned: Scanned, tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    prefix = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,openat2,creat", "-o", str(log))
    result = photoage("scan", scanned.folder, database=scanned.database, prefix=prefix)
    if "ptrace" in result.stderr and result.returncode != 0:
        pytest.skip("strace is not permitted here")
    assert "4 unchanged" in result.stderr
    opened = [line for line in log.read_text(errors="replace").splitlines() if str(scanned.folder) in line]
    assert len(opened) >= 1  # the folder itself
    assert not [line for line in opened if ".jpg" in line]


def test_a_touched_photo_keeps_its_faces_without_being_detected_again(scanned: Scanned) -> None:
    ids = query(scanned.database, "SELECT id FROM face ORDER BY id")
    path = scanned.folder / "1.jpg"
    os.utime(path, (1, 1))
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.unchanged, summary.counts.done) == (4, 0)
    assert query(scanned.database, "SELECT id FROM face ORDER BY id") == ids
    assert query(scanned.database, "SELECT mtime_ns FROM photo WHERE path = ?", str(path)) == [(10**9,)]
    with statements() as executed:
        scan(scanned.folder, database=scanned.database)
    assert not [s for s in executed if s.startswith("UPDATE photo")]


def test_an_edited_photo_is_read_again_and_its_old_faces_go(scanned: Scanned) -> None:
    shutil.copyfile(PORTRAIT.parents[1] / NO_FACE, scanned.folder / "1.jpg")
    (scanned.folder / "1.jpg").write_bytes((scanned.folder / "1.jpg").read_bytes() + b"\0")
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.unchanged, summary.counts.done, summary.counts.faces) == (3, 1, 0)
    assert len(rows(scanned.database)[str(scanned.folder / "6.jpg")].faces) == 1
    assert rows(scanned.database)[str(scanned.folder / "1.jpg")].faces == ()
    assert query(scanned.database, "SELECT count(*) FROM estimate") == [(1,)]
    assert_sound(scanned.database)


def test_an_edit_that_breaks_a_photo_takes_its_faces_away(scanned: Scanned) -> None:
    (scanned.folder / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    summary = scan(scanned.folder, database=scanned.database)
    assert summary.counts.unreadable == 1
    row = rows(scanned.database)[str(scanned.folder / "1.jpg")]
    assert (row.status, row.faces) == ("unreadable", ())


def test_moved_and_renamed_photos_are_relinked(scanned: Scanned) -> None:
    before = rows(scanned.database)
    ids = query(scanned.database, "SELECT id FROM face ORDER BY id")
    (scanned.folder / "new").mkdir()
    (scanned.folder / "1.jpg").rename(scanned.folder / "new" / "moved.jpg")
    (scanned.folder / "flower.jpg").rename(scanned.folder / "0-renamed.jpg")
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.relinked, summary.counts.unchanged, summary.counts.done) == (2, 2, 0)
    assert summary.counts.missing == 0
    assert query(scanned.database, "SELECT id FROM face ORDER BY id") == ids
    names = {"1.jpg": "new/moved.jpg", "flower.jpg": "0-renamed.jpg"}
    moved = {str(scanned.folder / names.get(Path(p).name, Path(p).name)): row for p, row in before.items()}
    assert_same_rows(rows(scanned.database), moved)


def test_a_name_with_other_capitals_is_the_same_photo(scanned: Scanned, tmp_path: Path) -> None:
    """As on macOS and Windows, where the photo is still found under its old name."""
    ids = query(scanned.database, "SELECT id FROM face ORDER BY id")
    (scanned.folder / "Summer").mkdir()
    (scanned.folder / "1.jpg").rename(scanned.folder / "Summer" / "1.jpg")
    assert scan(scanned.folder, database=scanned.database).counts.relinked == 1
    (scanned.folder / "Summer").rename(scanned.folder / "summer")
    (scanned.folder / "Summer").symlink_to("summer")
    for expected in (1, 0):
        counts = scan(scanned.folder, database=scanned.database).counts
        assert (counts.relinked, counts.duplicates, counts.missing) == (expected, 0, 0)
    assert query(scanned.database, "SELECT id FROM face ORDER BY id") == ids


def test_two_names_of_a_hard_link_that_differ_in_capitals_are_two_photos(scanned: Scanned) -> None:
    os.link(scanned.folder / "1.jpg", scanned.folder / "1.JPG")
    for expected in (1, 0):
        counts = scan(scanned.folder, database=scanned.database).counts
        assert (counts.relinked, counts.duplicates) == (0, expected)


def test_every_photo_has_a_line_at_debug_level(scanned: Scanned, caplog: pytest.LogCaptureFixture) -> None:
    os.utime(scanned.folder / "flower.jpg", (1, 1))
    (scanned.folder / "6.jpg").rename(scanned.folder / "moved.jpg")
    shutil.copyfile(scanned.folder / "1.jpg", scanned.folder / "copy.jpg")
    shutil.copyfile(PORTRAIT, scanned.folder / "new.png")
    (scanned.folder / "text.jpg").write_text("no photo")
    with caplog.at_level("DEBUG", "photoage.scan"):
        scan(scanned.folder, database=scanned.database)
    lines = [record.getMessage().removeprefix(f"{scanned.folder}/") for record in caplog.records]
    assert sorted(re.sub(r"\d+ ms", "N ms", line) for line in lines) == [
        "1.jpg: unchanged, N ms, 0 faces",
        "copy.jpg: duplicate, N ms, 0 faces",
        "damaged.jpg: unchanged, N ms, 0 faces",
        "flower.jpg: content unchanged, N ms, 0 faces",
        "moved.jpg: moved, N ms, 0 faces",
        "new.png: read, N ms, 1 face",
        "text.jpg: not read (unsupported), N ms, 0 faces",
    ]


def test_a_duplicate_gets_the_faces_of_its_original(scanned: Scanned) -> None:
    shutil.copyfile(scanned.folder / "1.jpg", scanned.folder / "copy.jpg")
    os.link(scanned.folder / "6.jpg", scanned.folder / "hard_link.jpg")
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.duplicates, summary.counts.done, summary.counts.unchanged) == (2, 0, 4)
    found = {Path(path).name: row for path, row in rows(scanned.database).items()}
    assert found["copy.jpg"].faces == found["1.jpg"].faces
    assert found["hard_link.jpg"] == found["6.jpg"]
    assert_sound(scanned.database)


def test_checksum_finds_a_change_that_size_and_time_hide(scanned: Scanned) -> None:
    replace_content(scanned.folder / "1.jpg", scanned.folder / "6.jpg", keep_time=True)
    assert scan(scanned.folder, database=scanned.database).counts.unchanged == 4
    summary = scan(scanned.folder, database=scanned.database, checksum=True)
    assert (summary.counts.done, summary.counts.unchanged) == (1, 3)
    found = query(scanned.database, "SELECT count(DISTINCT content_hash) FROM photo")
    assert found == [(3,)]
    assert_sound(scanned.database)


def test_force_reads_everything_again_to_the_same_rows(scanned: Scanned) -> None:
    before = rows(scanned.database)
    summary = scan(scanned.folder, database=scanned.database, force=True)
    assert (summary.counts.done, summary.counts.unreadable, summary.counts.unchanged) == (3, 1, 0)
    assert_same_rows(rows(scanned.database), before)
    assert_sound(scanned.database)


def test_unreadable_photos_wait_for_retry_errors(scanned: Scanned) -> None:
    path = scanned.folder / "damaged.jpg"
    info = path.stat()
    assert scan(scanned.folder, database=scanned.database).counts.unchanged == 4
    summary = scan(scanned.folder, database=scanned.database, retry_errors=True)
    assert (summary.counts.unreadable, summary.counts.unchanged) == (1, 3)
    shutil.copyfile(scanned.folder / "6.jpg", path)  # repaired: another size
    assert path.stat().st_size != info.st_size
    summary = scan(scanned.folder, database=scanned.database)
    assert (summary.counts.duplicates, summary.counts.unchanged) == (1, 3)
    assert query(scanned.database, "SELECT count(*) FROM photo WHERE error_kind IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("kind", ["internal", "unreadable", "no-plugin"])
def test_what_lies_not_in_the_photo_is_tried_again(scanned: Scanned, kind: str) -> None:
    """Permissions, drives, bugs and installations are mended some day; a damaged file is not."""
    with sqlite3.connect(scanned.database) as connection:
        connection.execute("UPDATE photo SET status = 'unreadable', error_kind = ?", (kind,))
    connection.close()
    counts = scan(scanned.folder, database=scanned.database).counts
    assert (counts.done, counts.unreadable, counts.unchanged) == (3, 1, 0)
    counts = scan(scanned.folder, database=scanned.database).counts
    assert (counts.done, counts.unreadable, counts.unchanged) == (0, 0, 4)


def test_another_threshold_detects_again(scanned: Scanned) -> None:
    options = DetectOptions(det_thresh=0.6)
    summary = scan(scanned.folder, database=scanned.database, detect=options)
    assert (summary.counts.done, summary.counts.unchanged) == (3, 1)  # a damaged photo has no faces
    found_with = query(scanned.database, "SELECT DISTINCT detect_key FROM photo WHERE status = 'done'")
    assert found_with == [(options.key,)]
    assert scan(scanned.folder, database=scanned.database, detect=options).counts.unchanged == 4
    assert_sound(scanned.database)


def rename_checkpoint(target: Path) -> Path:
    """The shipped checkpoint under another name, in its metadata as well: another file, same weights.

    Its 8-bit form comes along: other arithmetic would move estimates by more than a rescan may.
    """
    data = default_checkpoint().read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    info = json.loads(header["__metadata__"]["photoage"])
    header["__metadata__"]["photoage"] = json.dumps(info | {"name": "other"})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    quantised = onnx.load_model(int8_path(default_checkpoint()))
    onnx.helper.set_model_props(quantised, {SOURCE_KEY: file_sha256(target)})
    onnx.save_model(quantised, int8_path(target))
    return target


def test_another_checkpoint_estimates_again_without_detecting(scanned: Scanned, tmp_path: Path) -> None:
    before = rows(scanned.database)
    # What only a detection could put right: it must still be there afterwards.
    with sqlite3.connect(scanned.database) as connection:
        connection.execute("UPDATE face SET det_score = 0.111")
    connection.close()
    other = rename_checkpoint(tmp_path / "other.safetensors")
    ids = query(scanned.database, "SELECT id FROM face ORDER BY id")

    summary = scan(scanned.folder, database=scanned.database, checkpoint=str(other))

    assert (summary.counts.re_estimated, summary.counts.unchanged, summary.counts.done) == (2, 2, 0)
    assert query(scanned.database, "SELECT id FROM face ORDER BY id") == ids
    assert query(scanned.database, "SELECT DISTINCT det_score FROM face") == [(0.111,)]
    assert query(scanned.database, "SELECT count(*), sum(current) FROM estimate") == [(4, 2)]
    for path, row in rows(scanned.database).items():
        for new, old in zip(row.ages, before[path].ages, strict=True):
            assert new == pytest.approx(old, abs=0.5)  # a face is cut from stored, rounded landmarks
    assert_sound(scanned.database)
    again = scan(scanned.folder, database=scanned.database, checkpoint=str(other))
    assert again.counts.unchanged == 4


def test_the_statements_of_a_rescan_do_not_grow_with_each_file(scanned: Scanned, tmp_path: Path) -> None:
    library = tmp_path / "many"
    numbers = []
    for count in (100, 1500):
        for i in range(count):
            path = library / f"{i % 7}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no photo")
        scan(library, database=scanned.database)
        with statements() as executed:
            assert scan(library, database=scanned.database).counts.unchanged == count
        numbers.append(len(executed))
    assert numbers[1] - numbers[0] <= 2 * 3 * (1500 // 500)


def test_excluded_photos_are_told_of_and_forgotten_with_prune(scanned: Scanned) -> None:
    inside = scanned.folder / "Screenshots"
    inside.mkdir()
    for name in ("1.jpg", "flower.jpg"):
        (scanned.folder / name).rename(inside / name)
    assert scan(scanned.folder, database=scanned.database).counts.relinked == 2
    walk = WalkOptions(exclude=("Screenshots", "damaged.*"))
    told = scan(scanned.folder, database=scanned.database, walk=walk)
    assert (told.excluded, told.forgotten, told.counts.missing) == (3, 0, 0)
    assert len(rows(scanned.database)) == 4
    pruned = scan(scanned.folder, database=scanned.database, walk=walk, prune=True)
    assert (pruned.excluded, pruned.forgotten, pruned.counts.missing) == (3, 3, 0)
    assert [Path(path).name for path in rows(scanned.database)] == ["6.jpg"]
    assert len(list(inside.iterdir())) == 2
    assert_sound(scanned.database)
    assert scan(scanned.folder, database=scanned.database, walk=walk, prune=True).excluded == 0


def test_a_folder_that_is_a_root_too_is_not_excluded_below_another(scanned: Scanned) -> None:
    inside = scanned.folder / "in"
    inside.mkdir()
    (scanned.folder / "1.jpg").rename(inside / "1.jpg")
    walk = WalkOptions(exclude=("/in",))
    summary = scan(scanned.folder, inside, database=scanned.database, walk=walk, prune=True)
    assert (summary.excluded, len(rows(scanned.database))) == (0, 4)
