"""The date of a photo: from which source, as precise as it is known, and never one that a clock invented."""

from __future__ import annotations

import random
import zlib
from io import BytesIO
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from photoage.errors import DecodeError
from photoage.photos.dates import date_photo
from photoage.photos.embedded_dates import embedded_dates
from photoage.photos.walk import walk
from photoage.records import DATE_SOURCES, PhotoFile
from tests.exiftool import exiftool

DAY = "2012:03:04 10:11:12"
SECOND = "2012-03-04T10:11:12"
FORMATS = {
    "jpg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "tif": "TIFF",
    "gif": "GIF",
    "heic": "HEIF",
    "avif": "AVIF",
}

ORIGINAL = 'e:DateTimeOriginal="2012-03-04T10:11:12"'


def _embedded_cases() -> dict[str, tuple[list[str], tuple[str | None, str | None]]]:
    """File name: how exiftool writes its dates, and what is to be found."""
    cases: dict[str, tuple[list[str], tuple[str | None, str | None]]] = {}
    for suffix in ("jpg", "png", "webp", "tif", "heic", "avif"):
        cases |= {
            f"original.{suffix}": ([f"-ExifIFD:DateTimeOriginal={DAY}"], (SECOND, "exif")),
            f"digitised.{suffix}": ([f"-ExifIFD:CreateDate={DAY}"], (SECOND, "exif")),
            f"modified.{suffix}": ([f"-IFD0:ModifyDate={DAY}"], (SECOND, "exif")),
            f"xmp.{suffix}": (
                [f"-XMP-exif:DateTimeOriginal={DAY}", "-IFD0:ModifyDate=2020:01:02 03:04:05"],
                (SECOND, "xmp"),
            ),
            f"month.{suffix}": (["-XMP-photoshop:DateCreated=1984-06"], ("1984-06", "xmp")),
        }
    for suffix in ("jpg", "tif", "png"):
        iptc = ["-IPTC:DateCreated=2005:06:07", "-IPTC:TimeCreated=10:11:12+01:00"]
        cases[f"iptc.{suffix}"] = ([*iptc, f"-IFD0:ModifyDate={DAY}"], ("2005-06-07T10:11:12", "exif"))
        cases[f"iptc day.{suffix}"] = (["-IPTC:DigitalCreationDate=2005:06:07"], ("2005-06-07", "exif"))
    first = "-ExifIFD:DateTimeOriginal"
    return cases | {
        "xmp.gif": ([f"-XMP-xmp:CreateDate={DAY}+02:00"], (SECOND, "xmp")),
        "text.png": ([f"-PNG:CreationTime={DAY}"], (SECOND, "exif")),
        "ifd0.jpg": ([f"-IFD0:DateTimeOriginal={DAY}"], (SECOND, "exif")),
        "gps.jpg": (["-GPS:GPSDateStamp=2012:03:04", "-GPS:GPSTimeStamp=10:11:12"], ("2012-03-04", "exif")),
        "reset.jpg": ([f"{first}=2000:01:01 00:00:00", f"-XMP-xmp:CreateDate={DAY}"], (SECOND, "xmp")),
        "future.jpg": ([f"{first}=2999:01:01 00:00:00"], (None, None)),
        "scan.jpg": ([f"{first}={DAY}", "-XMP-xmp:CreateDate=2015:01:02 03:04:05"], (SECOND, "exif")),
        "long.jpg": ([f"{first}={DAY}", f"-ImageDescription={'x' * 40_000}"], (SECOND, "exif")),
        "dublin.jpg": (["-XMP-dc:Date=1984"], ("1984", "xmp")),
        # F07, F08
        "acdsee.jpg": (
            ["-IFD0:ModifyDate=2021:04:01 08:22:44", "-XMP-exif:DateTimeOriginal=1989:05:05 14:08:45"],
            ("1989-05-05T14:08:45", "xmp"),
        ),
        "zero.jpg": (
            [
                "-IFD0:ModifyDate=2007:02:19 00:00:00",
                f"{first}#=0000:00:00 00:00:00",
                "-IPTC:DateCreated=2005:06:07",
            ],
            ("2005-06-07", "exif"),
        ),
        "24h.jpg": ([f"{first}#=2019:01:01 24:04:20"], ("2019-01-01T00:04:20", "exif")),
        "sec60.jpg": ([f"{first}#=2012:06:30 23:59:60"], ("2012-06-30T23:59:59", "exif")),
        "blanks.jpg": ([f"{first}#=1993:08:   :  :  "], ("1993-08", "exif")),
        "year.jpg": ([f"{first}#=1962"], ("1962", "exif")),
        "none.jpg": (["-Artist=nobody"], (None, None)),
    }


