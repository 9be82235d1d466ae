"""Damaged and hostile image files, made from good ones; the same number always gives the same file."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def damaged_file(number: int, sources: Sequence[Path]) -> tuple[str, bytes]:
    """Name and content of damaged file `number`: every kind of damage and every source by turns."""
    kinds = sorted(MUTATIONS)
    kind = kinds[number % len(kinds)]
    chance = random.Random(number)
    source = sources[number // len(kinds) % len(sources)]
    data = MUTATIONS[kind](chance, source.read_bytes(), [path.read_bytes() for path in sources])
    suffix = source.suffix if chance.random() < 0.8 else chance.choice([".jpg", ".png", ".tif", ".heic"])
    return f"{number:05}-{kind}-{source.stem}{suffix}", data


def _bit_flips(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return _flipped(chance, data, chance.randrange(1, 64), len(data))


def _header_flips(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return _flipped(chance, data, chance.randrange(1, 16), 1024)


def _flipped(chance: random.Random, data: bytes, flips: int, within: int) -> bytes:
    result = bytearray(data)
    for _ in range(flips):
        result[chance.randrange(min(within, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(result)


def _truncated(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: int(len(data) * chance.random() ** 2)]


def _zeroed(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start = chance.randrange(len(data))
    length = chance.randrange(1, len(data))
    return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]


def _inserted(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.randbytes(chance.randrange(1, 4096)) + data[at:]


def _swapped_header(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    length = chance.choice([2, 4, 8, 12, 64, 512])
    return chance.choice(others)[:length] + data[length:]


def _spliced(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def _hostile_exif(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A JPEG with an EXIF block of absurd counts, offsets, types and loops; others get it at their end."""
    entries = [
        struct.pack("<HHII", 0x0112, chance.choice([1, 2, 3, 4, 12, 99]), chance.choice([1, 2**31]), 0xFFFF),
        struct.pack("<HHII", 0x8769, 4, 1, chance.choice([8, 0, 2**32 - 1])),  # an IFD inside itself
        struct.pack("<HHII", 0x9003, 2, chance.choice([20, 2**32 - 1]), chance.choice([0, 40, 2**31])),
        struct.pack("<HHII", 0x0132, 2, 20, 74),
        struct.pack("<HHII", 0x011A, 5, chance.choice([1, 2**28]), 0),  # a rational n/0
    ]
    chance.shuffle(entries)
    count = chance.choice([len(entries), 0, 0xFFFF])
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(entries) + struct.pack("<I", 8)
    block += chance.choice([b"9999:99:99 99:99:99\0", b"-001:01:01 00:00:00\0", b"\xff" * 20])
    segment = b"Exif\0\0" + block + chance.randbytes(chance.choice([0, 100, 60000]))
    app1 = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    return data[:2] + app1 * chance.choice([1, 1, 40]) + data[2:] if _is_jpeg(data) else data + app1


def _huge_dimensions(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A header that promises more pixels than any memory holds, or none."""
    side = chance.choice([0, 1, 30000, 65535])
    if _is_jpeg(data):
        at = next((i for i in range(2, len(data) - 9) if data[i] == 0xFF and 0xC0 <= data[i + 1] <= 0xC2), 2)
        return data[: at + 5] + struct.pack(">HH", side, side) + data[at + 9 :]
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", side * 8, side * 8) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    if data.startswith(b"GIF8"):
        return data[:6] + struct.pack("<HH", side, side) + data[10:]
    if data.startswith(b"RIFF"):
        canvas = b"VP8X" + struct.pack("<II", 10, 0) + (side * 200).to_bytes(3, "little") * 2
        return data[:12] + canvas + data[12:]
    if data[4:8] == b"ftyp" and (at := data.find(b"ispe")) > 0:
        return data[: at + 8] + struct.pack(">II", side, side) + data[at + 16 :]
    if data.startswith(b"II*\0"):
        return _wide_tiff(data, side * 100)
    return _flipped(chance, data, 8, 64)


def _wide_tiff(data: bytes, side: int) -> bytes:
    """A little-endian TIFF with another width and height in its first directory."""
    result = bytearray(data)
    start = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, start)[0]):
        entry = start + 2 + 12 * i
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):
            struct.pack_into("<HII", result, entry + 2, 4, 1, side)
    return bytes(result)


def _bombed(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A PNG whose text, profile or pixels unpack to a hundred times the file."""
    bomb = zlib.compress(bytes(50_000_000), 9)
    kind = chance.choice([b"zTXt", b"iCCP", b"IDAT"])
    header = struct.pack(">IIBBBBB", chance.choice([16, 5000]), 16, 8, 2, 0, 0, 0)
    body = bomb if kind == b"IDAT" else b"name\0\0" + bomb
    chunks = [(b"IHDR", header), (kind, body), (b"IDAT", zlib.compress(bytes(16 * 49))), (b"IEND", b"")]
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _noise(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: chance.choice([4, 16, 64])] + chance.randbytes(chance.randrange(20000))


def _is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


MUTATIONS: dict[str, Mutation] = {
    "bit-flips": _bit_flips,
    "bombed": _bombed,
    "header-flips": _header_flips,
    "hostile-exif": _hostile_exif,
    "huge-dimensions": _huge_dimensions,
    "inserted": _inserted,
    "noise": _noise,
    "spliced": _spliced,
    "swapped-header": _swapped_header,
    "truncated": _truncated,
    "zeroed": _zeroed,
}
