"""Where the regions of a packet are, and which of them are of the same faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from photoage.export.xmp_packet import (
    Element,
    field,
    struct,
)
from photoage.records import Box, overlap

MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"


def child_of(element: Element, name: str) -> Element | None:
    return struct(element).find(name)


def numbers_in(element: Element | None, namespace: str, names: str) -> list[float] | None:
    """Positive numbers in fields of one letter each; None if one is missing or no number."""
    try:
        found = [float(field(element, f"{{{namespace}}}{name}") or "") for name in names]
    except ValueError:
        return None
    return found if all(0 < number < 1e9 for number in found) else None


def same_faces(boxes: Sequence[Box], regions: Iterable[Element]) -> dict[int, Element]:
    """Which regions are of which of the faces, by the number of the face; one region for a face.

    Programs frame faces differently, some with the hair, some without. So a region is of a face when
    the centre of each lies in the other; where several do, those that overlap most belong together.
    """
    found = [(region, area) for region in regions if (area := face_area(region)) is not None]
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


def face_area(region: Element) -> Box | None:
    """The rectangle of a region that may be of a face."""
    if field(region, f"{{{MWG}}}Type") not in (None, "Face"):
        return None
    numbers = numbers_in(child_of(region, f"{{{MWG}}}Area"), AREA, "xywh")
    if numbers is None:
        return None
    x, y, width, height = numbers
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _centre_within(box: Box, other: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] < x < other[2] and other[1] < y < other[3]
