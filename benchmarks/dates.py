"""What dates cost: a library with dates in six sources, scanned, and dated anew.

    python benchmarks/dates.py [PHOTOS]      (default: 2000)

Small photos without faces, a sixth of them each with its date in EXIF, in XMP beside it, in IPTC, in a Google
Takeout file, in its name and in its folder. Each scan is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from sqlalchemy import func, select

from photoage.database.connect import open_database
from photoage.database.tables import Photo

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:DateTimeOriginal="1984-06-12"/>'
    "</rdf:RDF></x:xmpmeta>"
)
IPTC = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\x0d\x1c\2\x37\0\x0819840612\0"


def generate(library: Path, count: int) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1984:06:12 10:00:00"
    (library / "1984 Washington").mkdir(parents=True)
    (library / "all").mkdir()
    for number in range(count):
        kind = number % 6
        folder = library / ("1984 Washington" if kind == 5 else "all")
        path = folder / (f"IMG_19840612_{number % 240_000:06}.jpg" if kind == 4 else f"photo {number}.jpg")
        picture = Image.effect_noise((320, 240), 20 + number % 50)
        picture.save(path, "JPEG", **({"exif": exif} if kind == 0 else {}))
        if kind == 1:
            Path(f"{path}.xmp").write_text(XMP)
        elif kind == 2:
            data = path.read_bytes()
            segment = b"\xff\xed" + (len(IPTC) + 2).to_bytes(2, "big") + IPTC
            path.write_bytes(data[:2] + segment + data[2:])
        elif kind == 3:
            taken = json.dumps({"photoTakenTime": {"timestamp": "455882400"}})
            Path(f"{path}.supplemental-metadata.json").write_text(taken)


def timed(library: Path, database: Path, *options: str) -> float:
    begun = time.perf_counter()
    photoage = [sys.executable, "-c", "from photoage.cli import main; main()", "--db", str(database)]
    subprocess.run([*photoage, "-q", "scan", *options, "--device", "cpu", str(library)], check=True)
    return time.perf_counter() - begun


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        library, database = Path(folder) / "library", Path(folder) / "photoage.db"
        generate(library, count)
        for what, options in (("first scan", ()), ("unchanged", ()), ("--redate", ("--redate",))):
            seconds = timed(library, database, *options)
            print(f"{what}: {seconds:.1f} s, {seconds / count * 1e3:.2f} ms per photo", flush=True)
        engine = open_database(str(database), read_only=True)
        with engine.connect() as connection:
            rows = connection.execute(select(Photo.date_source, func.count()).group_by(Photo.date_source))
            print(dict(rows.tuples()))


if __name__ == "__main__":
    main()
