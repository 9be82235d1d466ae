"""What the suffix of a file's name says: a photo, a video, something else, or nothing."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.util import find_spec

PHOTOS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".tif", ".tiff"}
    | {".bmp", ".gif", ".mpo", ".avif", ".heic", ".heif", ".hif"}
    | {".jp2", ".j2k", ".jpx", ".jpf", ".psd"}
)
JXL = frozenset({".jxl"})
RAW = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw"}
)
# With a picture of the same name beside it, a RAW file is passed over: it is the same photo.
DEVELOPED = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"})
VIDEOS = frozenset(
    """
    .3g2 .3gp .360 .asf .avi .dv .f4v .flv .insv .lrv .m2t .m2ts .m2v .m4v .mkv .mod .mov .mp .mp4 .mpe
    .mpeg .mpg .mts .mxf .ogv .rm .tod .ts .vob .webm .wmv
    """.split()  # noqa: SIM905
)
# Plainly something else: companions of photos (a .thm is a JPEG, but of the video beside it), what programs
# keep, documents, music, archives, downloads that are not complete. They are neither opened nor counted.
OTHERS = frozenset(
    """
    .aae .cos .dop .gpx .json .mie .nksc .on1 .pp3 .thm .vrd .xmp .xml .yaml .yml .ini .db .db-journal
    .db-shm .db-wal .lrcat .sqlite .sqlite3 .lock .log .cfg .conf .plist .url .lnk .csv .tsv .txt .md .nfo
    .srt .vtt .htm .html .css .js .py .sh .bat .php .svg .pdf .doc .docx .odt .ods .odp .rtf .tex .xls
    .xlsx .ppt .pptx .pps .ppsx .epub .eml .msg .vcf .ics .aac .aif .aiff .amr .flac .m3u .m4a .mid .mp3
    .ogg .opus .wav .wma .7z .bz2 .dmg .exe .gz .iso .jar .msi .rar .tar .tgz .torrent .xz .zip .zst .apk
    .dll .so .ttf .otf .crdownload .download .part .partial .tmp .swp
    """.split()  # noqa: SIM905
)
PACKAGES = {**dict.fromkeys(RAW, "rawpy"), **dict.fromkeys(JXL, "pillow-jxl-plugin")}  # that read them

OWN_CROP = re.compile(r"\d{3}\.\d_.+_[0-9a-f]{8}_\d+\.jpg")  # as export/crop_files.py names them


@cache
def photo_suffixes() -> frozenset[str]:
    """Of the formats that can be read with the packages that are installed."""
    more = {"rawpy": RAW, "pillow_jxl": JXL}
    return PHOTOS.union(*(suffixes for package, suffixes in more.items() if find_spec(package)))


def suffix(name: str) -> str:
    """In lower case, with its dot; exiftool's backups (`a.jpg_original`) count as `.tmp`."""
    stem, _, ending = name.rpartition(".")  # os.path.splitext takes three times as long
    if not stem.strip("."):
        return ""
    ending = ending.lower()
    return ".tmp" if ending.endswith("_original") else f".{ending}"


def without_developed_raws(paths: list[str]) -> tuple[list[str], int]:
    """A folder's paths without RAW files beside a JPEG or HEIC file of the same name; how many those are."""
    named = [(path, *os.path.splitext(path)) for path in paths]
    raws = {path: stem for path, stem, ending in named if ending.lower() in RAW}
    if not raws:
        return paths, 0
    developed = {stem.lower() for _, stem, ending in named if ending.lower() in DEVELOPED}
    left = [path for path in paths if path not in raws or raws[path].lower() not in developed]
    return left, len(paths) - len(left)
