"""Scans date photos, and date them anew when a file beside them, or the user, asks for it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from photoage.photos import dates as photo_dates
from photoage.records import RunCounts
from photoage.scan import local
from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan as run_scan


def test_a_run_records_its_sources_in_their_order() -> None:
    assert ScanOptions(dates=("exif", "folder")).recorded()["dates"] == ("exif", "folder")


def scan(folder: Path, **options: object) -> RunCounts:
    choices = ScanOptions(device="cpu", workers=1, **options)  # type: ignore[arg-type]
    return run_scan([str(folder)], folder.parent / "p.db", choices).counts


def stored(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    """Date and source of each photo, by name."""
    with closing(sqlite3.connect(folder.parent / "p.db")) as connection:
        rows = connection.execute("SELECT path, taken_at, date_source FROM photo WHERE status = 'done'")
        return {os.path.basename(path): (taken_at, source) for path, taken_at, source in rows}


def write_xmp(path: Path, day: str) -> None:
    path.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        f' exif:DateTimeOriginal="{day}"/></rdf:RDF></x:xmpmeta>'
    )


@pytest.fixture(scope="module")
def albums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scanned folder with a photo that only the folder dates, one with a date in its name, one in EXIF."""
    folder = tmp_path_factory.mktemp("albums") / "1984 Washington"
    folder.mkdir()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1984:06:12 10:00:00"
    for shade, name in enumerate(("plain.jpg", "IMG_19840302_101112.jpg", "exif.jpg")):
        taken = {"exif": exif} if name == "exif.jpg" else {}
        Image.new("RGB", (64, 48), (shade * 40, 0, 0)).save(folder / name, "JPEG", **taken)
    assert scan(folder).done == 3
    return folder


FIRST = {
    "plain.jpg": ("1984", "folder"),
    "IMG_19840302_101112.jpg": ("1984-03-02T10:11:12", "name"),
    "exif.jpg": ("1984-06-12T10:00:00", "exif"),
}


def test_a_photo_is_dated_anew_when_a_file_beside_it_comes_changes_or_goes(
    albums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored(albums) == FIRST
    assert scan(albums).unchanged == 3
    sidecar = albums / "plain.jpg.xmp"
    # Nothing is decoded for it, and no model is loaded.
    monkeypatch.setattr(local.LocalEngine, "_run", lambda self: pytest.fail("models are not needed"))
    for day, source in (("1985-01", "xmp"), ("1986-02-03", "xmp"), ("1984", "folder")):
        if source == "xmp":
            write_xmp(sidecar, day)
        else:
            sidecar.unlink()
        counts = scan(albums)
        assert (counts.redated, counts.unchanged, counts.done) == (1, 2, 0)
        assert stored(albums) == FIRST | {"plain.jpg": (day, source)}
    (albums / "exif.jpg.supplemental-metadata.json").write_text('{"photoTakenTime": {"timestamp": "86400"}}')
    assert scan(albums).redated == 1
    assert stored(albums) == FIRST  # EXIF comes before Takeout
    counts = scan(albums, dates=("takeout", "xmp", "exif"), redate=True)
    assert (counts.redated, counts.unchanged) == (3, 0)
    assert stored(albums) == {
        "plain.jpg": (None, None),
        "IMG_19840302_101112.jpg": (None, None),
        "exif.jpg": ("1970-01-02T00:00:00", "takeout"),
    }
    (albums / "exif.jpg.supplemental-metadata.json").unlink()
    assert scan(albums, redate=True).redated == 3
    assert stored(albums) == FIRST


def test_photos_of_an_earlier_version_are_dated_by_the_next_scan(albums: Path) -> None:
    with closing(sqlite3.connect(albums.parent / "p.db")) as connection, connection:
        connection.execute("UPDATE photo SET sidecars = NULL, taken_at = NULL, date_source = NULL")
    assert scan(albums).redated == 3
    assert stored(albums) == FIRST
    assert scan(albums).unchanged == 3


def test_a_copy_and_a_moved_photo_have_the_dates_of_their_own_places(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    (folder / "1984").mkdir(parents=True)
    (folder / "1990-05").mkdir()
    Image.new("RGB", (64, 48), "blue").save(folder / "1984" / "a.jpg")
    scan(folder)
    (folder / "1990-05" / "b.jpg").write_bytes((folder / "1984" / "a.jpg").read_bytes())
    assert scan(folder).duplicates == 1
    assert stored(folder) == {"a.jpg": ("1984", "folder"), "b.jpg": ("1990-05", "folder")}
    (folder / "1984" / "a.jpg").rename(folder / "1990-05" / "IMG_19900501_120000.jpg")
    (folder / "1990-05" / "b.jpg").unlink()
    assert scan(folder).relinked == 1
    assert ("1990-05-01T12:00:00", "name") in stored(folder).values()


def test_dating_anew_reads_the_head_of_a_jpeg_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1984:06:12 10:00:00"
    Image.effect_noise((2000, 2000), 90).save(photo, "JPEG", exif=exif, quality=95)
    read = 0
    plain = photo_dates._opened

    def counting(path: str) -> object:
        file = plain(path)

        class Counted:
            def __enter__(self) -> Counted:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def seek(self, *place: int) -> int:
                return file.seek(*place)

            def read(self, size: int = -1) -> bytes:
                nonlocal read
                data = file.read(size)
                read += len(data)
                return data

        return Counted()

    monkeypatch.setattr(photo_dates, "_opened", counting)
    found = photo_dates.date_photo(photo_dates.PhotoFile(str(photo), 0, 0))
    assert str(found.taken_at) == "1984-06-12T10:00:00"
    assert read < 4096 < photo.stat().st_size // 100
