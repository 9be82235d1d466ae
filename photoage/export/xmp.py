"""Faces as regions of an XMP packet, in the schema of the Metadata Working Group (Guidelines 2.0).

The standard's place for what it has no field for is a region's `Extensions`: there, in photoage's own
namespace, are age, interval, detection score, detector and checkpoint. What other programs wrote is
kept as it is. Their regions may be of the same faces: such a region gets the Extensions, and no second
region is added. `Added` marks the regions that photoage added, which it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lxml import etree

from photoage.database.query import FaceRow
from photoage.errors import PhotoageError
from photoage.export.writers import DECIMALS
from photoage.photos.orientation import as_stored
from photoage.records import Box, overlap

OWN = "https://photoage.invalid/ns/1.0/"  # a name, not an address: nobody can ever own .invalid
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
PREFIXES = {"mwg-rs": MWG, "stArea": AREA, "stDim": DIMENSIONS, "photoage": OWN}

SAME_SHAPE = 0.02  # by how much the aspect ratios of a photo and of a smaller copy may differ
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The byte order mark and the id are as the XMP specification has them.
EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="photoage">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()

Element = Any  # lxml has no types of its own


class SidecarError(PhotoageError):
    """A sidecar that photoage leaves as it is. The message is the cause alone, without the file's name."""


def merged(existing: bytes | None, faces: Sequence[FaceRow], orientation: int) -> bytes | None:
    """An XMP packet with the faces of one photo, or None when `existing` says all of it already.

    `orientation`: of the stored photo, by EXIF. Raises `SidecarError` when `existing` is not XMP, or
    has regions of a differently shaped image.
    """
    root = _parse(existing or EMPTY)
    before = etree.canonicalize(root, strip_text=True)
    info = _region_info(root)
    theirs = _strip_ours(info)
    orientation = _apply_dimensions(info, faces[0], orientation, keep=bool(theirs))
    boxes = [as_stored(_upright_box(face), orientation) for face in faces]
    same = _same_faces(boxes, theirs)
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        if number in same:
            _extend(same[number], _extensions(face))
        elif box[0] < box[2] and box[1] < box[3]:
            _append(_region_list(info), _region(face, box))
    if existing and etree.canonicalize(root, strip_text=True) == before:
        return None
    content = _serialise(root, existing or EMPTY)
    _parse(content)  # nothing is written that could not be read again
    return content


# --- the packet -----------------------------------------------------------------------------------


def _parse(content: bytes) -> Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False
    )
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise SidecarError(f"not well-formed XML ({' '.join(str(error).split())})") from error
    if root.getroottree().docinfo.doctype:
        raise SidecarError("has a document type, which XMP never has")
    return root


def _serialise(root: Element, before: bytes) -> bytes:
    """The packet in UTF-8, with all that stands around its root, each on a line of its own."""
    nodes = [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]
    lines = [etree.tostring(node, encoding="unicode", with_tail=False) for node in nodes]
    if before.removeprefix(b"\xef\xbb\xbf").startswith(b"<?xml"):
        lines.insert(0, '<?xml version="1.0" encoding="UTF-8"?>')
    return "".join(f"{line}\n" for line in lines).encode()


def _region_info(root: Element) -> Element:
    """The structure that holds dimensions and regions, added if there is none."""
    rdf = next(root.iter(f"{{{RDF}}}RDF"), None)
    if rdf is None:
        raise SidecarError("not XMP: it holds no rdf:RDF")
    described = rdf.findall(f"{{{RDF}}}Description")
    for description in described:
        if (found := description.find(f"{{{MWG}}}Regions")) is not None:
            return found
    about = described[0].get(f"{{{RDF}}}about", "") if described else ""  # one resource, one name
    description = etree.Element(f"{{{RDF}}}Description", {f"{{{RDF}}}about": about}, {"rdf": RDF, **PREFIXES})
    info = etree.SubElement(description, f"{{{MWG}}}Regions", _RESOURCE)
    _append(rdf, description)
    return info