def test_every_format_tells_the_dates_that_exiftool_writes(tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    cases = _embedded_cases()
    picture = Image.new("RGB", (16, 16), "red")
    content = {}
    for suffix, kind in FORMATS.items():
        picture.save(tmp_path / "picture", kind)
        content[suffix] = (tmp_path / "picture").read_bytes()
    lines = []
    for name, (arguments, _) in cases.items():
        (tmp_path / name).write_bytes(content[name.rpartition(".")[2]])
        lines += ["-overwrite_original", "-q", "-m", *arguments, str(tmp_path / name), "-execute"]
    (tmp_path / "arguments").write_text("\n".join(lines))
    exiftool("-@", tmp_path / "arguments")
    found = {name: date_photo(PhotoFile(str(tmp_path / name), 0, 0)) for name in cases}
    texts = {
        name: (photo.taken_at and str(photo.taken_at), photo.date_source) for name, photo in found.items()
    }
    assert texts == {name: expected for name, (_, expected) in cases.items()}


# --- files made by hand ---------------------------------------------------------------------------


def exif(day: bytes, tag: int = 0x9003) -> bytes:
    """A TIFF structure with one date, in the first directory."""
    return (
        b"II*\0\x08\0\0\0"
        + b"\1\0"
        + tag.to_bytes(2, "little")
        + b"\2\0"
        + len(day).to_bytes(4, "little")
        + (b"\x1a\0\0\0" + b"\0\0\0\0" + day)
    )


def jpeg(*segments: bytes) -> bytes:
    """A JPEG file as far as its first segments; `segments` are those of kind APP1."""
    return b"\xff\xd8" + b"".join(
        b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content for content in segments
    )


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in (*chunks, (b"IEND", b""))
    )


def dated(tmp_path: Path, content: bytes, name: str = "photo.jpg") -> PhotoFile:
    return date_photo(PhotoFile(str(tmp_path / name), 0, 0), data=content)


def test_a_second_exif_segment_is_read(tmp_path: Path) -> None:
    first = b"Exif\0\0" + exif(b"2020:01:02 03:04:05\0", tag=0x0132)
    second = b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0")
    assert str(dated(tmp_path, jpeg(first, second)).taken_at) == SECOND


@pytest.mark.parametrize("kind", ["exif", "APP1", "xmp", "iptc"])
def test_profiles_that_programs_keep_in_png_texts_are_read(tmp_path: Path, kind: str) -> None:
    block = {
        "exif": b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0"),
        "APP1": b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0"),
        "xmp": packet('xmp:CreateDate="2012-03-04T10:11:12"').encode(),
        "iptc": b"\x1c\2\x37\0\x0820120304\x1c\2\x3c\0\x06101112",
    }[kind]
    text = f"\n{kind}\n{len(block):8}\n{block.hex()}\n".encode()
    chunk = b"Raw profile type " + kind.encode() + b"\0\0" + zlib.compress(text)
    found = dated(tmp_path, png((b"zTXt", chunk)), "photo.png")
    assert (str(found.taken_at), found.date_source) == (SECOND, "xmp" if kind == "xmp" else "exif")


