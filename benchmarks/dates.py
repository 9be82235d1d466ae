"""What dates cost: a library with dates in six sources, scanned, and dated anew.

    python benchmarks/dates.py [PHOTOS] [--library FOLDER] [--before CHECKOUT]      (default: 2000)

Small photos without faces, a sixth of them each with its date in EXIF, in XMP beside it, in IPTC, in a
Google Takeout file, in its name and in its folder. They say which side is up, so that faces are looked for
once. Each scan is a process of its own. A FOLDER keeps the library for the next time. With `--before`, the
checkout of an earlier version scans it as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from sqlalchemy import func, select

from photoage.database.connect import open_database
from photoage.database.tables import Photo

CHECKOUT = Path(__file__).resolve().parents[1]
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:DateTimeOriginal="1984-06-12"/>'
    "</rdf:RDF></x:xmpmeta>"
)
IPTC = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\x0d\x1c\2\x37\0\x0819840612\0"


def generate(library: Path, count: int) -> None:
    upright, dated = Image.Exif(), Image.Exif()
    upright[0x0112] = dated[0x0112] = 1
    dated.get_ifd(0x8769)[0x9003] = "1984:06:12 10:00:00"
    (library / "1984 Washington").mkdir(parents=True)
    (library / "all").mkdir()
    for number in range(count):
        kind = number % 6
        folder = library / ("1984 Washington" if kind == 5 else "all")
        path = folder / (f"IMG_19840612_{number % 240_000:06}.jpg" if kind == 4 else f"photo {number}.jpg")
        picture = Image.new("L", (96, 72), number % 256)
        picture.putdata([number % 251, number // 251 % 251, number // 251 // 251])  # no two are the same
        picture.save(path, "JPEG", quality=100, exif=dated if kind == 0 else upright)
        if kind == 1:
            Path(f"{path}.xmp").write_text(XMP)
        elif kind == 2:
            data = path.read_bytes()
            segment = b"\xff\xed" + (len(IPTC) + 2).to_bytes(2, "big") + IPTC
            path.write_bytes(data[:2] + segment + data[2:])
        elif kind == 3:
            taken = json.dumps({"photoTakenTime": {"timestamp": "455882400"}})
            Path(f"{path}.supplemental-metadata.json").write_text(taken)


def timed(library: Path, database: Path, *options: str, checkout: Path = CHECKOUT) -> float:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    photoage = [sys.executable, "-c", "from photoage.cli import main; main()", "--db", str(database)]
    scan = ["-q", "scan", "--device", "cpu", *options, str(library)]
    begun = time.perf_counter()
    subprocess.run([*photoage, *scan], env=environment, cwd=database.parent, check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description="Time scans of photos with dates in six sources.")
    parser.add_argument("photos", nargs="?", type=int, default=2000)
    parser.add_argument("--library", type=Path, help="where the photos are kept, or are already")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version to compare with")
    arguments = parser.parse_args()
    count: int = arguments.photos
    with tempfile.TemporaryDirectory() as folder:
        library = (arguments.library or Path(folder) / "library").resolve()
        if not library.exists():
            generate(library, count)
        database, old = Path(folder) / "photoage.db", Path(folder) / "before.db"
        first = 0.0
        for what, options in (("first scan", ()), ("unchanged", ()), ("--redate", ("--redate",))):
            line = ""
            if arguments.before is not None and not options:
                earlier = timed(library, old, checkout=arguments.before)
            seconds = timed(library, database, *options)
            if arguments.before is not None and not options:
                line = f"; earlier version {earlier:.1f} s, ratio {seconds / earlier:.2f}"
            elif first:
                line = f"; {seconds / first:.2f} of the first scan"
            first = first or seconds
            print(f"{what}: {seconds:.1f} s, {seconds / count * 1e3:.2f} ms per photo{line}", flush=True)
        engine = open_database(str(database), read_only=True)
        with engine.connect() as connection:
            rows = connection.execute(select(Photo.date_source, func.count()).group_by(Photo.date_source))
            print(*rows)


if __name__ == "__main__":
    main()
