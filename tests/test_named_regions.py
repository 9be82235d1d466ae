"""Names of people in metadata: as exiftool writes them, and as other programs do."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from exiftool import exiftool

from photoage.errors import PhotoageError
from photoage.people.digikam import read_digikam
from photoage.photos.regions import NamedPeople, people_of_packet, people_of_takeout

MICROSOFT = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:MP="http://ns.microsoft.com/photo/1.2/"
  xmlns:MPRI="http://ns.microsoft.com/photo/1.2/t/RegionInfo#" xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#">
<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>
 <rdf:li MPReg:PersonDisplayName="Grace" MPReg:Rectangle="0.25, 0.125, 0.5, 0.25"/>
 <rdf:li MPReg:PersonDisplayName="Nobody"/>
</rdf:Bag></MPRI:Regions></MP:RegionInfo></rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_regions_that_exiftool_wrote_are_read(tmp_path: Path) -> None:
    sidecar = tmp_path / "a.xmp"
    info = (
        "{AppliedToDimensions={W=400,H=200,Unit=pixel},RegionList=["
        "{Name=Grace Hopper,Type=Face,Area={X=0.5,Y=0.25,W=0.1,H=0.2,Unit=normalized}},"
        "{Name=Wide,Type=Face,Area={X=100,Y=100,W=40,H=20,Unit=pixel}},"
        "{Name=Rex,Type=Pet,Area={X=0.5,Y=0.25,W=0.1,H=0.2,Unit=normalized}}]}"
    )
    arguments = [f"-XMP-mwg-rs:RegionInfo={info}", "-XMP-iptcExt:PersonInImage=Grace Hopper"]
    exiftool("-q", *arguments, sidecar)
    found = people_of_packet(sidecar.read_bytes())
    assert [(region.name, [round(side, 4) for side in region.box]) for region in found.regions] == [
        ("Grace Hopper", [0.45, 0.15, 0.55, 0.35]),
        ("Wide", [0.2, 0.45, 0.3, 0.55]),
    ]
    assert found.names == ["Grace Hopper"]


def test_microsofts_regions_are_read() -> None:
    (region,) = people_of_packet(MICROSOFT).regions
    assert (region.name, region.box) == ("Grace", (0.25, 0.125, 0.75, 0.375))


@pytest.mark.parametrize(
    "packet",
    [b"", b"not XML", b"<a>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", MICROSOFT[:200], b"\xff<\xff>"],
)
def test_what_is_no_packet_names_nobody(packet: bytes) -> None:
    assert people_of_packet(packet) == NamedPeople()


def test_the_people_of_a_takeout_are_read() -> None:
    people = {"people": [{"name": "Grace"}, {"name": " Eileen "}]}
    assert people_of_takeout(json.dumps(people).encode()) == ["Grace", "Eileen"]
    assert people_of_takeout(b'{"people": [{}]}') == people_of_takeout(b"[") == people_of_takeout(b"{}") == []


def digikam(path: Path, identifier: str) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            """
            CREATE TABLE AlbumRoots (id, label, status, type, identifier, specificPath);
            CREATE TABLE Albums (id, albumRoot, relativePath);
            CREATE TABLE Images (id, album, name, status);
            CREATE TABLE ImageInformation (imageid, width, height);
            CREATE TABLE Tags (id, pid, name);
            CREATE TABLE TagProperties (tagid, property, value);
            CREATE TABLE ImageTagProperties (imageid, tagid, property, value);
            INSERT INTO Albums VALUES (2, 1, '/1984');
            INSERT INTO Images VALUES (3, 2, 'a.jpg', 1);
            INSERT INTO ImageInformation VALUES (3, 400, 200);
            INSERT INTO Tags VALUES (7, 0, 'Grace'), (8, 0, 'Unconfirmed');
            INSERT INTO TagProperties VALUES (7, 'person', 'Grace');
            INSERT INTO ImageTagProperties VALUES
              (3, 7, 'tagRegion', '<rect x="100" y="50" width="40" height="20"/>'),
              (3, 8, 'tagRegion', '<rect x="1" y="1" width="9" height="9"/>'), (3, 7, 'tagRegion', 'broken');
            """
        )
        database.execute("INSERT INTO AlbumRoots VALUES (1, 'Pictures', 0, 1, ?, '/photos')", (identifier,))
    return path


@pytest.mark.parametrize("identifier", ["volumeid:?path=%2Fhome%2Fanna", "volumeid:?uuid=1234-abcd"])
def test_digikams_regions_find_their_photo(tmp_path: Path, identifier: str) -> None:
    known = ["/home/anna/photos/1984/a.jpg", "/home/anna/1984/a.jpg", "/home/anna/photos/1984/b.jpg"]
    found = read_digikam(digikam(tmp_path / "digikam4.db", identifier), known)
    (region,) = found.pop(known[0]).regions
    assert (region.name, region.box) == ("Grace", (0.25, 0.25, 0.35, 0.35))
    assert found == {}


def test_a_file_that_is_no_digikam_database_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"x" * 5000)
    with pytest.raises(PhotoageError, match=r"other\.db: not a digiKam database"):
        read_digikam(other, [])
