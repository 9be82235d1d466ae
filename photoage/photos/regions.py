"""Names of people in a photo's metadata: face regions (MWG and Microsoft), PersonInImage, Takeout's `people`.

A packet is untrusted XML: entities and document types are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from photoage.photos.containers import read_blocks
from photoage.photos.sidecar_files import MAX_SIDECAR, XMP, FolderSidecars
from photoage.records import Box

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_MWG = "{http://www.metadataworkinggroup.com/schemas/regions/}"
_AREA = "{http://ns.adobe.com/xmp/sType/Area#}"
_DIMENSIONS = "{http://ns.adobe.com/xap/1.0/sType/Dimensions#}"
_MP = "{http://ns.microsoft.com/photo/1.2/}"
_MP_INFO = "{http://ns.microsoft.com/photo/1.2/t/RegionInfo#}"
_MP_REGION = "{http://ns.microsoft.com/photo/1.2/t/Region#}"
_IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


@dataclass(frozen=True, slots=True)
class NamedRegion:
    """A name and where the face is: x1, y1, x2, y2 from 0 to 1 of the image as it is stored."""

    name: str
    box: Box


@dataclass(slots=True)
class NamedPeople:
    """Who is in a photo: with a place in it, or only in it."""

    regions: list[NamedRegion] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, other: NamedPeople) -> None:
        self.regions += other.regions
        self.names += other.names


class FolderNames:
    """Reads who is in photos, folder by folder: from both kinds of sidecar, the file, and Takeout's JSON."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._sidecars = FolderSidecars([])

    def people_of(self, path: str) -> NamedPeople:
        """Who is in the photo at `path`; nothing of what cannot be read."""
        folder, name = os.path.split(path)
        if folder != self._folder:
            self._folder = folder
            try:
                self._sidecars = FolderSidecars(os.listdir(folder))
            except OSError:
                self._sidecars = FolderSidecars([])
        found = NamedPeople()
        for sidecar in self._sidecars.of(name):
            content = _content(os.path.join(folder, sidecar))
            if sidecar.lower().endswith(XMP):
                found.add(people_of_packet(content))
            else:
                found.names += people_of_takeout(content)
        try:
            with open(path, "rb") as file:
                for packet in read_blocks(file).xmp:
                    found.add(people_of_packet(packet))
        except OSError:
            pass
        return found


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SIDECAR)
    except OSError:
        return b""


def people_of_packet(packet: bytes) -> NamedPeople:
    """What an XMP packet says; nothing where it is none."""
    found = NamedPeople()
    start, end = packet.find(b"<"), packet.rfind(b">") + 1
    try:
        root = fromstring(packet[start:end])
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return found
    for structure in root.iter(f"{_MWG}Regions"):
        found.regions += _mwg_regions(structure)
    for structure in root.iter(f"{_MP}RegionInfo"):
        found.regions += _microsoft_regions(structure)
    for names in root.iter(f"{_IPTC}PersonInImage"):
        found.names += [name for item in names.iter(f"{_RDF}li") if (name := _text(item))]
    return found


def people_of_takeout(content: bytes) -> list[str]:
    """The names under `people` of a Takeout JSON file."""
    try:
        people = json.loads(content)["people"]
        return [name.strip() for person in people if (name := person["name"]).strip()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _mwg_regions(structure: Element) -> Iterator[NamedRegion]:
    for region in _items(structure, f"{_MWG}RegionList"):
        name, kind = _field(region, f"{_MWG}Name"), _field(region, f"{_MWG}Type")
        area = _child(region, f"{_MWG}Area")
        if not name or area is None or (kind or "Face").lower() != "face":
            continue
        numbers = _numbers([_field(area, f"{_AREA}{part}") for part in "xywh"])
        if numbers is None:
            continue
        x, y, width, height = numbers
        if (_field(area, f"{_AREA}unit") or "normalized") == "pixel":
            size = _child(structure, f"{_MWG}AppliedToDimensions")
            sides = size is not None and _numbers([_field(size, f"{_DIMENSIONS}{s}") for s in "wh"])
            if not sides or min(sides) <= 0:
                continue
            x, y, width, height = x / sides[0], y / sides[1], width / sides[0], height / sides[1]
        yield NamedRegion(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _microsoft_regions(structure: Element) -> Iterator[NamedRegion]:
    for region in _items(structure, f"{_MP_INFO}Regions"):
        name = _field(region, f"{_MP_REGION}PersonDisplayName")
        rectangle = _field(region, f"{_MP_REGION}Rectangle")
        numbers = _numbers((rectangle or "").split(","))
        if name and numbers is not None and len(numbers) == 4:
            x, y, width, height = numbers
            yield NamedRegion(name, (x, y, x + width, y + height))


# --- RDF has two ways to write a structure, and two to write a field ------------------------------


def _struct(element: Element) -> Element:
    inner = element.find(f"{_RDF}Description")
    return element if inner is None else inner


def _child(element: Element, name: str) -> Element | None:
    return _struct(element).find(name)


def _field(element: Element, name: str) -> str | None:
    struct = _struct(element)
    child = struct.find(name)
    value = struct.get(name) if child is None else _text(child)
    return value and value.strip()


def _items(structure: Element, name: str) -> Iterator[Element]:
    container = _child(structure, name)
    if container is not None:
        yield from container.iter(f"{_RDF}li")


def _text(element: Element) -> str:
    return "".join(element.itertext()).strip()


def _numbers(texts: list[str | None] | list[str]) -> list[float] | None:
    try:
        numbers = [float(text or "") for text in texts]
    except ValueError:
        return None
    return numbers if all(abs(number) < 1e6 for number in numbers) else None
