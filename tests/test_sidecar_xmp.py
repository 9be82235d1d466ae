"""The XMP packet alone: what it may look like before, and what becomes of it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from decoded import decode_photo
from lxml import etree
from PIL import Image
from pillow_heif import from_pillow

from photoage.database.query import FaceRow
from photoage.errors import DecodeError
from photoage.export.sidecars import sidecar_path
from photoage.export.xmp import OWN, merged
from photoage.export.xmp_areas import AREA, MWG
from photoage.export.xmp_packet import RDF, SidecarError
from photoage.photos.orientation import as_stored, stored_orientation

FACE = FaceRow(
    "/p/a.jpg", 0, 34.25, 20.0, 48.5, 0.9, 300, 200, 500, 400, 1000, 800, None, "2026-01-01", "scrfd", "first"
)  # fmt: skip
SECOND = FACE._replace(face_index=1, age=8.0, x1=600, x2=700)
NAMESPACES = f'xmlns:rdf="{RDF}" xmlns:r="{MWG}" xmlns:a="{AREA}" xmlns:d="http://ns.adobe.com/xap/1.0/sType/Dimensions#"'
NAMES = {"rdf": RDF, "mwg": MWG, "area": AREA, "own": OWN}


def packet(
    regions: str = "", dimensions: str = '<r:AppliedToDimensions d:w="1000" d:h="800" d:unit="pixel"/>'
) -> bytes:
    return (
        f'<rdf:RDF {NAMESPACES}><rdf:Description rdf:about="uuid:1"><r:Regions rdf:parseType="Resource">'
        f"{dimensions}<r:RegionList><rdf:Bag>{regions}</rdf:Bag></r:RegionList>"
        "</r:Regions></rdf:Description></rdf:RDF>"
    ).encode()


def area(x: float, y: float, width: float, height: float) -> str:
    return f'<r:Area a:x="{x}" a:y="{y}" a:w="{width}" a:h="{height}" a:unit="normalized"/>'


def changed(existing: bytes | None, *faces: FaceRow, orientation: int = 1) -> bytes:
    """The merged packet, which a second merge leaves alone."""
    content = merged(existing, faces or [FACE], orientation)
    assert content is not None
    assert merged(content, faces or [FACE], orientation) is None
    return content


def regions(content: bytes) -> list[dict[str, str]]:
    """Name, place and age of every region, written in whatever way RDF allows."""
    found = []
    for item in etree.fromstring(content).iterfind(".//mwg:RegionList/*/rdf:li", NAMES):
        inner = item.find("rdf:Description", NAMES)
        item = item if inner is None else inner
        extensions = item.find("mwg:Extensions", NAMES)
        values = {}
        for element in [] if extensions is None else extensions.iter():
            values |= {**element.attrib, element.tag: element.text}
        names = {"name": f"{{{MWG}}}Name", "type": f"{{{MWG}}}Type"}
        region = {key: item.get(name, item.findtext(name)) for key, name in names.items()}
        region |= {"age": values.get(f"{{{OWN}}}Age"), "added": values.get(f"{{{OWN}}}Added")}
        found.append({key: value for key, value in region.items() if value is not None})
    return found


OURS = {"type": "Face", "age": "34.25", "added": "True"}


# --- orientation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_turned_back_to_where_it_is_stored(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((80, 120, 3), np.uint8)
    stored[8:24, 12:60] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert stored_orientation(str(tmp_path / "a.png")) == orientation
    upright = decode_photo(str(tmp_path / "a.png")).rgb[:, :, 0] > 128
    rows, columns = np.flatnonzero(upright.any(axis=1)), np.flatnonzero(upright.any(axis=0))
    height, width = upright.shape
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    assert as_stored(box, orientation) == pytest.approx((12 / 120, 8 / 80, 60 / 120, 24 / 80))


def test_orientation_by_format(tmp_path: Path, sample_library: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(sample_library / "places" / "china.jpg").resize((64, 48))
    for name in ("a.tif", "a.webp", "a.jpg"):
        image.save(tmp_path / name, exif=exif)
        assert stored_orientation(str(tmp_path / name)) == 6
    from_pillow(image).save(tmp_path / "plain.heic")
    image.save(tmp_path / "turned.avif", exif=exif)  # turned by the container, no word of it in EXIF
    for name in ("plain.heic", "turned.avif"):
        assert stored_orientation(str(tmp_path / name)) == 1
    assert stored_orientation(str(sample_library / "formats" / "portrait.heic")) == 6
    for damaged, cause in (("empty.jpg", "not an image"), ("gone.jpg", "No such file")):
        with pytest.raises(DecodeError, match=cause):
            stored_orientation(str(sample_library / "damaged" / damaged))


def test_paths_of_sidecars_cannot_collide() -> None:
    assert sidecar_path("/a/IMG.JPG") == "/a/IMG.JPG.xmp"
    assert sidecar_path("/a/IMG.JPG", "out") == "out/a/IMG.JPG.xmp"
    assert sidecar_path("/b/IMG.JPG", "/out") == "/out/b/IMG.JPG.xmp"


# --- merging --------------------------------------------------------------------------------------


def test_a_new_packet() -> None:
    content = changed(None, FACE, SECOND)
    assert regions(content) == [OURS, {**OURS, "age": "8.0"}]
    places = [dict(found.attrib) for found in etree.fromstring(content).iterfind(".//mwg:Area", NAMES)]
    assert places[0] == {
        f"{{{AREA}}}x": "0.400000", f"{{{AREA}}}y": "0.375000", f"{{{AREA}}}w": "0.200000",
        f"{{{AREA}}}h": "0.250000", f"{{{AREA}}}unit": "normalized",
    }  # fmt: skip


def test_our_regions_are_replaced() -> None:
    both = changed(None, FACE, SECOND)
    older = FACE._replace(age=40.0)
    assert regions(changed(both, older)) == [{**OURS, "age": "40.0"}]
    assert changed(changed(both, older), FACE, SECOND) == both


PLACE = area(0.4, 0.4, 0.3, 0.4)
ITEM = f'<rdf:li rdf:parseType="Resource">{PLACE}<r:Name>A</r:Name>'
NAMED = {
    "fields as elements": f"{ITEM}</rdf:li>",
    "a description within": f'<rdf:li><rdf:Description r:Name="A">{PLACE}</rdf:Description></rdf:li>',
    "area as elements": (
        '<rdf:li rdf:parseType="Resource"><r:Area rdf:parseType="Resource"><a:x>0.4</a:x><a:y>0.4</a:y>'
        "<a:w>0.3</a:w><a:h>0.4</a:h></r:Area><r:Name>A</r:Name></rdf:li>"
    ),
    "other extensions": f'{ITEM}<r:Extensions xmlns:o="urn:o/" o:Mood="calm"/></rdf:li>',
    "other extensions as elements": (
        f'{ITEM}<r:Extensions rdf:parseType="Resource" xmlns:o="urn:o/"><o:Mood>calm</o:Mood>'
        "</r:Extensions></rdf:li>"
    ),
}


@pytest.mark.parametrize("region", NAMED.values(), ids=NAMED)
def test_a_region_of_the_same_face_gets_the_age(region: str) -> None:
    content = changed(packet(region))
    assert regions(content) == [{"name": "A", "age": "34.25"}]
    assert (b"calm" in content) == ("calm" in region)
    assert b"uuid:1" in content
    later = changed(content, FACE._replace(age=35.0))
    assert regions(later) == [{"name": "A", "age": "35.0"}]
    gone = changed(later, SECOND)  # a new scan finds another face only
    assert regions(gone) == [{"name": "A"}, {**OURS, "age": "8.0"}]
    assert gone.count(b"Mood") == content.count(b"Mood")


@pytest.mark.parametrize(
    "region",
    [
        f'<rdf:li rdf:parseType="Resource">{area(0.4, 0.4, 0.3, 0.4)}<r:Type>Pet</r:Type></rdf:li>',
        f'<rdf:li rdf:parseType="Resource">{area(0.7, 0.4, 0.3, 0.4)}<r:Name>B</r:Name></rdf:li>',
        '<rdf:li rdf:parseType="Resource"><r:Area a:x="0,4" a:y="nan" a:w="inf" a:h=""/></rdf:li>',
        '<rdf:li rdf:parseType="Resource"><r:Area a:x="0.4" a:y="0.4" a:d="0.3"/></rdf:li>',
        "<rdf:li/>",
    ],
    ids=["pet", "elsewhere", "no numbers", "circle", "nothing"],
)
def test_any_other_region_stays_as_it_is(region: str) -> None:
    content = changed(packet(region))
    kept, added = etree.fromstring(content).iterfind(".//rdf:Bag/rdf:li", NAMES)
    before = etree.fromstring(packet(region)).find(".//rdf:li", NAMES)
    how = {"method": "c14n", "exclusive": True, "with_tail": False}
    assert etree.tostring(kept, **how) == etree.tostring(before, **how)
    assert added.find("mwg:Extensions", NAMES).get(f"{{{OWN}}}Added") == "True"


def test_each_face_gets_the_region_that_overlaps_it_most() -> None:
    wide = f'<rdf:li rdf:parseType="Resource">{area(0.5, 0.4, 0.6, 0.5)}<r:Name>wide</r:Name></rdf:li>'
    close = f'<rdf:li rdf:parseType="Resource">{area(0.4, 0.4, 0.22, 0.3)}<r:Name>close</r:Name></rdf:li>'
    near = FACE._replace(face_index=1, x1=420, x2=620, age=50.0)
    found = {region["name"]: region["age"] for region in regions(changed(packet(wide + close), FACE, near))}
    assert found == {"close": "34.25", "wide": "50.0"}


def test_regions_of_a_smaller_copy_and_of_the_upright_photo() -> None:
    named = f'<rdf:li rdf:parseType="Resource">{area(0.4, 0.375, 0.2, 0.25)}<r:Name>A</r:Name></rdf:li>'
    for size in ('d:w="250" d:h="200"', 'd:w="1000" d:h="800"'):
        dimensions = f"<r:AppliedToDimensions {size}/>"
        # The photo is stored lying on its side, but the program described it upright: so do we.
        content = changed(packet(named, dimensions), FACE, SECOND, orientation=6)
        assert dimensions.replace("<r:", "").rstrip("/>").encode() in content
        assert [region.get("age") for region in regions(content)] == ["34.25", "8.0"]
        assert b'stArea:x="0.650000"' in content or b'a:x="0.650000"' in content


def test_regions_of_another_picture_are_not_mixed_with() -> None:
    named = f'<rdf:li rdf:parseType="Resource">{area(0.4, 0.375, 0.2, 0.25)}<r:Name>A</r:Name></rdf:li>'
    with pytest.raises(
        SidecarError, match="of an image of 1000 x 1000 pixels, while the photo has 1000 x 800"
    ):
        merged(packet(named, '<r:AppliedToDimensions d:w="1000" d:h="1000"/>'), [FACE], 1)
    assert b'd:w="1000" d:h="800"' in changed(packet("", '<r:AppliedToDimensions d:w="5" d:h="5"/>'))
    assert b':h="800"' in changed(packet(named, ""))


def test_everything_around_stays() -> None:
    existing = (
        '<?xml version="1.0"?>\n<!-- first --><?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><!-- note --><?tool keep?>'
        '<rdf:Description rdf:about="" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" lr:mood="ü"/>'
        '<rdf:Description rdf:about="" xmlns:unused="urn:u/"><q:T xmlns:q="urn:q/"><![CDATA[<b>]]></q:T>'
        "</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='r'?>"
    )
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        content = changed(existing.encode(encoding)).decode()
        for piece in (
            "<!-- first -->", '<?xpacket begin=""?>', "<!-- note -->", "<?tool keep?>", 'lr:mood="ü"',
            'xmlns:unused="urn:u/"', "<![CDATA[<b>]]>", "<?xpacket end='r'?>",
        ):  # fmt: skip
            assert content.count(piece) == 1, piece
        assert content.startswith("<?xml") == (encoding != "utf-16")


def test_names_that_xml_cannot_hold() -> None:
    content = changed(None, FACE._replace(detector='a\0<b>&"\x1b\udcff', checkpoint="\U0001f600"))
    found = etree.fromstring(content).find(".//mwg:Extensions", NAMES)
    assert found.get(f"{{{OWN}}}Detector") == 'a\ufffd<b>&"\ufffd\ufffd'
    assert found.get(f"{{{OWN}}}Checkpoint") == "\U0001f600"


def test_boxes_end_at_the_edge_of_the_photo() -> None:
    outside = FACE._replace(x1=-900, x2=-800)
    content = changed(None, outside, FACE._replace(x1=-100, x2=100))
    (found,) = etree.fromstring(content).iterfind(".//mwg:Area", NAMES)
    assert (found.get(f"{{{AREA}}}x"), found.get(f"{{{AREA}}}w")) == ("0.050000", "0.100000")


def test_a_namespace_of_the_same_prefix_is_told_apart() -> None:
    """As of a later photoage, whose fields are not ours to change."""
    later = f'{ITEM}<r:Extensions xmlns:photoage="urn:later/" photoage:Age="7"/></rdf:li>'
    content = changed(packet(later))
    (found,) = etree.fromstring(content).iterfind(".//mwg:Extensions", NAMES)
    assert (found.get("{urn:later/}Age"), found.get(f"{{{OWN}}}Age")) == ("7", "34.25")


def test_damage_is_refused_or_survived() -> None:
    """Packets with random bytes, words and cuts: left, or made into one that reads and stays."""
    chance = random.Random(1)
    packets = [packet(region) for region in NAMED.values()]
    packets += [changed(content, FACE, SECOND) for content in packets]
    words = re.compile(
        rb'rdf:li|Description|Region\w+|Bag|Area|Extensions| rdf:parseType="Resource"|[\d.]+|invalid'
    )
    merges, causes = 0, set[str]()
    for _ in range(1500):
        content = bytearray(chance.choice(packets))
        if chance.random() < 0.3:
            content[chance.randrange(len(content))] = chance.randrange(256)
        elif chance.random() < 0.7:
            start, end = chance.choice(list(words.finditer(content))).span()
            content[start:end] = chance.choice([b"", b"rdf:Seq", b"Area", b"Name", b"-1", b"1e999"])
        else:
            start = chance.randrange(len(content))
            del content[start : start + chance.randrange(60)]
        try:
            once = merged(bytes(content), [FACE, SECOND], 1)
        except SidecarError as error:
            causes.add(str(error))
            continue
        assert once is None or merged(once, [FACE, SECOND], 1) is None
        merges += 1
    assert merges > 100
    assert not any("\n" in cause for cause in causes)


def test_deep_nesting_is_refused_not_followed() -> None:
    deep = b"<a>" * 100_000 + b"</a>" * 100_000
    with pytest.raises(SidecarError, match="not well-formed"):
        merged(deep, [FACE], 1)


# --- names ----------------------------------------------------------------------------------------

GRACE = FACE._replace(person="Grace Hopper")
AT_THE_FACE = area(0.4, 0.375, 0.2, 0.25)


def names(content: bytes) -> list[str | None]:
    return [found.get("name") for found in regions(content)]


def test_a_named_person_names_the_region_and_a_number_does_not() -> None:
    assert names(changed(None, GRACE)) == ["Grace Hopper"]
    assert names(changed(None, FACE._replace(person="#12"))) == [None]


def test_a_new_name_replaces_the_one_that_photoage_gave() -> None:
    again = changed(changed(None, GRACE), GRACE._replace(person="Grace"))
    assert names(again) == ["Grace"]
    assert names(changed(again, FACE)) == [None]


def test_a_region_of_another_program_is_named_if_it_has_no_name() -> None:
    unnamed = packet(f'<rdf:li rdf:parseType="Resource">{AT_THE_FACE}<r:Type>Face</r:Type></rdf:li>')
    named = changed(unnamed, GRACE)
    assert names(named) == ["Grace Hopper"]
    assert names(changed(named, FACE)) == [None]


@pytest.mark.parametrize("theirs", ["Amazing Grace", "Grace Hopper"])
def test_a_name_of_another_program_stays(theirs: str) -> None:
    item = f'<rdf:li rdf:parseType="Resource">{AT_THE_FACE}<r:Name>{theirs}</r:Name></rdf:li>'
    assert names(changed(packet(item), FACE._replace(person="Anna"))) == [theirs]


def test_a_region_that_the_user_renamed_elsewhere_stays_as_it_is() -> None:
    renamed = changed(None, GRACE).replace(b">Grace Hopper<", b">Amazing Grace<")
    assert names(changed(renamed, FACE)) == ["Amazing Grace"]
