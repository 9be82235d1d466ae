"""What a scan writes about photos and faces, in real databases of both kinds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from databases import (
    CHECKPOINT,
    DETECTOR,
    LATER_CHECKPOINT,
    LATIN,
    Place,
    assert_sound,
    begin,
    detections,
    known,
    opened,
    run_sql,
    save,
    stored_ages,
)

from photoage.database.face_filter import FaceFilter
from photoage.database.history import iter_errors
from photoage.database.known import SAME_CONTENT, SAME_SIZE, IdSet, KnownPhoto, KnownPhotos
from photoage.database.query import iter_faces
from photoage.database.store import Store
from photoage.errors import DatabaseError
from photoage.records import DetectOptions, Estimate, PhotoFile


@pytest.fixture
def path(new_database: Callable[[], Place]) -> Place:
    return new_database()


@pytest.fixture
def store(path: Place) -> Iterator[Store]:
    with Store.open(path) as store:
        begin(store)
        yield store


# --- photos and faces ---------------------------------------------------------------------------


def test_a_photo_is_stored_with_its_faces(store: Store, path: Place) -> None:
    photo_id = save(store, LATIN, 30.12345, 8)
    store.commit()
    with opened(path, read_only=True) as engine:
        first, second = iter_faces(engine, FaceFilter())
    assert (first.path, first.face_index, first.age, first.age_low) == (LATIN, 0, 30.123, 25.123)
    assert (first.x1, first.x2, first.det_score) == (10.0, 30.123, 0.877)
    assert (first.taken_at, first.detector, first.checkpoint) == ("2020-02-03T04:05:06", "scrfd", "first")
    assert (second.face_index, second.age, second.x1) == (1, 8.0, 11.0)
    landmarks = store.known.faces(photo_id).landmarks
    assert landmarks.shape == (2, 5, 2)
    assert landmarks.dtype == np.float32
    assert np.abs(landmarks[1] - detections(2)[1].landmarks).max() <= 0.005
    assert known(store, LATIN) == KnownPhoto(
        photo_id, LATIN, 100, 1, "done", "c", store.known.detector_id, DetectOptions().key, None, "", True
    )
    assert_sound(path)


def test_a_photo_without_faces_is_done(store: Store) -> None:
    photo_id = save(store, "/p/hill.jpg")
    assert known(store, "/p/hill.jpg").status == "done"
    assert known(store, "/p/hill.jpg").estimated
    assert store.known.faces(photo_id).landmarks.shape == (0, 5, 2)


def test_reading_a_photo_again_replaces_its_faces(store: Store, path: Place) -> None:
    before = save(store, "/p/a.jpg", 1, 2, 3)
    save(store, "/p/b.jpg", 50)
    assert save(store, "/p/a.jpg", 4, size=7, content="new") == before
    store.commit()
    assert stored_ages(path) == [4.0, 50.0]
    assert known(store, "/p/a.jpg").size == 7
    assert run_sql(path, "SELECT count(*) FROM estimate") == [(2,)]
    assert_sound(path)


def test_the_options_of_detection_are_stored_with_every_photo(store: Store) -> None:
    options = {"detect": {"det_thresh": 0.6, "det_size": 960, "min_face": 30}}
    store.begin_run(["/p"], options, DETECTOR, CHECKPOINT)
    save(store, "/p/a.jpg", 1)
    assert known(store, "/p/a.jpg").detect_key == DetectOptions(0.6, 960, 30).key


def test_what_is_not_committed_is_neither_seen_nor_kept(store: Store, path: Place) -> None:
    save(store, "/p/a.jpg", 1)
    store.commit()
    save(store, "/p/a.jpg", 2)
    save(store, "/p/b.jpg", 3)
    assert stored_ages(path) == [1.0]
    store.close()
    assert stored_ages(path) == [1.0]


def test_a_save_that_fails_leaves_nothing_to_commit(store: Store, path: Place) -> None:
    save(store, "/p/a.jpg", 1)
    store.commit()
    save(store, "/p/b.jpg", 2)
    with pytest.raises(DatabaseError, match=r"(?i)not.null"):
        save(store, "/p/a.jpg", 3, float("nan"))
    store.commit()
    assert stored_ages(path) == [1.0]
    assert_sound(path)


def test_extreme_file_times_can_be_stored(store: Store) -> None:
    for number, mtime_ns in enumerate([-(2**63) - 1, -1, 2**63, 15_000_000_000_000_000_000]):
        save(store, f"/p/{number}.jpg", 1, mtime_ns=mtime_ns)
    assert known(store, "/p/1.jpg").mtime_ns == -1
    assert known(store, "/p/3.jpg").mtime_ns == 2**63 - 1


# --- unreadable photos --------------------------------------------------------------------------


def test_an_unreadable_photo_keeps_the_faces_of_the_same_file_only(store: Store, path: Place) -> None:
    same, changed = PhotoFile("/p/a.jpg", 100, 1), PhotoFile("/p/b.jpg", 100, 2)
    for file in (same, changed):
        save(store, file.path, 30)
    for file in (same, changed):
        store.save_unreadable(file, "io", f"{file.path}: input/output\n error \udce9")
    store.commit()
    assert stored_ages(path) == [30.0]
    assert known(store, "/p/a.jpg").content_hash == "c"
    assert known(store, "/p/b.jpg").content_hash is None
    with opened(path, read_only=True) as engine:
        assert list(iter_errors(engine)) == [
            (f"/p/{name}.jpg", "io", f"/p/{name}.jpg: input/output error \\udce9") for name in "ab"
        ]
    assert_sound(path)


def test_a_photo_that_is_readable_again_has_no_error_left(store: Store, path: Place) -> None:
    store.save_unreadable(PhotoFile(LATIN, 1, 1), "truncated", "short")
    save(store, LATIN, 20)
    store.commit()
    assert run_sql(path, "SELECT status, error_kind, error_message FROM photo") == [("done", None, None)]


def test_very_long_causes_are_cut(store: Store, path: Place) -> None:
    store.save_unreadable(PhotoFile("/p/a.jpg", 1, 1), "internal", "x" * 1_000_000)
    store.commit()
    ((length,),) = run_sql(path, "SELECT length(error_message) FROM photo")
    assert length == 1000


# --- what is known ------------------------------------------------------------------------------


def test_many_photos_are_looked_up_at_once(store: Store) -> None:
    paths = [f"/p/{number}.jpg" for number in range(1200)]
    for number, path in enumerate(paths):
        save(store, path, size=number)
    found = store.known.by_path([*paths, "/p/absent.jpg"])
    assert found.keys() == set(paths)
    assert store.known.hashes_by_size(range(1000, 5000)) == dict.fromkeys(range(1000, 1200), frozenset("c"))
    assert store.known.by_path([]) == {}
    assert store.known.hashes_by_size([]) == {}


def test_sizes_and_contents_are_known_of_done_and_missing_photos(store: Store) -> None:
    save(store, "/p/done.jpg", size=1, content="x")
    gone = save(store, "/p/gone.jpg", size=2, content="x")
    save(store, "/p/bad.jpg", size=3, content="x")
    store.mark_missing([gone])
    store.save_unreadable(PhotoFile("/p/bad.jpg", 3, 1), "io", "unreadable now")
    store.save_unreadable(PhotoFile("/p/worse.jpg", 4, 1), "io", "unreadable ever since")
    assert store.known.hashes_by_size({1, 2, 3, 4, 5}) == {1: frozenset("x"), 2: frozenset("x")}
    assert [photo.path for photo in store.known.by_content("x", 1)] == ["/p/done.jpg"]
    assert store.known.by_content("y", 1) == []


def test_the_hashes_of_a_size_that_too_many_photos_have_are_not_given(store: Store) -> None:
    for number in range(SAME_SIZE + 1):
        save(store, f"/p/{number}.jpg", size=7, content=f"x{number}")
        save(store, f"/q/{number}.jpg", size=8, content=f"x{number % 3}")
    assert store.known.hashes_by_size([7, 8, 9]) == {7: frozenset(), 8: frozenset()}
    store.save_unreadable(PhotoFile("/p/0.jpg", 7, 1), "io", "unreadable now")
    assert store.known.hashes_by_size([7]) == {7: frozenset(f"x{n}" for n in range(1, SAME_SIZE + 1))}


def test_among_the_same_content_missing_photos_come_first(store: Store) -> None:
    ids = [save(store, f"/p/{number}.jpg") for number in range(SAME_CONTENT + 10)]
    store.mark_missing(ids[-2:])
    store.save_unreadable(PhotoFile("/p/3.jpg", 100, 1), "io", "unreadable now, with the content it had")
    same = store.known.by_content("c", 100)
    assert len(same) == SAME_CONTENT
    assert [photo.id for photo in same[:3]] == [ids[-2], ids[-1], ids[0]]


def test_a_reader_knows_the_same_without_a_lock(store: Store, path: Place) -> None:
    save(store, "/p/a.jpg", 1)
    store.commit()
    with opened(path, read_only=True) as engine, KnownPhotos(engine) as reader:
        reader.find_models(DETECTOR[1], CHECKPOINT[1])
        assert reader.by_path(["/p/a.jpg"]) == store.known.by_path(["/p/a.jpg"])
        assert reader.detector_id == store.known.detector_id
        reader.find_models("never seen", "never seen")
        assert (reader.detector_id, reader.checkpoint_id) == (0, 0)
        assert not reader.by_path(["/p/a.jpg"])["/p/a.jpg"].estimated


# --- another checkpoint -------------------------------------------------------------------------


def test_a_new_checkpoint_estimates_stored_faces_anew(store: Store, path: Place) -> None:
    photo_id = save(store, "/p/a.jpg", 30, 8)
    begin(store, LATER_CHECKPOINT)
    assert not known(store, "/p/a.jpg").estimated
    store.add_estimates(photo_id, [Estimate(33, 30, 36), Estimate(9, 8, 10)])
    store.commit()
    assert known(store, "/p/a.jpg").estimated
    assert stored_ages(path) == [33.0, 9.0]
    assert run_sql(path, "SELECT count(*) FROM estimate") == [(4,)]
    # The first checkpoint again: its estimates are not current, so they are made anew.
    begin(store)
    assert not known(store, "/p/a.jpg").estimated
    store.add_estimates(photo_id, [Estimate(31, 30, 36), Estimate(7, 5, 10)])
    store.commit()
    assert stored_ages(path) == [31.0, 7.0]
    assert run_sql(path, "SELECT count(*) FROM estimate") == [(4,)]
    assert_sound(path)


def test_the_database_itself_allows_one_current_estimate_per_face(store: Store, path: Place) -> None:
    save(store, "/p/a.jpg", 30)
    begin(store, LATER_CHECKPOINT)
    store.close()
    with pytest.raises(Exception, match=r"(?i)unique"):
        run_sql(
            path,
            "INSERT INTO estimate (id, face_id, checkpoint_id, age, age_low, age_high, current)"
            " SELECT 9, face_id, 2, 1, 1, 1, true FROM estimate",
        )


# --- moves, duplicates, missing photos ----------------------------------------------------------


def test_a_touched_photo_keeps_its_faces(store: Store, path: Place) -> None:
    photo_id = save(store, "/p/a.jpg", 30)
    store.mark_missing([photo_id])
    store.touch(photo_id, PhotoFile("/p/a.jpg", 100, 99))
    store.commit()
    assert (known(store, "/p/a.jpg").mtime_ns, known(store, "/p/a.jpg").status) == (99, "done")
    assert stored_ages(path) == [30.0]


def test_a_moved_photo_keeps_its_faces_and_replaces_what_was_there(store: Store, path: Place) -> None:
    photo_id = save(store, "/p/a.jpg", 30)
    save(store, "/p/taken.jpg", 99)
    store.mark_missing([photo_id])
    store.relink(photo_id, PhotoFile("/p/taken.jpg", 101, 2))
    store.commit()
    assert store.known.by_path(["/p/a.jpg"]) == {}
    moved = known(store, "/p/taken.jpg")
    assert (moved.id, moved.size, moved.mtime_ns, moved.status) == (photo_id, 101, 2, "done")
    assert stored_ages(path) == [30.0]
    assert_sound(path)


def test_an_exact_duplicate_has_the_same_faces_and_estimates(store: Store, path: Place) -> None:
    source = save(store, "/p/a.jpg", 30, 8)
    begin(store, LATER_CHECKPOINT)
    store.add_estimates(source, [Estimate(33, 30, 36), Estimate(9, 8, 10)])
    save(store, "/p/copy.jpg", 50, 51, 52, content="old")
    ids = store.copy_faces(
        (source, PhotoFile(name, 100, mtime)) for name, mtime in (("/p/copy.jpg", 7), ("/p/a.jpg", 8))
    )
    copy = ids.pop("/p/copy.jpg")
    assert ids == {"/p/a.jpg": source}
    store.commit()
    assert stored_ages(path) == [33.0, 9.0, 33.0, 9.0]
    assert run_sql(path, "SELECT count(*) FROM estimate WHERE NOT current") == [(4,)]
    assert (known(store, "/p/copy.jpg").content_hash, known(store, "/p/copy.jpg").mtime_ns) == ("c", 7)
    assert known(store, "/p/copy.jpg").estimated
    assert np.array_equal(store.known.faces(copy).landmarks, store.known.faces(source).landmarks)
    with opened(path, read_only=True) as engine:
        faces = [face._replace(path="", scanned_at="") for face in iter_faces(engine, FaceFilter())]
    assert faces[:2] == faces[2:]
    assert_sound(path)


def test_missing_photos_keep_faces_and_status_and_stay_in_queries(store: Store, path: Place) -> None:
    gone, bad = save(store, "/p/a.jpg", 30), store.save_unreadable(PhotoFile("/p/b.jpg", 1, 1), "io", "bad")
    store.mark_missing([gone, bad])
    store.commit()
    assert known(store, "/p/a.jpg").status == known(store, "/p/b.jpg").status == "missing"
    assert stored_ages(path) == [30.0]
    store.mark_present(gone)
    store.mark_present(bad)
    assert (known(store, "/p/a.jpg").status, known(store, "/p/b.jpg").status) == ("done", "unreadable")


def test_pruned_photos_go_with_everything_of_theirs(store: Store, path: Place) -> None:
    ids = [save(store, f"/p/{number}.jpg", 1, 2) for number in range(1200)]
    store.prune(ids[:-1])
    store.commit()
    for table, rows in (("photo", 1), ("face", 2), ("estimate", 2)):
        assert run_sql(path, f"SELECT count(*) FROM {table}") == [(rows,)]


def test_unseen_photos_are_those_under_the_roots(store: Store) -> None:
    inside = ["/p/a.jpg", "/p/sub/b.jpg", LATIN, os.fsdecode(b"/p/\xff/c.jpg"), "/p/\U0010ffff.jpg"]
    outside = ["/p.jpg", "/p-old/a.jpg", "/p2/a.jpg", "/other/a.jpg", "/P/a.jpg"]
    ids = {path: save(store, path) for path in (*inside, *outside)}
    seen = {ids["/p/a.jpg"]}

    def unseen(*roots: str) -> list[str]:
        found = [photo.path for photo in store.known.unseen(roots, seen)]
        assert len(found) == len(set(found))
        return sorted(found)

    assert unseen("/p") == sorted(inside[1:])
    assert unseen("/p/") == unseen("/p", "/p/sub", "/p/sub/b.jpg") == unseen("/p")
    assert unseen("/p/sub/b.jpg", "/other") == ["/other/a.jpg", "/p/sub/b.jpg"]
    assert unseen("/") == sorted([*inside[1:], *outside])
    assert unseen("/nowhere") == unseen() == []
    assert unseen(os.fsdecode(b"/p/\xff")) == [os.fsdecode(b"/p/\xff/c.jpg")]
    store.mark_missing([ids["/p/sub/b.jpg"]])
    assert unseen("/p/sub") == []


def test_unseen_photos_can_be_pruned_while_they_are_found(store: Store) -> None:
    for number in range(1600):
        save(store, f"/p/{number}.jpg", 1)
    found = 0
    for photo in store.known.unseen(["/p"], set()):
        store.prune([photo.id])
        found += 1
    assert found == 1600


def test_a_set_of_ids_is_a_set() -> None:
    numbers = random.Random(1)
    ids, expected = IdSet(), set[int]()
    for _ in range(2000):
        number = numbers.randrange(1, 700)
        if numbers.random() < 0.3:
            ids.discard(number)
            expected.discard(number)
        else:
            ids.update([number, number + 1])
            expected.update([number, number + 1])
    assert {number for number in range(1000) if number in ids} == expected
    assert 10**9 not in ids
