"""Which kind of file system a path is on: SQLite's locks cannot be trusted on a network one."""

from __future__ import annotations

import os
from pathlib import Path

# Remote file systems and the shared folders of virtual machines (WSL's /mnt/c is 9p): locks, shared
# memory or both do not work there as SQLite's write-ahead log needs them.
_NETWORK = frozenset({
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "fhgfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "remote", "smb2", "smb3", "smbfs", "vboxsf",
    "virtiofs", "vmhgfs", "webdav",
})  # fmt: skip
_NETWORK_FUSE = ("ceph", "davfs", "gcsfuse", "gluster", "rclone", "s3fs", "sshfs", "vmhgfs", "gvfs")


def filesystem_type(path: Path) -> str | None:
    """The type of the file system that holds `path` (or will, once it exists), such as `ext4`.

    `remote` for a network drive of Windows; None where the platform does not say.
    """
    import psutil  # which a query need not wait for

    place = os.path.realpath(path)
    if place.startswith("\\\\"):
        return "remote"  # \\server\share, which is no mount
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return None
    best: tuple[str, str] | None = None
    for mount in mounts:  # in the order of mounting: a later one hides an earlier one
        point = mount.mountpoint
        inside = place == point or place.startswith(os.path.join(point, ""))
        if inside and (best is None or len(point) >= len(best[0])):
            best = (point, "remote" if "remote" in mount.opts.split(",") else mount.fstype)
    return best[1] if best else None


def is_network(fstype: str | None) -> bool:
    """Whether a type that `filesystem_type` gave is a network or shared-folder file system."""
    if fstype is None:
        return False
    name = fstype.lower()
    return name in _NETWORK or (name.startswith("fuse") and any(f in name for f in _NETWORK_FUSE))