def packet(attributes: str, inside: str = "") -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:e="http://ns.adobe.com/exif/1.0/"'
        f' xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" {attributes}>{inside}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )


@pytest.mark.parametrize(
    "content",
    [
        packet(ORIGINAL).encode(),
        packet("", "<e:DateTimeOriginal> 2012-03-04T10:11:12 </e:DateTimeOriginal>").encode("utf-16"),
        b"\xef\xbb\xbf<?xpacket begin='' id='x'?>" + packet(ORIGINAL).encode()
        + b" " * 100 + b"<?xpacket end='w'?>\0\0",
        b'<?xml version="1.0" encoding="latin-1"?>' + packet(ORIGINAL).encode(),
        # Cut off, and without its names declared.
        b'<rdf:RDF><rdf:Description exif:DateTimeOriginal="2012-03-04T10:11:12"/>',
        packet(
            'xmp:CreateDate="2012-03-04T10:11:12"',
            '<xmpMM:Pantry><rdf:Bag><rdf:li><rdf:Description e:DateTimeOriginal="1999"/></rdf:li>'
            "</rdf:Bag></xmpMM:Pantry>",
        ).encode(),
    ],
)  # fmt: skip
def test_xmp_is_read_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "photo.xmp").write_bytes(content)
    (found,) = walk([str(tmp_path)])
    assert isinstance(found, PhotoFile)
    assert str(date_photo(found).taken_at) == SECOND


def test_xmp_cannot_read_files_nor_grow(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("2012-03-04")
    entity = f'<!DOCTYPE x [<!ENTITY d SYSTEM "file://{tmp_path}/secret">]>'
    content = entity + packet("", "<e:DateTimeOriginal>&d;</e:DateTimeOriginal>")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "photo.xmp").write_text(content)
    (found,) = walk([str(tmp_path)])
    assert isinstance(found, PhotoFile)
    assert date_photo(found).taken_at is None


# --- which source ---------------------------------------------------------------------------------


def test_sources_are_asked_in_their_order_and_in_any_other(tmp_path: Path) -> None:
    folder = tmp_path / "1985 Boston"
    folder.mkdir()
    photo = folder / "IMG_19840102_030405.jpg"
    photo.write_bytes(jpeg(b"Exif\0\0" + exif(b"1983:01:02 03:04:05\0")))
    (folder / f"{photo.name}.xmp").write_text(packet('e:DateTimeOriginal="1981"'))
    (folder / "IMG_19840102_030405.xmp").write_text(packet('e:DateTimeOriginal="1982"'))
    (folder / f"{photo.name}.json").write_text('{"photoTakenTime": {"timestamp": "441763200"}}')  # in 1984
    expected = {
        "xmp": "1981",
        "exif": "1983",
        "takeout": "1984-01-01",
        "name": "1984-01-02",
        "folder": "1985",
    }
    for index, (source, text) in enumerate(expected.items()):
        (file,) = walk([str(folder)])
        assert isinstance(file, PhotoFile)
        for sources in (DATE_SOURCES[index:], (source, *DATE_SOURCES), (source,)):
            found = date_photo(file, sources)
            assert (str(found.taken_at)[: len(text)], found.date_source) == (text, source)
    (folder / f"{photo.name}.xmp").unlink()
    (file,) = walk([str(folder)])
    assert isinstance(file, PhotoFile)
    assert str(date_photo(file).taken_at) == "1982"


def test_a_date_of_modification_stands_in_for_no_other(tmp_path: Path) -> None:
    content = jpeg(b"Exif\0\0" + exif(b"2021:01:02 03:04:05\0", tag=0x0132))
    assert str(dated(tmp_path, content, "1984 Boston/a.jpg").taken_at) == "1984"
    assert str(dated(tmp_path, content, "IMG_20120304_101112.jpg").taken_at) == SECOND
    assert str(dated(tmp_path, content, "a.jpg").taken_at) == "2021-01-02T03:04:05"


