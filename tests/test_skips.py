"""What a scan of a folder passes over: photo programs' own folders, marked ones, files that are no photos."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from small_library import Run, runner

from photoage.photos import choice
from photoage.photos.own import JPEG_COMMENT, is_own, png_mark
from photoage.photos.skips import PassedOver
from photoage.photos.suffixes import PHOTOS
from photoage.photos.walk import WalkOptions, exclusion, walk, walk_changed
from photoage.records import PhotoFile, WalkProblem

EVERYWHERE = WalkOptions(skip=False)


def make(root: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def found(root: Path, options: WalkOptions = WalkOptions(), passed: PassedOver | None = None) -> list[str]:
    entries = list(walk([str(root)], options, passed))
    assert not any(isinstance(entry, WalkProblem) for entry in entries)
    return [Path(entry.path).relative_to(root).as_posix() for entry in entries]


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kept", "passed"),
    [
        (["P.photoslibrary/originals/0/a.heic"], ["P.photoslibrary/resources/derivatives/0/a.jpeg"]),
        (["P.photoslibrary/Masters/2019/a.jpg"], ["P.photoslibrary/Thumbnails/2019/a.jpg"]),
        (["A.aplibrary/Masters/a.jpg"], ["A.aplibrary/Previews/a.jpg"]),
        (["I.photolibrary/Originals/a.jpg"], ["I.photolibrary/Previews/a.jpg"]),
        (["i/AlbumData.xml", "i/Originals/a.jpg"], ["i/Previews/a.jpg", "i/Thumbnails/a.jpg"]),
        (["iPhoto Library/Originals/a.jpg"], ["iPhoto Library/Thumbnails/a.jpg"]),
        (["immich/upload/a.jpg"], ["immich/thumbs/a.webp", "immich/encoded-video/a.jpg"]),
        (["immich/library/a.jpg"], ["immich/thumbs/a.webp", "immich/profile/a.jpg"]),
        (["pp/originals/a.jpg"], ["pp/storage/cache/thumbnails/a.jpg", "pp/storage/sidecar/a.jpg"]),
        (["a.jpg"], [".photoprism/a.jpg", ".dtrash/files/a.jpg", ".picasaoriginals/a.jpg"]),
        (["nc/anna/files/a.jpg"], ["nc/appdata_oc1x2y/preview/1/2/a.jpg"]),
        (
            ["nc/anna/files/a.jpg"],
            [
                "nc/anna/files_trashbin/files/b/a.jpg",
                "nc/anna/thumbnails/1/32-32.jpg",
                "nc/anna/files_versions/a.jpg",
                "nc/__groupfolders/trash/1/a.jpg",
            ],
        ),
        (["piwigo/upload/a.jpg"], ["piwigo/_data/i/upload/a-th.jpg"]),
        (["lr/a.jpg"], ["lr/Lr Previews.lrdata/0/a.jpg", "lr/Lr.lrcat-data/a.jpg"]),
        (["picasa/.picasa.ini", "picasa/a.jpg"], ["picasa/Originals/a.jpg"]),
        (["a.jpg"], ["@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", ".@__thumb/a.jpg"]),
        (["a.jpg"], ["m/.nomedia", "m/a.jpg", "m/in/a.jpg"]),
        (["a.jpg"], ["m/.photoageignore", "m/a.jpg", "m/in/a.jpg"]),
    ],
)
def test_folders_of_photo_programs_are_passed_over(
    tmp_path: Path, kept: list[str], passed: list[str]
) -> None:
    make(tmp_path, *kept, *passed)
    photos = [name for name in sorted(kept + passed) if Path(name).suffix.lower() in PHOTOS]
    assert found(tmp_path) == [name for name in photos if name in kept]
    assert found(tmp_path, EVERYWHERE) == photos
    is_left_out = exclusion([str(tmp_path)], WalkOptions())
    visible = [name for name in photos if not any(p.startswith((".", "@")) for p in Path(name).parts)]
    expected = [name for name in photos if name in kept]
    assert [name for name in visible if not is_left_out(str(tmp_path / name))] == expected
    changed = [str(tmp_path / name) for name in photos]
    told = walk_changed([str(tmp_path)], changed)
    assert sorted(entry.path for entry in told) == [str(tmp_path / name) for name in expected]


def test_a_name_that_people_use_too_is_no_evidence(tmp_path: Path) -> None:
    names = ["thumbs/a.jpg", "profile/upload/a.jpg", "Originals/a.jpg", "Previews/a.jpg", "cache/a.jpg"]
    names += ["preview/a.jpg", "i/a.jpg", "a/library/profile/a.jpg", "trash/a.jpg", "storage/2019/a.jpg"]
    names += ["sidecar/a.jpg", "files/a.jpg", "thumbnails/a.jpg", "uploads/a.jpg", "versions/a.jpg"]
    make(tmp_path, *names)
    assert found(tmp_path) == sorted(names)


def test_what_is_named_is_scanned_whatever_it_is(tmp_path: Path) -> None:
    make(tmp_path, "immich/upload/a.jpg", "immich/thumbs/b.jpg", "m/.nomedia", "m/c.jpg")
    make(tmp_path, "n/.photoageignore", "n/d.jpg")
    for folder, photo in (("immich/thumbs", "b.jpg"), ("m", "c.jpg"), ("n", "d.jpg"), ("m/c.jpg", ".")):
        assert found(tmp_path / folder) == [photo]
    roots = [str(tmp_path), str(tmp_path / "immich" / "thumbs")]
    assert len(list(walk(roots))) == 2


def test_photoageignore_holds_the_rules_of_gitignore(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "a/x.png", "a/in/x.png", "a/in/y.png", "a/scans/x.jpg", "x.png")
    make(tmp_path, "a/.photoageignore", content=b"# a comment\n*.png\n/scans/\n")
    make(tmp_path, "a/in/.photoageignore", content="!y.png\n".encode("utf-8-sig"))
    left = ["a/in/y.png", "a/x.jpg", "x.png"]
    assert found(tmp_path) == left
    assert found(tmp_path / "a") == ["in/y.png", "x.jpg"]
    photos = [str(path) for path in sorted(tmp_path.rglob("*.[jp][pn]g"))]
    is_left_out = exclusion([str(tmp_path)], WalkOptions())
    assert [path for path in photos if not is_left_out(path)] == [str(tmp_path / name) for name in left]
    told = walk_changed([str(tmp_path)], photos)
    assert sorted(entry.path for entry in told) == [str(tmp_path / name) for name in left]


def test_rules_that_cannot_be_read_leave_the_folder_out_and_say_so(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b.jpg")
    make(tmp_path, "a/.photoageignore", content=b"!\n")
    problem, photo = walk([str(tmp_path)])
    assert isinstance(problem, WalkProblem)
    assert problem.path == str(tmp_path / "a" / ".photoageignore")
    assert photo.path == str(tmp_path / "b.jpg")
    below = str(tmp_path / "a" / "x.jpg")
    assert list(walk_changed([str(tmp_path)], [below])) == []
    assert not exclusion([str(tmp_path)], WalkOptions())(below)  # --prune forgets nothing by chance


def test_content_decides_where_the_name_says_nothing(tmp_path: Path) -> None:
    jpeg = encoded("JPEG")
    photos = ["IMG_0001", "Scan 12.05.1984", "a.jpeg~", "a.jpg_large", "a.dat"]
    make(tmp_path, *photos, "a.jpg_original", "a.thm", "a.txt", "a.jpg.part", ".hidden", content=jpeg)
    make(tmp_path, "notes", "b.dat", content=b"BMW, and other words")
    passed = PassedOver()
    assert found(tmp_path, passed=passed) == sorted(photos)
    assert passed == PassedOver(unknown=2)
    assert [e.path for e in walk_changed([str(tmp_path)], [str(tmp_path / "IMG_0001")])] == [
        str(tmp_path / "IMG_0001")
    ]


def test_files_with_usual_names_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b.txt", "c.mp4", "d.xmp", "e/Thumbs.db")

    def fail(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("builtins.open", fail)
    assert len(list(walk([str(tmp_path)]))) == 1


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "photo_suffixes", lambda: PHOTOS)  # as without the packages for more
    make(tmp_path, "a.jpg", "a.cr2", "b.CR2", "c.jxl", "v.mp4", "w.MOV", "034.2_IMG_1_5f3a90c1_0.jpg")
    make(tmp_path, "Thumbs.db", "a.xmp", "a.jpg.json", "upload/a.jpg", "thumbs/a.jpg", "m/.nomedia", "no")
    passed = PassedOver()
    assert found(tmp_path, passed=passed) == ["a.jpg", "upload/a.jpg"]
    lacking = Counter({".cr2": 1, ".jxl": 1})
    assert passed == PassedOver(2, lacking, raws=1, crops=1, unknown=1, folders=1, marked=1)
    excluded = PassedOver()
    found(tmp_path, WalkOptions(exclude=("*.mp4", "thumbs", "no")), excluded)
    assert (excluded.videos, excluded.folders, excluded.unknown) == (1, 0, 0)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, sample_library: Path) -> Path:
    folder = tmp_path_factory.mktemp("library") / "photos"
    (folder / "thumbs").mkdir(parents=True)
    (folder / "upload").mkdir()
    shutil.copy(sample_library / "people" / "grace_hopper.jpg", folder / "a.jpg_large")
    shutil.copy(sample_library / "people" / "eileen_collins.png", folder / "thumbs" / "b.png")
    (folder / "v.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def run(library: Path) -> Run:
    return runner(library.parent / "photoage.db")


def test_a_scan_says_what_it_passed_over(library: Path, run: Run) -> None:
    told = "passed over: 1 video, 1 folder of photo programs\n"
    assert told in run("scan", "-j", "1", str(library)).stderr
    assert told in run("scan", "-j", "1", "-n", str(library)).stderr
    assert "passed over" not in run("-q", "scan", "-j", "1", str(library)).stderr
    every = run("scan", "-j", "1", "--no-skip", str(library)).stderr
    assert "passed over: 1 video\n" in every
    assert "2 photos: 1 read, 1 unchanged" in every
    pruned = run("scan", "-j", "1", "--prune", str(library)).stderr
    assert told in pruned  # of a library without any change, too
    assert "1 stored photo is excluded now, and forgotten" in pruned
    assert '"skip": false' in run("runs", "--json").stdout.replace("\\", "")


def test_no_faces_are_looked_for_on_pictures_by_photoage(library: Path, run: Run) -> None:
    run("scan", "-j", "1", str(library))
    picture, crops = library / "boxes.png", library / "crops"
    run("show", str(library / "a.jpg_large"), "-o", str(picture))
    run("export", "--crops", str(crops), "--crop-size", "400")
    (crop,) = crops.iterdir()
    assert is_own(picture.read_bytes())
    assert is_own(crop.read_bytes())
    crop.rename(library / "renamed.jpg")
    told = run("scan", "-j", "1", str(library)).stderr
    assert "3 photos: 2 read, 1 unchanged; 0 new faces" in told
    assert "passed over: 1 video, 2 pictures by photoage, 1 folder of photo programs\n" in told
    names = library.parent / "names"
    names.write_text(f"{picture}\n{library / 'renamed.jpg'}\n")
    named = runner(library.parent / "named.db")("scan", "-j", "1", "--files-from", str(names)).stderr
    assert "passed over: 2 pictures by photoage\n" in named
    assert run("query", "--paths").stdout == f"{library / 'a.jpg_large'}\n"
    again = run("scan", "-j", "1", "--no-skip", "--force", str(picture), str(library / "renamed.jpg"))
    assert "2 read" in again.stderr
    assert str(picture) in run("query", "--paths").stdout


def test_the_mark_is_in_png_and_jpeg(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.save(tmp_path / "a.png", pnginfo=png_mark())
    image.save(tmp_path / "a.jpg", comment=JPEG_COMMENT)
    assert all(is_own((tmp_path / name).read_bytes()) for name in ("a.png", "a.jpg"))
    assert not is_own(encoded("PNG"))
    assert not is_own(encoded("JPEG"))


def test_a_folder_of_programs_is_found_with_follow_and_without(tmp_path: Path) -> None:
    make(tmp_path, "x/upload/a.jpg", "x/thumbs/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    entries = walk([str(tmp_path)], WalkOptions(follow=True))
    assert [entry.path for entry in entries if isinstance(entry, PhotoFile)] == [
        str(tmp_path / "link" / "upload" / "a.jpg")
    ]
