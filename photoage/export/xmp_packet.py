"""XMP packets as XML: read without trust, changed in place, written as they were."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from lxml import etree

from photoage.errors import PhotoageError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
META = "adobe:ns:meta/"
TOOLKIT = f"{{{META}}}xmptk"  # names the program that wrote a packet last
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}"

# The byte order mark and the id are as the XMP specification has them.
EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="{META}" x:xmptk="photoage">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
""".encode()

Element = Any  # lxml has no types of its own


class SidecarError(PhotoageError):
    """A sidecar that photoage leaves as it is. The message is the cause alone, without the file's name."""


def parse(content: bytes) -> Element:
    """The root of a packet. Raises `SidecarError` when it is not XML, or has a document type."""
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


def serialise(root: Element, before: bytes) -> bytes:
    """The packet in UTF-8, with all that stands around its root, each on a line of its own."""
    nodes = [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]
    lines = [etree.tostring(node, encoding="unicode", with_tail=False) for node in nodes]
    if before.removeprefix(b"\xef\xbb\xbf").startswith(b"<?xml"):
        lines.insert(0, '<?xml version="1.0" encoding="UTF-8"?>')
    return "".join(f"{line}\n" for line in lines).encode()


# --- RDF ------------------------------------------------------------------------------------------


def descriptions(root: Element) -> tuple[Element, list[Element]]:
    """The rdf:RDF of a packet and the descriptions in it. Raises `SidecarError` when it has none."""
    rdf = next(root.iter(f"{{{RDF}}}RDF"), None)
    if rdf is None:
        raise SidecarError("not XMP: it holds no rdf:RDF")
    return rdf, rdf.findall(f"{{{RDF}}}Description")


def new_description(rdf: Element, namespaces: dict[str | None, str]) -> Element:
    """One more description of the packet's one resource, not yet in it."""
    first = rdf.find(f"{{{RDF}}}Description")
    about = "" if first is None else first.get(f"{{{RDF}}}about", "")
    return etree.Element(f"{{{RDF}}}Description", {f"{{{RDF}}}about": about}, {**namespaces, "rdf": RDF})


def struct(element: Element) -> Element:
    """The element that has the fields of a structure: RDF has two ways to write one."""
    inner = element.find(f"{{{RDF}}}Description")
    return element if inner is None else inner


def field(element: Element | None, name: str) -> str | None:
    """A simple field of a structure: RDF allows for an attribute, too."""
    if element is None:
        return None
    inside = struct(element)
    value: str | None = inside.get(name)
    return inside.findtext(name) if value is None else value


def fields(structure: Element) -> Iterator[str]:
    """The qualified names of all fields of a structure."""
    inside = struct(structure)
    yield from (name for name in inside.keys() if not name.startswith(f"{{{RDF}}}"))  # noqa: SIM118
    yield from (child.tag for child in inside.iterchildren("*"))


def append(parent: Element, child: Element) -> None:
    """Add a child as the last one, laid out as those before it, else indented by one space as by exiftool."""
    depth = len(list(parent.iterancestors())) + 1
    etree.indent(child, space=" ", level=depth)
    if len(parent):
        between = parent.text if not (parent.text or "").strip() else None
        child.tail, parent[-1].tail = parent[-1].tail, between
    else:
        child.tail, parent.text = "\n" + " " * (depth - 1), "\n" + " " * depth
    parent.append(child)


def remove(element: Element) -> None:
    """Take an element out, and the white space with it that led to it."""
    parent, before = element.getparent(), element.getprevious()
    if element.getnext() is None and before is not None:
        before.tail = element.tail
    parent.remove(element)


# --- two packets of one photo ---------------------------------------------------------------------


def value_of(root: Element, name: str) -> str | None:
    """A simple property of the photo."""
    _, described = descriptions(root)
    return next((value for each in described if (value := field(each, name)) is not None), None)


def absorb(root: Element, other: Element, *, apart: str) -> None:
    """Add the properties of `other` that `root` lacks; of unordered lists in both, the items that it lacks.

    The property of the qualified name `apart` is left to the caller.
    """
    rdf, described = descriptions(root)
    present: dict[str, Element] = {}
    for description in described:
        present |= {child.tag: child for child in description.iterchildren("*")}
        present |= {str(name): description for name in description.keys() if name not in present}  # noqa: SIM118
    for source in descriptions(other)[1]:
        added = new_description(rdf, source.nsmap)
        for name, value in source.attrib.items():
            if not name.startswith((f"{{{RDF}}}", _LANGUAGE)) and name not in present and name != apart:
                added.set(name, value)
        for child in source.iterchildren("*"):
            if child.tag not in present and child.tag != apart:
                added.append(deepcopy(child))
            elif child.tag != apart:
                _absorb_items(present[child.tag], child)
        if len(added) or len(added.attrib) > 1:
            append(rdf, added)


def _absorb_items(element: Element, other: Element) -> None:
    bag, more = (each.find(f"{{{RDF}}}Bag") for each in (element, other))
    if bag is None or more is None:
        return
    known = {canonical(item) for item in bag.iterchildren("*")}
    for item in more.iterchildren("*"):
        if canonical(item) not in known:
            append(bag, deepcopy(item))


def canonical(element: Element) -> str:
    """Text that is the same for elements that say the same."""
    return str(etree.canonicalize(element, strip_text=True, with_comments=False, rewrite_prefixes=True))
