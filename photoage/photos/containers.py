"""Where image files keep metadata: the blocks of EXIF, XMP and IPTC in them, without decoding pixels."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from photoage.photos.boxes import box_blocks, is_boxes
from photoage.photos.tiff import read_at

_EXIF = b"Exif\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_XMP_MARKS, _XMP_HEAD = (b"<?xpacket", b"<x:xmpmeta"), 100
_PHOTOSHOP = b"Photoshop 3.0\0"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length
_TIFF_HEADS = (b"II", b"MM")
_MOST = 16 * 1024 * 1024  # bytes of one block
_PROFILE = re.compile(rb"\s*[\w ]+?\s+\d+\s([0-9a-fA-F\s]*)")  # a name, a length, and bytes as hex digits
_IPTC_RESOURCE, _EXIF_RESOURCE, _XMP_RESOURCE = 0x0404, 0x0422, 0x0424


@dataclass(slots=True)
class MetadataBlocks:
    """The blocks of a file, in its order. `exif`: TIFF structures; `is_tiff`: the file is one itself.

    `texts`: what PNG keeps as (keyword, text).
    """

    exif: list[bytes] = field(default_factory=list)
    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    texts: list[tuple[str, bytes]] = field(default_factory=list)
    is_tiff: bool = False

    def add_exif(self, block: bytes) -> None:
        block = block[6:] if block.startswith(_EXIF) else block
        if block.startswith(_TIFF_HEADS):
            self.exif.append(block)
        elif self.exif:  # too large for one segment
            self.exif[-1] += block

    def add_resources(self, data: bytes) -> None:
        """Photoshop's image resources."""
        place = 0
        while (place := data.find(b"8BIM", place)) >= 0 and place + 12 <= len(data):
            number = int.from_bytes(data[place + 4 : place + 6], "big")
            start = place + 6 + (data[place + 6] // 2 + 1) * 2  # a name, padded to an even length
            size = int.from_bytes(data[start : start + 4], "big")
            content = data[start + 4 : start + 4 + size]
            if number == _IPTC_RESOURCE:
                self.iptc.append(content)
            elif number == _EXIF_RESOURCE:
                self.add_exif(content)
            elif number == _XMP_RESOURCE:
                self.xmp.append(content)
            place = start + 4 + size


def read_blocks(file: BinaryIO) -> MetadataBlocks:
    """The metadata of an image file, told by content; none of a format that has none.

    Seeks over pixels, so that of a file on disk little more than its metadata is read. A damaged file
    gives what can be found. Raises `OSError`.
    """
    found = MetadataBlocks()
    head = read_at(file, 0, 32)
    if head.startswith(b"\xff\xd8"):
        _read_jpeg(file, 2, found)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        _read_png(file, found)
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        _read_webp(file, found)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        _read_gif(file, found)
    elif head.startswith(b"8BPS"):
        _read_psd(file, found)
    elif head.startswith(b"FUJIFILMCCD-RAW"):
        _read_jpeg(file, int.from_bytes(read_at(file, 84, 4), "big") + 2, found)
    elif head.startswith(_TIFF_HEADS):
        found.is_tiff = True
    elif is_boxes(head):
        for kind, block in box_blocks(file):
            if kind == "exif":
                found.add_exif(block)
            else:
                found.xmp.append(block)
    return found


def _read_jpeg(file: BinaryIO, place: int, found: MetadataBlocks) -> None:
    resources = b""
    extended: dict[bytes, bytearray] = {}
    while len(head := read_at(file, place, 4)) == 4 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker == 0xFF or marker in _STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA) or length < 2:  # the end, or the pixels
            break
        if marker in (0xE1, 0xED):
            data = file.read(length - 2)
            if data.startswith(_EXIF):
                found.add_exif(data)
            elif data.startswith(_XMP):
                found.xmp.append(data[len(_XMP) :])
            elif data.startswith(_EXTENDED_XMP):
                _add_piece(data[len(_EXTENDED_XMP) :], extended)
            elif any(mark in data[:_XMP_HEAD] for mark in _XMP_MARKS):  # with another header than the usual
                found.xmp.append(data)
            elif data.startswith(_PHOTOSHOP):
                resources += data[len(_PHOTOSHOP) :]
        place += 2 + length
    found.add_resources(resources)
    # Editors leave those of earlier versions behind: the main packet names its own.
    found.xmp += [
        bytes(whole) for digest, whole in extended.items() if any(digest in xmp for xmp in found.xmp)
    ]


def _add_piece(piece: bytes, extended: dict[bytes, bytearray]) -> None:
    """What of XMP has no room in the main packet's 64 kB, by its digest."""
    digest, length, start, data = piece[:32], piece[32:36], piece[36:40], piece[40:]
    size, place = int.from_bytes(length, "big"), int.from_bytes(start, "big")
    if place + len(data) <= size <= _MOST:
        extended.setdefault(digest, bytearray(size))[place : place + len(data)] = data


def _read_png(file: BinaryIO, found: MetadataBlocks) -> None:
    place = 8
    while len(head := read_at(file, place, 8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"eXIf" and length <= _MOST:
            found.add_exif(file.read(length))
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and length <= _MOST:
            keyword, _, rest = file.read(length).partition(b"\0")
            _add_text(keyword.decode("latin-1"), _png_text(kind, rest), found)
        elif kind == b"IEND":
            break
        place += 12 + length


def _png_text(kind: bytes, rest: bytes) -> bytes:
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _inflated(rest[1:])
    compressed, rest = rest[:1] == b"\1", rest[2:]
    text = rest.split(b"\0", 2)[-1]  # after the language and the translated keyword
    return _inflated(text) if compressed else text


def _add_text(keyword: str, text: bytes, found: MetadataBlocks) -> None:
    if keyword == "XML:com.adobe.xmp":
        found.xmp.append(text)
    elif keyword.startswith("Raw profile type "):
        match = _PROFILE.match(text)
        try:
            profile = bytes.fromhex(match[1].decode()) if match else b""
        except ValueError:
            return
        if profile.startswith(_EXIF) or keyword.endswith("exif"):
            found.add_exif(profile)
        elif keyword.endswith(("iptc", "8bim")):
            if profile.startswith(b"8BIM"):
                found.add_resources(profile)
            else:
                found.iptc.append(profile)
        else:
            found.xmp.append(profile.removeprefix(_XMP))
    else:
        found.texts.append((keyword, text))


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _MOST)
    except zlib.error:
        return b""


def _read_webp(file: BinaryIO, found: MetadataBlocks) -> None:
    place = 12
    while len(head := read_at(file, place, 8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF" and length <= _MOST:
            found.add_exif(file.read(length))
        elif head[:4] == b"XMP " and length <= _MOST:
            found.xmp.append(file.read(length))
        place += 8 + length + length % 2


def _read_gif(file: BinaryIO, found: MetadataBlocks) -> None:
    file.seek(0)
    _, mark, rest = file.read(4 * _MOST).partition(b"\x21\xff\x0bXMP DataXMP")
    if mark:
        found.xmp.append(rest.partition(b"\x01\xff\xfe")[0])  # here 258 bytes begin that end the block


def _read_psd(file: BinaryIO, found: MetadataBlocks) -> None:
    place = 26
    place += 4 + int.from_bytes(read_at(file, place, 4), "big")  # the colour table
    length = int.from_bytes(read_at(file, place, 4), "big")
    found.add_resources(file.read(min(length, 4 * _MOST)))
