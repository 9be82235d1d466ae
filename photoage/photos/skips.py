"""Folders that a walk passes over: thumbnails, copies and waste of other programs, and what is marked.

A folder's name alone is no evidence where people use it, too: a rule then asks for the names beside it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import translate

# Folders that NAS systems, desktops and archivers fill with thumbnails, waste and copies; hidden ones
# (`.Trashes`, `._*`, `.thumbnails`, `.picasaoriginals`, `.photoprism`, `.dtrash`) are skipped as such.
JUNK = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)
NO_MEDIA = ".nomedia"  # by Android's rule, the folder and all in it are nothing to look at
IGNORE_FILE = ".photoageignore"


@dataclass(slots=True)
class PassedOver:
    """How much a walk of folders passed over, by kind. Files that nobody takes for photos are not counted."""

    videos: int = 0
    lacking: Counter[str] = field(default_factory=Counter)  # photos whose package is missing, by suffix
    raws: int = 0  # beside a JPEG or HEIC file of the same name
    crops: int = 0  # that photoage exported, by their names
    pictures: int = 0  # that photoage made, by the mark in them; they are read, but not searched for faces
    unknown: int = 0  # of no known name, and no photos by their content
    folders: int = 0  # that programs keep for themselves
    marked: int = 0  # folders with a `.nomedia`, or an empty `.photoageignore`


@dataclass(frozen=True, slots=True)
class Rule:
    """Folders with one of these `names` (but none of `but`), in a folder named as one of `inside`.

    `beside`: of each group, one name must be in the same folder. All in lower case; `*` as in a shell.
    """

    program: str
    names: tuple[str, ...]
    inside: tuple[str, ...] = ()
    beside: tuple[tuple[str, ...], ...] = ()
    but: tuple[str, ...] = ()


_LIBRARIES = (
    "*.photoslibrary",
    "*.photolibrary",
    "*.aplibrary",
    "*.migratedphotolibrary",
    "*.migratedaplibrary",
)
_OF_IPHOTO = ("previews", "thumbnails", "data", "data.noindex", "ipod photo cache")
RULES = (
    Rule("Apple Photos, Aperture, iPhoto", ("*",), inside=_LIBRARIES, but=("originals", "masters")),
    Rule("iPhoto", _OF_IPHOTO, beside=(("albumdata.xml", "library.iphoto", "library6.iphoto"),)),
    Rule("iPhoto", _OF_IPHOTO, inside=("iphoto library*",)),
    Rule("Immich", ("thumbs", "encoded-video"), beside=(("upload", "library"),)),
    Rule("Immich", ("profile",), beside=(("upload", "library"), ("thumbs", "encoded-video"))),
    Rule("PhotoPrism", ("sidecar",), inside=("storage",)),
    Rule(
        "PhotoPrism",
        ("cache",),
        inside=("storage",),
        beside=(("sidecar", "albums", "backup", "config", "users"),),
    ),
    Rule("PhotoPrism", ("thumbnails",), inside=("storage/cache",)),
    Rule("Nextcloud", ("preview", "avatar", "dav-photocache"), inside=("appdata_*",)),
    Rule("Nextcloud", ("files_trashbin", "files_versions")),
    Rule("Nextcloud", ("trash", "versions"), inside=("__groupfolders",)),
    Rule("Nextcloud", ("thumbnails", "uploads"), beside=(("files",), ("files_trashbin", "files_versions"))),
    Rule("Piwigo", ("i",), inside=("_data",)),
    Rule("Lightroom", ("*.lrdata", "*.lrcat-data")),
    Rule("Capture One", ("cache",), inside=("captureone", "*.cocatalog")),
    Rule("Picasa", ("originals",), beside=((".picasa.ini", "picasa.ini"),)),
)


def _pattern(names: Iterable[str]) -> Callable[[str], object]:
    return re.compile("|".join(map(translate, names))).match


_MATCHERS = [(rule, _pattern(rule.names), _pattern(rule.inside)) for rule in RULES]


def program_of(folder: str, names: Callable[[], Iterable[str]]) -> str | None:
    """The program that keeps a folder for itself; `names` gives the names of all that is beside it."""
    holder, name = os.path.split(folder.lower())
    outer, holder = os.path.split(holder)
    around = (holder, f"{os.path.basename(outer)}/{holder}")
    beside: set[str] | None = None
    for rule, is_named, is_inside in _MATCHERS:
        if not is_named(name) or name in rule.but or (rule.inside and not any(map(is_inside, around))):
            continue
        if rule.beside and beside is None:
            beside = {each.lower() for each in names()}
        if all(beside and not beside.isdisjoint(group) for group in rule.beside):
            return rule.program
    return None


def is_junk(name: str) -> bool:
    """Whether a file or folder is hidden, or waste, by its name."""
    return name.startswith(".") or name.lower() in JUNK