_RESOURCE = {f"{{{RDF}}}parseType": "Resource"}


def _struct(element: Element) -> Element:
    """The element that has the fields of a structure: RDF has two ways to write one."""
    inner = element.find(f"{{{RDF}}}Description")
    return element if inner is None else inner


def _field(element: Element | None, name: str) -> str | None:
    """A simple field of a structure: RDF allows for an attribute, too."""
    if element is None:
        return None
    struct = _struct(element)
    value: str | None = struct.get(name)
    return struct.findtext(name) if value is None else value


def _child(element: Element, name: str) -> Element | None:
    return _struct(element).find(name)


def _append(parent: Element, child: Element) -> None:
    """Add a child as the last one, laid out as those before it, else indented by one space as by exiftool."""
    depth = len(list(parent.iterancestors())) + 1
    etree.indent(child, space=" ", level=depth)
    if len(parent):
        between = parent.text if not (parent.text or "").strip() else None
        child.tail, parent[-1].tail = parent[-1].tail, between
    else:
        child.tail, parent.text = "\n" + " " * (depth - 1), "\n" + " " * depth
    parent.append(child)


def _remove(element: Element) -> None:
    """Take an element out, and the white space with it that led to it."""
    parent, before = element.getparent(), element.getprevious()
    if element.getnext() is None and before is not None:
        before.tail = element.tail
    parent.remove(element)


# --- dimensions -----------------------------------------------------------------------------------


def _apply_dimensions(info: Element, photo: FaceRow, orientation: int, keep: bool) -> int:
    """Make sure that the image's dimensions are stated; the orientation that regions are to have.

    Regions of others (`keep`) hold for the dimensions that they came with: usually those of the stored
    photo, or of a smaller copy. Some programs describe the upright photo instead; then so do we.
    """
    upright = photo.photo_width, photo.photo_height
    stored = upright[::-1] if orientation >= 5 else upright
    name = f"{{{MWG}}}AppliedToDimensions"
    present = _child(info, name)
    shape = _numbers(present, DIMENSIONS, "wh")
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
            _remove(present)
        _append(_struct(info), _dimensions(name, *stored))
    return orientation


def _dimensions(name: str, width: int, height: int) -> Element:
    values = {"w": str(width), "h": str(height), "unit": "pixel"}
    return etree.Element(name, {f"{{{DIMENSIONS}}}{key}": value for key, value in values.items()}, PREFIXES)


def _alike(shape: Sequence[float], other: Sequence[float]) -> bool:
    across, down = shape[0] * other[1], shape[1] * other[0]
    return abs(across - down) <= SAME_SHAPE * max(across, down)


def _numbers(element: Element | None, namespace: str, names: str) -> list[float] | None:
    """Positive numbers in fields of one letter each; None if one is missing or no number."""
    try:
        found = [float(_field(element, f"{{{namespace}}}{name}") or "") for name in names]
    except ValueError:
        return None
    return found if all(0 < number < 1e9 for number in found) else None


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
    etree.SubElement(region, f"{{{MWG}}}Area", {**area, f"{{{AREA}}}unit": "normalized"})
    etree.SubElement(region, f"{{{MWG}}}Type").text = "Face"
    extensions = {f"{{{OWN}}}Added": "True", **_extensions(face)}
    etree.SubElement(region, f"{{{MWG}}}Extensions", extensions)
    return region


def _extensions(face: FaceRow) -> dict[str, str]:
    """What photoage knows of a face, by qualified name."""
    numbers = {"Age": face.age, "AgeLow": face.age_low, "AgeHigh": face.age_high, "DetScore": face.det_score}
    values = {name: str(round(number, DECIMALS)) for name, number in numbers.items()}
    values |= {"Detector": face.detector, "Checkpoint": face.checkpoint}
    return {f"{{{OWN}}}{name}": NOT_XML.sub("\ufffd", value) for name, value in values.items()}


