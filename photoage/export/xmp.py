"""Faces as regions of an XMP packet, in the schema of the Metadata Working Group (Guidelines 2.0).

The standard's place for what it has no field for is a region's `Extensions`: there, in photoage's own
namespace, are age, interval, detection score, detector and checkpoint. What other programs wrote is
kept as it is. Their regions may be of the same faces: such a region gets the Extensions, and no second
region is added. `Added` marks the regions that photoage added, which it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import NamedTuple

from lxml import etree

from photoage.database.query import FaceRow
from photoage.export.writers import DECIMALS
from photoage.export.xmp_areas import AREA, MWG, child_of, face_area, numbers_in, same_faces
from photoage.export.xmp_packet import (
    EMPTY,
    RDF,
    TOOLKIT,
    Element,
    SidecarError,
    absorb,
    append,
    canonical,
    descriptions,
    field,
    fields,
    new_description,
    parse,
    remove,
    serialise,
    struct,
    value_of,
)
from photoage.photos.orientation import as_stored
from photoage.records import Box

OWN = "https://photoage.invalid/ns/1.0/"  # a name, not an address: nobody can ever own .invalid
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
PREFIXES: dict[str | None, str] = {"mwg-rs": MWG, "stArea": AREA, "stDim": DIMENSIONS, "photoage": OWN}
REGIONS = f"{{{MWG}}}Regions"
NAME = f"{{{MWG}}}Name"
APPLIED_TO = f"{{{MWG}}}AppliedToDimensions"
EXTENDED = "{http://ns.adobe.com/xmp/note/}HasExtendedXMP"
FOR_EXTENSION = "{http://ns.adobe.com/photoshop/1.0/}SidecarForExtension"

SAME_SHAPE = 0.02  # by how much the aspect ratios of a photo and of a smaller copy may differ
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Packet(NamedTuple):
    """XMP of a photo that is kept elsewhere than in its sidecar; `source` names the place for messages.

    `extension`: of the photo, in lower case, where the packet may be of another file of the same name.
    """

    source: str
    content: bytes
    extension: str | None = None


def merged(
    existing: bytes | None,
    faces: Sequence[FaceRow],
    orientation: int,
    known: Callable[[], Iterable[Packet]] = tuple,
) -> bytes | None:
    """An XMP packet with the faces of one photo, or None when `existing` says all of it already.

    `known` gives what readers knew of the photo before it had a sidecar, which would be hidden from
    those that prefer sidecars: a new one begins with it, and one that nobody else has written to gets
    what it lacks. `orientation`: of the stored photo, by EXIF. Raises `SidecarError` when `existing`
    or a packet is not XMP, or has regions of a differently shaped image.
    """
    root = parse(existing or EMPTY)
    before = etree.canonicalize(root, strip_text=True)
    if root.get(TOOLKIT) == "photoage":
        _begin(root, known())
    info = _region_info(root)
    theirs = _strip_ours(info)
    orientation = _apply_dimensions(info, faces[0], orientation, keep=bool(theirs))
    boxes = [as_stored(_upright_box(face), orientation) for face in faces]
    same = same_faces(boxes, theirs)
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        if number in same:
            named = not field(same[number], NAME)
            _extend(same[number], _extensions(face, named=named))
            _name(same[number], face)
        elif box[0] < box[2] and box[1] < box[3]:
            append(_region_list(info), _region(face, box))
    if existing and etree.canonicalize(root, strip_text=True) == before:
        return None
    content = serialise(root, existing or EMPTY)
    parse(content)  # nothing is written that could not be read again
    return content


# --- the packet -----------------------------------------------------------------------------------


def _region_info(root: Element) -> Element:
    """The structure that holds dimensions and regions, added if there is none."""
    rdf, described = descriptions(root)
    if (found := _regions(described)) is not None:
        return found
    description = new_description(rdf, PREFIXES)
    info = etree.SubElement(description, REGIONS, _RESOURCE)
    append(rdf, description)
    return info


def _regions(described: Sequence[Element]) -> Element | None:
    return next((found for each in described if (found := each.find(REGIONS)) is not None), None)


_RESOURCE = {f"{{{RDF}}}parseType": "Resource"}


def _begin(root: Element, known: Iterable[Packet]) -> None:
    """Put into a packet of ours what readers of the photo knew from elsewhere."""
    for packet in known:
        try:
            other = parse(packet.content)
            if _is_of(packet, other):
                absorb(root, other, apart=REGIONS)
                _absorb_regions(root, other)
        except SidecarError as error:
            raise SidecarError(f"{packet.source}: {error}") from error
    for description in descriptions(root)[1]:
        description.attrib.pop(EXTENDED, None)  # it has been put in
        for element in description.findall(EXTENDED):
            remove(element)


def _is_of(packet: Packet, root: Element) -> bool:
    """Whether a packet is of the photo: Adobe's programs write IMG.xmp for IMG.CR2 beside IMG.JPG."""
    stated = value_of(root, FOR_EXTENSION)
    return packet.extension is None or stated is None or stated.lower() == packet.extension


