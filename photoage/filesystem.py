"""Which kind of file system a path is on: SQLite's locks cannot be trusted on a network one."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

# Remote file systems and the shared folders of virtual machines (WSL's /mnt/c is 9p): locks, shared
# memory or both do not work there as SQLite's write-ahead log needs them.
_NETWORK = frozenset({
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fhgfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs", "webdav",
})  # fmt: skip
_NETWORK_FUSE = ("ceph", "davfs", "gcsfuse", "gluster", "rclone", "s3fs", "sshfs", "vmhgfs", "gvfs")
_OCTAL = re.compile(r"\\([0-7]{3})")
_DRIVE_REMOTE = 4


def filesystem_type(path: Path) -> str | None:
    """The type of the file system that holds `path` (or will, once it exists), such as `ext4`.

    None where the platform does not say.
    """
    place = os.path.realpath(path)
    if sys.platform == "win32":
        drive = os.path.splitdrive(place)[0] + "\\"
        return "remote" if ctypes.windll.kernel32.GetDriveTypeW(drive) == _DRIVE_REMOTE else "local"
    try:
        if sys.platform == "darwin":
            return type_from_mount(subprocess.check_output(["/sbin/mount"], text=True), place)
        return type_from_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), place)
    except (OSError, subprocess.SubprocessError):
        return None


def is_network(fstype: str | None) -> bool:
    """Whether a type that `filesystem_type` gave is a network or shared-folder file system."""
    if fstype is None:
        return False
    name = fstype.lower()
    return (
        name == "remote"
        or name in _NETWORK
        or (name.startswith("fuse") and any(f in name for f in _NETWORK_FUSE))
    )


def type_from_mountinfo(text: str, place: str) -> str | None:
    """The type of the mount that holds `place`, from Linux's /proc/self/mountinfo."""
    mounts = []
    for line in text.splitlines():
        mount, _, rest = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) > 4 and rest:
            point = _OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])
            mounts.append((point, rest.split(" ")[0]))
    return _innermost(mounts, place)


def type_from_mount(text: str, place: str) -> str | None:
    """The same from the output of macOS's `mount`: `/dev/disk1 on /Volumes/A B (apfs, local)`."""
    found = re.findall(r"^.*? on (.*) \(([^,)]+).*\)$", text, re.MULTILINE)
    return _innermost(found, place)


def _innermost(mounts: list[tuple[str, str]], place: str) -> str | None:
    """The last of the longest mount points above `place`: a later mount hides an earlier one."""
    best: tuple[str, str] | None = None
    for point, fstype in mounts:
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best[0])):
            best = (point, fstype)
    return best[1] if best else None
