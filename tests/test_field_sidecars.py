"""A new sidecar hides nothing: it begins with what readers knew of the photo from elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from databases import begin, detections, opened
from exiftool import exiftool, read_tags, region, region_info
from PIL import Image
from pillow_heif import from_pillow

from photoage.database.face_filter import FaceFilter
from photoage.database.store import Store
from photoage.export.sidecars import Sidecar, write_sidecars
from photoage.photos.embedded_xmp import embedded_xmp
from photoage.records import Estimate, PhotoFaces, PhotoFile

SIZE = (100, 80)  # of the photos; the stored face is at 10, 20 to 30.123, 40
NAMED = region_info(*SIZE, region(0.2, 0.375, 0.2, 0.25, Name="Grace Hopper", Type="Face"))
FORMATS = ("jpg", "png", "tif", "webp", "heic", "avif", "gif")
EXPECTED = (["navy", "cobol"], 4, "1984:06:01")
KNOWN = (
    "-XMP-dc:Subject=navy",
    "-XMP-dc:Subject=cobol",
    "-XMP:Rating=4",
    "-XMP-photoshop:DateCreated=1984:06:01",
)


def make_photo(path: Path, *assignments: str) -> Path:
    picture = Image.new("RGB", SIZE, "grey")
    if path.suffix == ".heic":
        from_pillow(picture).save(path)
    else:
        picture.save(path)
    if assignments:
        exiftool("-q", "-overwrite_original", *assignments, path)
    return path


def write(*photos: Path, folder: Path | None = None) -> list[Sidecar]:
    """The sidecars, by path, of photos with one face of 50 years each."""
    database = photos[0].parent / "photoage.db"
    with Store.open(database) as store:
        begin(store)
        faces = PhotoFaces("c", *SIZE, detections(1))
        estimates = [Estimate(50.0, 45.0, 55.0)]
        store.save_many([(PhotoFile.of(str(photo), os.stat(photo)), faces, estimates) for photo in photos])
        store.commit()
    with opened(database, read_only=True) as engine:
        return list(write_sidecars(engine, FaceFilter(), folder=str(folder) if folder else None))


def tags(sidecars: list[Sidecar]) -> list[dict[str, Any]]:
    assert all(each.action in ("created", "changed") for each in sidecars), sidecars
    return read_tags(*(Path(each.path) for each in sidecars))


def test_the_xmp_in_the_photo_is_where_a_sidecar_begins(tmp_path: Path) -> None:
    photos = [make_photo(tmp_path / f"a.{suffix}") for suffix in FORMATS]
    exiftool("-q", "-overwrite_original", NAMED, *KNOWN, *photos)
    before = [photo.read_bytes() for photo in photos]
    written = write(*photos)
    for photo, found in zip(sorted(photos), tags(written), strict=True):
        assert (found["Subject"], found["Rating"], found["DateCreated"]) == EXPECTED, photo
        (face,) = found["RegionInfo"]["RegionList"]
        assert (face["Name"], face["Extensions"]["XMP-photoage:Age"]) == ("Grace Hopper", 50.0)
    assert [photo.read_bytes() for photo in photos] == before
    assert {sidecar.action for sidecar in write(*photos)} == {"unchanged"}


def test_extended_xmp_of_a_jpeg_is_put_together(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg", *KNOWN, f"-XMP-dc:Description={'long ' * 20_000}")
    assert len(embedded_xmp(str(photo))) == 2
    (found,) = tags(write(photo))
    assert found["Subject"] == ["navy", "cobol"]
    assert str(found["Description"]).count("long") == 20_000
    assert "HasExtendedXMP" not in found


@pytest.mark.parametrize("name", ["IMG_1.xmp", "IMG_1.XMP", "IMG_1.jpg.XMP"])
def test_another_programs_sidecar_is_where_a_sidecar_begins(tmp_path: Path, name: str) -> None:
    photo = make_photo(tmp_path / "IMG_1.jpg")
    exiftool("-q", "-o", tmp_path / "x.xmp", NAMED, *KNOWN)
    theirs = (tmp_path / "x.xmp").rename(tmp_path / name).read_bytes()
    (found,) = tags(write(photo))
    assert (found["Subject"], found["Rating"], found["DateCreated"]) == EXPECTED
    assert found["RegionInfo"]["RegionList"][0]["Name"] == "Grace Hopper"
    assert (tmp_path / name).read_bytes() == theirs


def test_of_sidecar_and_photo_the_sidecar_counts_and_lists_are_joined(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg", NAMED, *KNOWN, "-XMP:Label=Red")
    elsewhere = region_info(*SIZE, region(0.8, 0.5, 0.1, 0.1, Name="Ada", Type="Face"))
    exiftool(
        "-q",
        "-o",
        tmp_path / "a.xmp",
        elsewhere,
        "-XMP-dc:Subject=navy",
        "-XMP-dc:Subject=ship",
        "-XMP:Rating=5",
    )
    (found,) = tags(write(photo))
    assert (found["Rating"], found["Label"]) == (5, "Red")
    assert found["Subject"] == ["navy", "ship", "cobol"]
    regions = found["RegionInfo"]["RegionList"]
    assert [face["Name"] for face in regions] == ["Ada", "Grace Hopper"]


def test_the_sidecar_of_a_raw_photo_beside_it_is_not_the_photos(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg")
    exiftool("-q", "-o", tmp_path / "a.xmp", "-XMP:Rating=1", "-XMP-photoshop:SidecarForExtension=CR2")
    assert "Rating" not in tags(write(photo))[0]
    exiftool("-q", "-overwrite_original", "-XMP-photoshop:SidecarForExtension=JPG", tmp_path / "a.xmp")
    assert tags(write(photo))[0]["Rating"] == 1


def test_a_sidecar_that_hid_the_photos_xmp_gets_it_later(tmp_path: Path) -> None:
    """Sidecars of earlier versions, and names that were put into the photo after its sidecar."""
    photo = make_photo(tmp_path / "a.jpg")
    assert "Subject" not in tags(write(photo))[0]
    exiftool("-q", "-overwrite_original", NAMED, *KNOWN, photo)
    (found,) = tags(write(photo))
    assert found["Subject"] == ["navy", "cobol"]
    assert [face["Name"] for face in found["RegionInfo"]["RegionList"]] == ["Grace Hopper"]


def test_what_another_program_took_out_of_the_sidecar_does_not_come_back(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg", *KNOWN)
    exiftool("-q", "-overwrite_original", "-XMP-dc:Subject-=cobol", write(photo)[0].path)
    assert tags(write(photo))[0]["Subject"] == ["navy"]


def test_a_sidecar_in_another_folder_begins_with_the_one_beside_the_photo(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg")
    exiftool("-q", "-o", tmp_path / "a.jpg.xmp", *KNOWN)
    assert tags(write(photo, folder=tmp_path / "sidecars"))[0]["Subject"] == ["navy", "cobol"]


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>',
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF",
        b"<x/>",
    ],
)
def test_a_packet_that_is_not_xmp_is_named_and_nothing_is_written(tmp_path: Path, packet: bytes) -> None:
    photo = make_photo(tmp_path / "a.jpg")
    (tmp_path / "a.xmp").write_bytes(packet)
    (left,) = write(photo)
    assert (left.action, os.path.exists(left.path)) == ("left", False)
    assert left.problem.startswith(f"{left.path}: not written: {tmp_path / 'a.xmp'}: ")


def test_damaged_segments_are_no_traceback(tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "a.jpg", *KNOWN)
    content = photo.read_bytes()
    extended = b"http://ns.adobe.com/xmp/extension/\0" + bytes(32) + b"\xff" * 8
    photo.write_bytes(b"\xff\xd8\xff\xe1" + (len(extended) + 2).to_bytes(2, "big") + extended + content[2:])
    assert len(embedded_xmp(str(photo))) == 1
    for end in range(0, 400, 7):
        photo.write_bytes(content[:end])
        assert len(embedded_xmp(str(photo))) <= 1