def _absorb_regions(root: Element, other: Element) -> None:
    """Add the regions of `other`, apart from those of faces that have a region already."""
    theirs = _regions(descriptions(other)[1])
    if theirs is None:
        return
    info = _region_info(root)
    if not (present := _strip_ours(info)):
        description = info.getparent()
        remove(info)
        append(description, deepcopy(theirs))
        return
    shapes = [numbers_in(child_of(each, APPLIED_TO), DIMENSIONS, "wh") for each in (info, theirs)]
    if shapes[0] and shapes[1] and not _alike(shapes[0], shapes[1]):
        return  # their places are those of another picture
    there = {canonical(item) for item in present}
    for item in _items(theirs):
        area = face_area(item)
        if canonical(item) not in there and not (area and same_faces([area], present)):
            append(_region_list(info), deepcopy(item))


# --- dimensions -----------------------------------------------------------------------------------


def _apply_dimensions(info: Element, photo: FaceRow, orientation: int, keep: bool) -> int:
    """Make sure that the image's dimensions are stated; the orientation that regions are to have.

    Regions of others (`keep`) hold for the dimensions that they came with: usually those of the stored
    photo, or of a smaller copy. Some programs describe the upright photo instead; then so do we.
    """
    upright = photo.photo_width, photo.photo_height
    stored = upright[::-1] if orientation >= 5 else upright
    present = child_of(info, APPLIED_TO)
    shape = numbers_in(present, DIMENSIONS, "wh")
    if keep and present is not None:
        if shape is None or _alike(shape, stored):
            return orientation
        if _alike(shape, upright):
            return 1
        raise SidecarError(
            f"has face regions of an image of {shape[0]:g} x {shape[1]:g} pixels,"
            f" while the photo has {stored[0]} x {stored[1]}"
        )
    if shape != [*map(float, stored)]:
        if present is not None:
            remove(present)
        append(struct(info), _dimensions(*stored))
    return orientation


def _dimensions(width: int, height: int) -> Element:
    values = {"w": str(width), "h": str(height), "unit": "pixel"}
    return etree.Element(
        APPLIED_TO, {f"{{{DIMENSIONS}}}{key}": value for key, value in values.items()}, PREFIXES
    )


def _alike(shape: Sequence[float], other: Sequence[float]) -> bool:
    across, down = shape[0] * other[1], shape[1] * other[0]
    return abs(across - down) <= SAME_SHAPE * max(across, down)


# --- regions --------------------------------------------------------------------------------------


def _upright_box(face: FaceRow) -> Box:
    """The face's box within the upright photo, whose sides are 1."""
    width, height = face.photo_width, face.photo_height
    x1, y1, x2, y2 = face.x1 / width, face.y1 / height, face.x2 / width, face.y2 / height
    return max(0.0, x1), max(0.0, y1), min(1.0, x2), min(1.0, y2)


def _region(face: FaceRow, box: Box) -> Element:
    x1, y1, x2, y2 = box
    values = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "w": x2 - x1, "h": y2 - y1}
    area = {f"{{{AREA}}}{name}": f"{value:.6f}" for name, value in values.items()}
    region = etree.Element(f"{{{RDF}}}li", _RESOURCE, {"rdf": RDF, **PREFIXES})
    if (person := _person(face)) is not None:
        etree.SubElement(region, NAME).text = person
    etree.SubElement(region, f"{{{MWG}}}Area", {**area, f"{{{AREA}}}unit": "normalized"})
    etree.SubElement(region, f"{{{MWG}}}Type").text = "Face"
    extensions = {f"{{{OWN}}}Added": "True", **_extensions(face, named=True)}
    etree.SubElement(region, f"{{{MWG}}}Extensions", extensions)
    return region


def _extensions(face: FaceRow, *, named: bool) -> dict[str, str]:
    """What photoage knows of a face, by qualified name; the person if the region is `named` by photoage."""
    numbers = {"Age": face.age, "AgeLow": face.age_low, "AgeHigh": face.age_high, "DetScore": face.det_score}
    values = {name: str(round(number, DECIMALS)) for name, number in numbers.items()}
    values |= {"Detector": face.detector, "Checkpoint": face.checkpoint}
    if named and (person := _person(face)) is not None:
        values["Person"] = person
    return {f"{{{OWN}}}{name}": NOT_XML.sub("\ufffd", value) for name, value in values.items()}


