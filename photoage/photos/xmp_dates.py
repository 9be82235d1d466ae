"""Dates in XMP. A packet is untrusted XML: entities and document types are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_SPACES = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
}
# When it was taken, when it was digitised, when it was modified.
_PROPERTIES = (
    ("exif:DateTimeOriginal", "photoshop:DateCreated", "acdsee:datetime"),
    ("exif:DateTimeDigitized", "xmp:CreateDate", "dc:date"),
    ("xmp:ModifyDate", "tiff:DateTime"),
)
_TAGS = {
    f"{{{_SPACES[prefix]}}}{local}": f"{prefix}:{local}"
    for group in _PROPERTIES
    for prefix, _, local in (name.partition(":") for name in group)
}
_MOST = 16 * 1024 * 1024  # bytes


def xmp_dates(packet: bytes) -> tuple[list[str], list[str], list[str]]:
    """The texts of when a photo was taken, digitised and modified, each list with the best one first."""
    values = _properties(packet[:_MOST])
    taken, digitised, modified = ([values[name] for name in names if name in values] for names in _PROPERTIES)
    return taken, digitised, modified


def _properties(packet: bytes) -> dict[str, str]:
    text = _decoded(packet)
    try:
        # What surrounds it is padding, and often all that is wrong with a packet.
        root = fromstring(text[text.find("<") : text.rfind(">") + 1])
    except (ParseError, DefusedXmlException, ValueError):
        return _usual_names(text)
    # Said twice, the first counts.
    return {_TAGS[tag]: value for tag, value in reversed(list(_top_level(root))) if tag in _TAGS}


def _top_level(root: Element) -> Iterator[tuple[str, str]]:
    """The properties of the photo itself; those of its ingredients and of its history lie deeper."""
    for rdf in root.iter(f"{_RDF}RDF"):
        for description in rdf.findall(f"{_RDF}Description"):
            yield from description.attrib.items()
            for child in description:
                items = child.findall(f"*/{_RDF}li")
                yield child.tag, "".join((items[0] if items else child).itertext()).strip()


def _usual_names(text: str) -> dict[str, str]:
    """Of a packet that is not well-formed, or cut off: what has the usual prefix."""
    found = {}
    for name in (name for group in _PROPERTIES for name in group):
        match = re.search(rf"""\b{name}\s*(?:=\s*["']([^"'<>]{{4,40}})["']|>\s*([^<>]{{4,40}})<)""", text)
        if match:
            found[name] = match[1] or match[2]
    return found


def _decoded(packet: bytes) -> str:
    """XMP is UTF-8, UTF-16 or UTF-32; the declaration of an encoding is taken out."""
    if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = packet.decode("utf-16", "replace")
    elif b"\0<\0" in packet[:64]:
        text = packet.decode("utf-16-be", "replace")
    elif b"<\0?\0" in packet[:64] or b"<\0x\0" in packet[:64]:
        text = packet.decode("utf-16-le", "replace")
    else:
        text = packet.decode("utf-8", "replace")
    return re.sub(r"<\?xml\b[^>]*\?>", "", text.replace("\0", ""), count=1)
