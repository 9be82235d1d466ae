"""Sidecars of real, scanned photos, through the command line and read back by exiftool."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ScannedLibrary
from databases import without_privileges
from exiftool import exiftool, read_regions, read_tags, region, region_info, write_sidecar
from PIL import Image, ImageOps
from small_library import Run, runner

from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan

ORIENTATIONS = range(1, 9)


@pytest.fixture(scope="module")
def run(scanned: ScannedLibrary) -> Run:
    return runner(scanned.database)


@pytest.fixture(scope="module")
def sidecars(scanned: ScannedLibrary, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the library's sidecars, apart from the photos; do not change them."""
    folder = tmp_path_factory.mktemp("sidecars")
    result = run("export", "--sidecar", "xmp", "--sidecar-dir", str(folder))
    assert result.stderr.endswith("23 created, 0 changed, 0 unchanged\n")
    return folder / scanned.library.relative_to("/")


@pytest.fixture(scope="module")
def scanned_pair(tmp_path_factory: pytest.TempPathFactory, sample_library: Path) -> ScannedLibrary:
    """Two scanned photos: orientation 6 and the portrait of Grace Hopper."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "photos").mkdir()
    shutil.copy(sample_library / "orientations" / "6.jpg", folder / "photos" / "6.jpg")
    shutil.copy(sample_library / "people" / "grace_hopper.jpg", folder / "photos" / "-hopper\n<&.jpg")
    scan([str(folder / "photos")], folder / "photoage.db", ScanOptions(workers=1))
    return ScannedLibrary(folder / "photos", folder / "photoage.db")


@pytest.fixture
def pair(scanned_pair: ScannedLibrary) -> ScannedLibrary:
    """The two photos without any sidecar."""
    for sidecar in scanned_pair.library.glob("*.xmp"):
        shutil.rmtree(sidecar) if sidecar.is_dir() else sidecar.unlink()
    return scanned_pair


def region_pixels(photo: Path, sidecar: Path) -> Image.Image:
    """What the one region of a sidecar shows of the stored photo, turned upright."""
    (info,) = read_tags(sidecar)
    with Image.open(photo) as image:
        stored = image.convert("RGB")
        assert (info["RegionInfo"]["AppliedToDimensions"]) == {
            "W": stored.width, "H": stored.height, "Unit": "pixel"
        }  # fmt: skip
        (found,) = info["RegionInfo"]["RegionList"]
        area = found["Area"]
        assert area["Unit"] == "normalized"
        left, top = area["X"] - area["W"] / 2, area["Y"] - area["H"] / 2
        box = left * stored.width, top * stored.height
        crop = stored.crop(
            (round(box[0]), round(box[1]), round(box[0] + area["W"] * stored.width),
             round(box[1] + area["H"] * stored.height))
        )  # fmt: skip
        crop.getexif()[0x0112] = image.getexif().get(0x0112, 1)
        return ImageOps.exif_transpose(crop).resize((30, 40))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_region_lies_on_the_face_in_every_orientation(
    scanned: ScannedLibrary, sidecars: Path, orientation: int
) -> None:
    photos, xmp = scanned.library / "orientations", sidecars / "orientations"
    found = np.asarray(
        region_pixels(photos / f"{orientation}.jpg", xmp / f"{orientation}.jpg.xmp"), np.float32
    )
    with Image.open(photos / "1.jpg") as upright:
        face = upright.convert("RGB").crop((148, 62, 239, 179)).resize((30, 40))  # as the scan found it
    assert np.abs(found - np.asarray(face, np.float32)).mean() < 8


def test_exiftool_reads_what_the_database_has(run: Run, scanned: ScannedLibrary, sidecars: Path) -> None:
    faces = {face["path"]: face for face in json.loads(run("query", "--json").stdout)}
    files = sorted(sidecars.rglob("*.xmp"))
    assert len(files) == len(faces) == 23
    for tags in read_tags(*files):
        photo = scanned.library / Path(tags["SourceFile"]).relative_to(sidecars).with_suffix("")
        face = faces[str(photo)]
        (found,) = tags["RegionInfo"]["RegionList"]
        assert found["Type"] == "Face"
        assert found["Extensions"] == {
            "XMP-photoage:Added": True,
            "XMP-photoage:Age": face["age"],
            "XMP-photoage:AgeLow": face["age_low"],
            "XMP-photoage:AgeHigh": face["age_high"],
            "XMP-photoage:DetScore": face["det_score"],
            "XMP-photoage:Detector": face["detector"],
            "XMP-photoage:Checkpoint": face["checkpoint"],
        }
        if "orientations" not in photo.parts and photo.suffix != ".heic":  # stored upright
            area, width, height = found["Area"], face["photo_width"], face["photo_height"]
            assert (area["X"] - area["W"] / 2) * width == pytest.approx(face["x1"], abs=0.01)
            assert (area["Y"] + area["H"] / 2) * height == pytest.approx(face["y2"], abs=0.01)


def test_heic_is_described_as_its_exif_says(sidecars: Path) -> None:
    """As by cameras that write HEIC: their regions are those of the stored image, too."""
    (heic, jpeg) = read_tags(sidecars / "formats/portrait.heic.xmp", sidecars / "orientations/6.jpg.xmp")
    assert heic["RegionInfo"]["AppliedToDimensions"] == {"W": 512, "H": 384, "Unit": "pixel"}
    for axis in "XYWH":
        areas = [tags["RegionInfo"]["RegionList"][0]["Area"][axis] for tags in (heic, jpeg)]
        assert areas[0] == pytest.approx(areas[1], abs=0.01)


def test_exiftool_finds_nothing_to_warn_of(sidecars: Path) -> None:
    files = sorted(sidecars.rglob("*.xmp"))
    checked = exiftool("-validate", "-warning", "-error", "-a", "-S", *files).splitlines()
    assert [line for line in checked if not line.startswith("====")][:-1] == ["Validate: OK"] * len(files)


def test_beside_the_photos_twice_and_photos_untouched(pair: ScannedLibrary) -> None:
    run = runner(pair.database)
    photos = {path: (path.read_bytes(), path.stat()) for path in pair.library.iterdir()}
    dry = run("export", "--sidecar", "xmp", "-n")
    assert dry.stdout.splitlines() == [
        f"create {pair.library}/-hopper\\u000a<&.jpg.xmp", f"create {pair.library}/6.jpg.xmp"
    ]  # fmt: skip
    assert sorted(pair.library.iterdir()) == sorted(photos)

    assert run("export", "--sidecar", "xmp").stderr == "sidecars: 2 created, 0 changed, 0 unchanged\n"
    sidecars = {path: (path.read_bytes(), path.stat()) for path in pair.library.glob("*.xmp")}
    assert {path.name for path in sidecars} == {"6.jpg.xmp", "-hopper\n<&.jpg.xmp"}
    assert run("export", "--sidecar", "xmp").stderr == "sidecars: 0 created, 0 changed, 2 unchanged\n"
    assert run("export", "--sidecar", "xmp", "-n").stdout == ""
    for path, (content, stat) in {**sidecars, **photos}.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert len(list(pair.library.iterdir())) == 4
    again = scan([str(pair.library)], pair.database, ScanOptions(workers=1))
    assert (again.counts.seen, again.counts.redated) == (2, 2)  # a sidecar that came may hold a date
    again = scan([str(pair.library)], pair.database, ScanOptions(workers=1))
    assert (again.counts.seen, again.counts.unchanged) == (2, 2)


def test_what_others_wrote_stays(pair: ScannedLibrary) -> None:
    sidecar, run = pair.library / "6.jpg.xmp", runner(pair.database)
    write_sidecar(
        sidecar,
        "-XMP-dc:Subject=holiday",
        "-XMP-dc:Subject=été & <fun>",
        "-XMP-xmp:Rating=4",
        region_info(
            512,
            384,
            region(0.24, 0.5, 0.3, 0.35, Name="Eileen Collins", Type="Face"),
            region(0.8, 0.2, 0.1, 0.1, Name="Bella", Type="Pet"),
        ),
    )
    sidecar.chmod(0o640)
    (before,) = read_tags(sidecar)
    assert "change " in run("export", "--sidecar", "xmp", "-n").stdout
    run("export", "--sidecar", "xmp")
    (after,) = read_tags(sidecar)
    extensions = after["RegionInfo"]["RegionList"][0].pop("Extensions")
    assert after == before
    assert 15 < extensions["XMP-photoage:Age"] < 40
    assert "XMP-photoage:Added" not in extensions
    assert sidecar.stat().st_mode & 0o777 == 0o640
    content = sidecar.read_bytes()
    assert content.startswith("<?xpacket begin='\ufeff'".encode())
    assert content.endswith(b"<?xpacket end='w'?>\n")
    run("export", "--sidecar", "xmp")
    assert sidecar.read_bytes() == content


def test_a_face_that_another_program_lacks_is_added(pair: ScannedLibrary) -> None:
    sidecar, run = pair.library / "6.jpg.xmp", runner(pair.database)
    write_sidecar(sidecar, region_info(512, 384, region(0.7, 0.7, 0.2, 0.2, Name="Somebody", Type="Face")))
    run("export", "--sidecar", "xmp")
    first, second = read_regions(sidecar)
    assert (first["Name"], "Extensions" in first) == ("Somebody", False)
    assert second["Extensions"]["XMP-photoage:Added"] is True
    content = sidecar.read_bytes()
    run("export", "--sidecar", "xmp")
    assert sidecar.read_bytes() == content


def test_a_name_given_to_our_region_stays(pair: ScannedLibrary) -> None:
    """Another program rewrites the sidecar: it names our region, and adds keywords."""
    sidecar, run = pair.library / "6.jpg.xmp", runner(pair.database)
    run("export", "--sidecar", "xmp")
    exiftool("-q", "-overwrite_original", "-XMP-dc:Subject=space", sidecar)
    run("export", "--sidecar", "xmp")
    assert len(read_regions(sidecar)) == 1
    text = sidecar.read_text().replace("<mwg-rs:Type>", "<mwg-rs:Name>Eileen</mwg-rs:Name><mwg-rs:Type>")
    sidecar.write_text(text)
    run("export", "--sidecar", "xmp")
    content = sidecar.read_bytes()
    run("export", "--sidecar", "xmp")
    assert sidecar.read_bytes() == content
    (tags,) = read_tags(sidecar)
    assert tags["Subject"] == "space" or tags["Subject"] == ["space"]
    (found,) = tags["RegionInfo"]["RegionList"]
    assert found["Name"] == "Eileen"
    assert found["Extensions"]["XMP-photoage:Age"] > 0


BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&b;</rdf:RDF>'
)
SPY = (
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&a;</rdf:RDF>'
)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF', "not well-formed XML"),
        (b"plain text", "not well-formed XML"),
        (b"<html/>", "not XMP"),
        (BOMB, "document type"),
        (SPY, "document type"),
        (None, "not a regular file"),
    ],
    ids=["cut off", "text", "other XML", "bomb", "external entity", "folder"],
)
def test_a_damaged_sidecar_is_left_and_stops_no_other(
    pair: ScannedLibrary, content: bytes | None, cause: str
) -> None:
    damaged = pair.library / "-hopper\n<&.jpg.xmp"
    if content is None:
        damaged.mkdir()
    else:
        damaged.write_bytes(content)
    result = runner(pair.database)("export", "--sidecar", "xmp", status=1)
    warning, summary = result.stderr.splitlines()
    assert warning.startswith(f"photoage: warning: {pair.library}/-hopper\\u000a<&.jpg.xmp: left as it is: ")
    assert cause in warning
    assert summary == "sidecars: 1 created, 0 changed, 0 unchanged, 1 left out"
    assert content is None or damaged.read_bytes() == content
    assert len(read_regions(pair.library / "6.jpg.xmp")) == 1


def test_an_empty_sidecar_is_filled(pair: ScannedLibrary) -> None:
    sidecar = pair.library / "6.jpg.xmp"
    sidecar.touch()
    runner(pair.database)("export", "--sidecar", "xmp")
    assert len(read_regions(sidecar)) == 1


def test_a_photo_that_changed_or_went_is_left_out(pair: ScannedLibrary, tmp_path: Path) -> None:
    changed, gone = pair.library / "6.jpg", pair.library / "-hopper\n<&.jpg"
    times = changed.stat()
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    gone.rename(tmp_path / "elsewhere.jpg")
    try:
        result = runner(pair.database)("export", "--sidecar", "xmp", status=1)
    finally:
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
        (tmp_path / "elsewhere.jpg").rename(gone)
    assert result.stderr.splitlines() == [
        f"photoage: warning: {pair.library}/-hopper\\u000a<&.jpg: the file is gone",
        f"photoage: warning: {changed}: changed since it was scanned; scan it again",
        "sidecars: 0 created, 0 changed, 0 unchanged, 2 left out",
    ]
    assert len(list(pair.library.iterdir())) == 2


EXPORT = """
import sys
from click.testing import CliRunner
from photoage.cli import cli
result = CliRunner().invoke(cli, ["--db", sys.argv[1], "export", "--sidecar", "xmp"])
print(result.exit_code)
print(result.stderr, end="")
"""


def test_a_read_only_folder_is_one_warning(pair: ScannedLibrary) -> None:
    pair.library.chmod(0o555)
    try:
        lines = without_privileges(EXPORT, pair.database).splitlines()
    finally:
        pair.library.chmod(0o755)
    assert lines == [
        "1",
        f"photoage: warning: {pair.library}: no sidecar can be written there (Permission denied)",
        "sidecars: 0 created, 0 changed, 0 unchanged, 2 left out",
    ]
    assert len(list(pair.library.iterdir())) == 2


def test_a_sidecar_folder_that_cannot_be_made_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("export", "--sidecar", "xmp", "--sidecar-dir", str(tmp_path / "file" / "x"), status=1)
    assert result.stderr.startswith(f"photoage: error: {tmp_path}/file/x: cannot be made (")
    assert result.stderr.count("\n") == 1


def test_filters_choose_and_a_limit_holds(run: Run, tmp_path: Path) -> None:
    run("export", "--sidecar", "xmp", "--sidecar-dir", str(tmp_path / "old"), "--min-age", "80")
    assert {path.name for path in (tmp_path / "old").rglob("*.xmp")} == {
        "Grace Hopper, née Murray 🎖️.jpg.xmp", "grace_hopper.jpg.xmp", "grace_hopper_copy.jpg.xmp"
    }  # fmt: skip
    options = ("--sort", "age", "-r", "--limit", "1")
    run("export", "--sidecar", "xmp", "--sidecar-dir", str(tmp_path / "one"), *options)
    (one,) = (tmp_path / "one").rglob("*.xmp")
    oldest = run("query", *options, "--paths").stdout.removesuffix("\n")
    assert str(one) == f"{tmp_path}/one{oldest}.xmp"


def test_a_link_stays_a_link(pair: ScannedLibrary, tmp_path: Path) -> None:
    target, link = tmp_path / "real.xmp", pair.library / "6.jpg.xmp"
    write_sidecar(target, "-XMP-xmp:Rating=2")
    link.symlink_to(target)
    runner(pair.database)("export", "--sidecar", "xmp")
    assert link.is_symlink()
    (tags,) = read_tags(target)
    assert tags["Rating"] == 2
    assert len(tags["RegionInfo"]["RegionList"]) == 1


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--sidecar", "xmp", "-o", "x.csv"], "--sidecar"),
        (["--sidecar", "xmp", "--crops", "x"], "--crops"),
        (["--sidecar-dir", "x", "-o", "x.csv"], "--sidecar-dir"),
        (["--sidecar", "xmp", "--sidecar-dir", ""], "empty"),
        (["-n", "-o", "x.csv"], "--dry-run"),
        (["--sidecar", "exif"], "xmp"),
        ([], "-o FILE"),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(run: Run, options: list[str], cause: str) -> None:
    result = run("export", *options, status=2)
    assert cause in result.stderr
    assert result.stderr.count("\n") == 1