def _person(face: FaceRow) -> str | None:
    """The name of the person, of one that has a name."""
    return None if face.person is None or face.person.startswith("#") else NOT_XML.sub("\ufffd", face.person)


def _name(region: Element, face: FaceRow) -> None:
    """Name a region that has no name; one that another program gave stays."""
    if (person := _person(face)) is not None and not field(region, NAME):
        for empty in struct(region).findall(NAME):
            remove(empty)
        struct(region).attrib.pop(NAME, None)
        child = etree.Element(NAME, nsmap=PREFIXES)
        child.text = person
        append(struct(region), child)


def _region_list(info: Element) -> Element:
    """The bag of regions, added if there is none."""
    name = f"{{{MWG}}}RegionList"
    found = child_of(info, name)
    if found is None:
        found = etree.Element(name)
        append(struct(info), found)
    bag = next(found.iterchildren(f"{{{RDF}}}Bag", f"{{{RDF}}}Seq"), None)
    if bag is None:
        bag = etree.Element(f"{{{RDF}}}Bag")
        append(found, bag)
    return bag


def _items(info: Element) -> list[Element]:
    regions = child_of(info, f"{{{MWG}}}RegionList")
    return [] if regions is None else regions.findall(f"*/{{{RDF}}}li")


def _strip_ours(info: Element) -> list[Element]:
    """Take out what photoage wrote earlier; the regions that are left."""
    theirs = []
    for item in _items(info):
        if _is_ours(item):
            remove(item)
        else:
            _strip_name(item)
            _strip_extensions(item)
            theirs.append(item)
    return theirs


def _is_ours(region: Element) -> bool:
    """Whether photoage added the region, and nobody has written anything into it since."""
    extensions = child_of(region, f"{{{MWG}}}Extensions")
    if field(extensions, f"{{{OWN}}}Added") is None or field(region, f"{{{MWG}}}Type") != "Face":
        return False
    known = {f"{{{MWG}}}{name}" for name in ("Area", "Type", "Extensions")}
    if _is_named_by_us(region):
        known.add(NAME)
    return all(name in known for name in fields(region)) and all(
        name.startswith(f"{{{OWN}}}") for name in fields(extensions)
    )


def _is_named_by_us(region: Element) -> bool:
    """Whether the region's name is the one that photoage noted that it gave."""
    given = field(child_of(region, f"{{{MWG}}}Extensions"), f"{{{OWN}}}Person")
    return given is not None and field(region, NAME) == given


def _strip_name(region: Element) -> None:
    if _is_named_by_us(region):
        for child in struct(region).findall(NAME):
            remove(child)


def _strip_extensions(region: Element) -> None:
    extensions = child_of(region, f"{{{MWG}}}Extensions")
    if extensions is None:
        return
    inside = struct(extensions)
    ours = [name for name in fields(extensions) if name.startswith(f"{{{OWN}}}")]
    for name in ours:
        inside.attrib.pop(name, None)
        for child in inside.findall(name):
            remove(child)
    if ours and not any(True for _ in fields(extensions)):
        remove(extensions)


def _extend(region: Element, values: dict[str, str]) -> None:
    """Put photoage's values into the Extensions of another program's region."""
    present = child_of(region, f"{{{MWG}}}Extensions")
    if present is None:
        append(struct(region), etree.Element(f"{{{MWG}}}Extensions", values, PREFIXES))
        return
    inside = struct(present)
    if inside is present and present.get(f"{{{RDF}}}parseType") is not None:
        for name, value in values.items():  # RDF forbids attributes here
            child = etree.Element(name, nsmap=PREFIXES)
            child.text = value
            append(inside, child)
    else:
        _set_all(inside, values)


def _set_all(element: Element, values: dict[str, str]) -> None:
    """Set attributes under a prefix of photoage's, which only a new element can be given."""
    prefix = "photoage"
    while element.nsmap.get(prefix, OWN) != OWN:  # a namespace of the same prefix would be mixed up
        prefix += "_"
    new = etree.Element(element.tag, {**element.attrib, **values}, {**element.nsmap, prefix: OWN})
    new.text, new.tail = element.text, element.tail
    new.extend(list(element))
    element.getparent().replace(element, new)


# --- the same face, found by two programs ---------------------------------------------------------