def _region_list(info: Element) -> Element:
    """The bag of regions, added if there is none."""
    name = f"{{{MWG}}}RegionList"
    found = _child(info, name)
    if found is None:
        found = etree.Element(name)
        _append(_struct(info), found)
    bag = next(found.iterchildren(f"{{{RDF}}}Bag", f"{{{RDF}}}Seq"), None)
    if bag is None:
        bag = etree.Element(f"{{{RDF}}}Bag")
        _append(found, bag)
    return bag


def _strip_ours(info: Element) -> list[Element]:
    """Take out what photoage wrote earlier; the regions that are left."""
    if (regions := _child(info, f"{{{MWG}}}RegionList")) is None:
        return []
    theirs = []
    for item in list(regions.iterfind(f"*/{{{RDF}}}li")):
        if _is_ours(item):
            _remove(item)
        else:
            _strip_extensions(item)
            theirs.append(item)
    return theirs


def _is_ours(region: Element) -> bool:
    """Whether photoage added the region, and nobody has written anything into it since."""
    extensions = _child(region, f"{{{MWG}}}Extensions")
    if _field(extensions, f"{{{OWN}}}Added") is None or _field(region, f"{{{MWG}}}Type") != "Face":
        return False
    known = {f"{{{MWG}}}{name}" for name in ("Area", "Type", "Extensions")}
    return all(name in known for name in _names(region)) and all(
        name.startswith(f"{{{OWN}}}") for name in _names(extensions)
    )


def _names(structure: Element) -> Iterator[str]:
    """The qualified names of all fields of a structure."""
    struct = _struct(structure)
    yield from (name for name in struct.keys() if not name.startswith(f"{{{RDF}}}"))  # noqa: SIM118
    yield from (child.tag for child in struct.iterchildren("*"))


def _strip_extensions(region: Element) -> None:
    extensions = _child(region, f"{{{MWG}}}Extensions")
    if extensions is None:
        return
    struct = _struct(extensions)
    ours = [name for name in _names(extensions) if name.startswith(f"{{{OWN}}}")]
    for name in ours:
        struct.attrib.pop(name, None)
        for child in struct.findall(name):
            _remove(child)
    if ours and not any(True for _ in _names(extensions)):
        _remove(extensions)


def _extend(region: Element, values: dict[str, str]) -> None:
    """Put photoage's values into the Extensions of another program's region."""
    present = _child(region, f"{{{MWG}}}Extensions")
    if present is None:
        _append(_struct(region), etree.Element(f"{{{MWG}}}Extensions", values, PREFIXES))
        return
    struct = _struct(present)
    if struct is present and present.get(f"{{{RDF}}}parseType") is not None:
        for name, value in values.items():  # RDF forbids attributes here
            child = etree.Element(name, nsmap=PREFIXES)
            child.text = value
            _append(struct, child)
    else:
        _set_all(struct, values)


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


def _same_faces(boxes: Sequence[Box], regions: Iterable[Element]) -> dict[int, Element]:
    """Which regions are of which of the faces, by the number of the face; one region for a face.

    Programs frame faces differently, some with the hair, some without. So a region is of a face when
    the centre of each lies in the other; where several do, those that overlap most belong together.
    """
    found = [(region, area) for region in regions if (area := _face_area(region)) is not None]
    pairs = [
        (overlap(box, area), number, place)
        for number, box in enumerate(boxes)
        for place, (_, area) in enumerate(found)
        if _centre_within(box, area) and _centre_within(area, box)
    ]
    same: dict[int, Element] = {}
    taken: set[int] = set()
    for _, number, place in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if number not in same and place not in taken:
            same[number] = found[place][0]
            taken.add(place)
    return same


def _face_area(region: Element) -> Box | None:
    """The rectangle of a region that may be of a face."""
    if _field(region, f"{{{MWG}}}Type") not in (None, "Face"):
        return None
    numbers = _numbers(_child(region, f"{{{MWG}}}Area"), AREA, "xywh")
    if numbers is None:
        return None
    x, y, width, height = numbers
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _centre_within(box: Box, other: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] < x < other[2] and other[1] < y < other[3]