def test_of_one_file_the_more_precise_of_two_dates_that_agree_counts() -> None:
    library = Path(__file__).parents[1] / "sample_library"
    found = date_photo(PhotoFile(str(library / "white_house" / "obama_2012.jpg"), 0, 0))  # XMP knows the day
    assert (str(found.taken_at), found.date_source) == ("2012-12-06T15:46:01", "exif")
    flower = date_photo(
        PhotoFile(str(library / "places" / "flower.jpg"), 0, 0)
    )  # XMP without its usual header
    assert (str(flower.taken_at), flower.date_source) == ("2011-08-15T18:24:59", "xmp")


def test_a_sidecar_that_tells_when_it_was_digitised_stands_in_for_no_date_of_taking(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(jpeg(b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0")))
    for said, expected in (("xmp:CreateDate", SECOND), ("e:DateTimeOriginal", "1984-06-12T10:00:00")):
        (tmp_path / "a.xmp").write_text(packet(f'{said}="1984-06-12T10:00:00"'))
        (file,) = walk([str(tmp_path)])
        assert isinstance(file, PhotoFile)
        assert str(date_photo(file).taken_at) == expected
    assert str(date_photo(file, ("exif", "xmp")).taken_at) == SECOND


def test_of_one_file_a_date_of_modification_makes_no_other_more_precise(tmp_path: Path) -> None:
    modified = b"Exif\0\0" + exif(b"2012:03:04 18:00:00\0", tag=0x0132)
    for known in ("2012", "2012-03", "2012-03-04"):
        xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet(f'e:DateTimeOriginal="{known}"').encode()
        assert str(dated(tmp_path, jpeg(modified, xmp)).taken_at) == known


def test_a_place_that_no_file_has_costs_no_other_date(tmp_path: Path) -> None:
    """As damaged HEIC files name them, of which fuzzers make many."""
    exif_box = b"\0\0\0\0" + exif(b"2012:03:04 10:11:12\0")
    boxes = b"\0\0\0\x0cJXL \r\n\x87\n" + (len(exif_box) + 8).to_bytes(4, "big") + b"Exif" + exif_box
    photo = tmp_path / "photo.jxl"
    photo.write_bytes(boxes + b"\0\0\0\1free" + b"\x7f" + b"\xff" * 7 + b"\0" * 20)
    assert str(date_photo(PhotoFile(str(photo), 0, 0)).taken_at) == SECOND


def test_a_file_that_is_gone_is_no_photo_without_a_date(tmp_path: Path) -> None:
    with pytest.raises(DecodeError) as gone:
        date_photo(PhotoFile(str(tmp_path / "gone.jpg"), 0, 0))
    assert gone.value.kind == "vanished"


def test_damaged_metadata_gives_dates_or_none_and_never_fails() -> None:
    chance = random.Random(5)
    heif = BytesIO()
    pillow_heif.register_heif_opener()
    Image.new("RGB", (16, 16)).save(heif, "HEIF", exif=b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0"))
    whole = (
        jpeg(
            b"Exif\0\0" + exif(b"2012:03:04 10:11:12\0"),
            b"http://ns.adobe.com/xap/1.0/\0" + packet("").encode(),
        ),
        png((b"eXIf", exif(b"2012:03:04 10:11:12\0")), (b"tEXt", b"Creation Time\x002012:03:04")),
        exif(b"2012:03:04 10:11:12\0"),
        heif.getvalue()[:700],
        b"8BPS\0\1"
        + bytes(20)
        + bytes(4)
        + b"\0\0\0\x20"
        + b"8BIM\4\4\0\0\0\0\0\x08\x1c\2\x37\0\x0820120304",
    )
    for content in whole:
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(chance.randrange(1, 6)):
                damaged[chance.randrange(len(damaged))] = chance.choice(
                    (0, 1, 0x7F, 0xFF, chance.randrange(256))
                )
            embedded_dates(BytesIO(bytes(damaged[: chance.randrange(1, len(damaged))])))
