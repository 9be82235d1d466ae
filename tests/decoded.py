"""A photo file decoded in one step."""

from __future__ import annotations

from pathlib import Path

from photoage.photos.content import read_file
from photoage.photos.decode import DecodeOptions, decode_bytes
from photoage.records import DecodedPhoto


def decode_photo(path: str | Path, options: DecodeOptions = DecodeOptions()) -> DecodedPhoto:
    return decode_bytes(read_file(str(path))[1], str(path), options)
