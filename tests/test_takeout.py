"""A synthetic Google Takeout: every rule by which its JSON files are named, and what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from photoage.photos.dates import date_photo
from photoage.photos.sidecar_files import FolderSidecars
from photoage.photos.takeout import taken_time
from photoage.photos.walk import walk
from photoage.records import PhotoFile

LONG = "Ein sehr langer Titel von einem Ausflug ans Meer.jpg"  # more than Takeout's 46 characters
# The photo as it is in the export, and its JSON file.
EXPORT = {
    "plain.jpg": "plain.jpg.json",
    "new.jpg": "new.jpg.supplemental-metadata.json",
    "UPPER.JPG": "UPPER.JPG.supplemental-metadata.json",
    "png.png": "png.png.supplemental-metadata.json",
    # Cut to 46 characters before `.json`, wherever that falls.
    "a_name_that_takes_27_chars.jpg": "a_name_that_takes_27_chars.jpg.supplemental-me.json",
    "a_name_that_takes_twenty_more_ch.jpg": "a_name_that_takes_twenty_more_ch.jpg.supplemen.json",
    "a_name_so_long_that_little_is_left_of.jpg": "a_name_so_long_that_little_is_left_of.jpg.supp.json",
    "a_name_so_long_that_a_letter_is_left_now.jpg": "a_name_so_long_that_a_letter_is_left_now.jpg.s.json",
    "a_name_so_long_that_only_a_dot_is_left_no.jpg": "a_name_so_long_that_only_a_dot_is_left_no.jpg..json",
    "a_name_so_long_that_nothing_else_is_left_n.jpg": "a_name_so_long_that_nothing_else_is_left_n.jpg.json",
    "a_name_so_long_that_its_extension_is_cut_off.jpg": "a_name_so_long_that_its_extension_is_cut_off.j.json",
    LONG[:47] + ".jpg": LONG[:46] + ".json",
    # Numbers: the photo's at the end of its stem, the JSON's at its very end.
    "twice.jpg": "twice.jpg.supplemental-metadata.json",
    "twice(1).jpg": "twice.jpg.supplemental-metadata(1).json",
    "twice(2).jpg": "twice.jpg.supplemental-metadata(2).json",
    "old twice.jpg": "old twice.jpg.json",
    "old twice(1).jpg": "old twice.jpg(1).json",
    "its own(1).jpg": "its own(1).jpg.json",
    "its own new(1).jpg": "its own new(1).jpg.supplemental-metadata.json",
    "a_name_that_takes_27_chars(1).jpg": "a_name_that_takes_27_chars.jpg.supplemental-me(1).json",
    # Edited photos have the JSON of the original.
    "new-edited.jpg": "new.jpg.supplemental-metadata.json",
    "plain-bearbeitet.jpg": "plain.jpg.json",
    "twice-edited(1).jpg": "twice.jpg.supplemental-metadata(1).json",
    "old twice(1)-modifié.jpg": "old twice.jpg(1).json",
    "new-modificato.jpg": "new.jpg.supplemental-metadata.json",
    "new-bewerkt.jpg": "new.jpg.supplemental-metadata.json",
    "new-ha editado.jpg": "new.jpg.supplemental-metadata.json",
    "new-編集済み.jpg": "new.jpg.supplemental-metadata.json",
    "new-edytowane.jpg": "new.jpg.supplemental-metadata.json",
    "a_name_so_long_that_its_extension_is_cut_off-ed.jpg":
        "a_name_so_long_that_its_extension_is_cut_off.j.json",
    "new-EFFECTS.jpg": "new.jpg.supplemental-metadata.json",
    # Titles without an extension, and originals in another format.
    "untitled.jpg": "untitled.json",
    "untitled new.jpg": "untitled new.supplemental-metadata.json",
    "apple-edited.jpg": "apple.HEIC.supplemental-metadata.json",
    # Emoji and other scripts; the file system may have taken letters and accents apart.
    "🎂🎉.jpg": "🎂🎉.jpg.supplemental-metadata.json",
    "Bürgerfest.jpg": "Bu\u0308rgerfest.jpg.json",
    "🎂 birthday of a grandmother 🎉🎉🎉.jpg": "🎂 birthday of a grandmother 🎉🎉🎉.jpg.supple.json",
    "東京の写真.jpg": "東京の写真.jpg.supplemental-metadata.json",
    # Nobody's.
    "alone.jpg": None,
    "alone(1).jpg": None,
}  # fmt: skip


def test_every_photo_of_an_export_gets_the_date_of_its_own_json(tmp_path: Path) -> None:
    assert len(EXPORT) == 40
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny", "JPEG")
    folder = tmp_path / "Takeout"
    folder.mkdir()
    times = {name: 10**9 + 86_400 * n for n, name in enumerate(sorted({*EXPORT.values()} - {None}))}  # type: ignore[type-var]
    for name in EXPORT:
        (folder / name).write_bytes((tmp_path / "tiny").read_bytes())
    for name, time in times.items():
        content = {"title": name, "photoTakenTime": {"timestamp": str(time)}, "people": [{"name": "Anna"}]}
        (folder / str(name)).write_text(json.dumps(content))
    (folder / "metadata.json").write_text('{"title": "An album", "date": {"timestamp": "1"}}')
    found = {Path(file.path).name: file for file in walk([str(folder)]) if isinstance(file, PhotoFile)}
    photos = {name: date_photo(found[name]) for name in EXPORT}
    dates = {name: (photo.taken_at, photo.date_source) for name, photo in photos.items()}
    expected = {
        name: (None, None) if json_name is None else (times[json_name], "takeout")
        for name, json_name in EXPORT.items()
    }
    assert {
        name: (_seconds(str(date)) if date else None, source) for name, (date, source) in dates.items()
    } == expected


def _seconds(text: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_a_name_that_is_cut_more_than_it_need_be_is_found_unless_another_fits_better() -> None:
    names = ["a.jpg.suppl.json", "b.jpg.s.json", "b.jpg.json", "c.jpg.supplemental-meta(1).json"]
    photos = ["a.jpg", "b.jpg", "c(1).jpg", "c.jpg", "a-edited.jpg"]
    found = {photo: FolderSidecars(names).of(photo) for photo in photos}
    assert found == {
        "a.jpg": [names[0]], "b.jpg": [names[2]], "c(1).jpg": [names[3]], "c.jpg": [],
        "a-edited.jpg": [names[0]],
    }  # fmt: skip


@pytest.mark.parametrize("photo", ["new-other.jpg", "ne.jpg", "new.png.jpg", "twice(3).jpg"])
def test_a_similar_name_does_not_get_the_json_of_another_photo(photo: str) -> None:
    names = [name for name in EXPORT.values() if name]
    assert FolderSidecars(names).of(photo) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"photoTakenTime": {"timestamp": "1330855872", "formatted": "4 Mar 2012"}}', "2012-03-04T10:11:12"),
        ('{"photoTakenTime": {"timestamp": 1330855872}}', "2012-03-04T10:11:12"),
        ('{"photoTakenTime": {"timestamp": "-473342400"}}', "1955-01-01T12:00:00"),
        ('\ufeff{"photoTakenTime": {"timestamp": "1330855872"}}', "2012-03-04T10:11:12"),
        ('{"creationTime": {"timestamp": "1330855872"}}', "None"),
        ('{"photoTakenTime": {"timestamp": "9999999999999999"}}', "None"),
        ('{"photoTakenTime": null}', "None"),
        ("[]", "None"),
        ("[" * 100_000, "None"),
        ("not JSON", "None"),
        ("", "None"),
    ],
)
def test_a_json_file_tells_when_the_photo_was_taken_or_nothing(content: str, expected: str) -> None:
    assert str(taken_time(content.encode())) == expected
