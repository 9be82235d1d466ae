"""The size that a JPEG XL file states, without decoding it (ISO/IEC 18181-1, SizeHeader)."""

from __future__ import annotations

CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
SIDE_BITS = (9, 13, 18, 30)
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width : height


def stated_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as stored. Raises `EOFError` or `ValueError`."""
    codestream = _codestream(data)
    if codestream[:2] != b"\xff\x0a":
        raise ValueError("no JPEG XL codestream")
    if len(codestream) < 14:
        raise EOFError("the file is truncated")
    bits = _Bits(codestream[2:14])
    is_small = bits.take(1) == 1
    height = _side(bits, is_small)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, is_small), height
    numerator, denominator = RATIOS[ratio]
    return height * numerator // denominator, height


def _side(bits: _Bits, is_small: bool) -> int:
    return (bits.take(5) + 1) * 8 if is_small else bits.take(SIDE_BITS[bits.take(2)]) + 1


class _Bits:
    """Numbers of some bits each, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream, which a container has in a box of its own, whole or in parts."""
    if not data.startswith(CONTAINER):
        return data[:64]
    start = 0
    while start + 16 <= len(data):
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            begin = start + header + (4 if kind == b"jxlp" else 0)  # a part begins with its number
            return data[begin : begin + 64]
        if size < header:
            break  # up to the end
        start += size
    raise EOFError("the file is truncated")
