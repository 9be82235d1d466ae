"""`photoage doctor`'s checks, each on the real thing it looks at."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from photoage.doctor import (
    Check,
    check_avif,
    check_database,
    check_detector_session,
    check_file_system,
    check_heic,
    check_models,
    check_onnxruntime,
    check_torch,
    onnxruntime_distributions,
    onnxruntime_remedy,
)
from photoage.filesystem import filesystem_type, is_network

MOUNTS = [  # as psutil gives them, in the order of mounting
    ("/proc", "proc", "rw,relatime"),
    ("/", "ext4", "rw,relatime"),
    ("/mnt/my nas", "nfs4", "rw,relatime"),
    ("/mnt/my nas/local", "xfs", "rw"),
    ("/home/me/cloud", "fuse.rclone", "rw"),
    ("/over", "nfs4", "rw"),
    ("/over", "btrfs", "rw"),
    ("/Volumes/My Photos", "smbfs", "rw,nodev"),
    ("/net/drive", "NTFS", "rw,remote"),
]


def one(checks: Iterable[Check]) -> Check:
    (check,) = checks
    return check


def installed(folder: Path, *distributions: str) -> list[str]:
    """A real site-packages folder in which these distributions (`name-version`) are installed."""
    for distribution in distributions:
        name, version = distribution.rsplit("-", 1)
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return [str(folder)]


def test_one_onnxruntime_is_fine(tmp_path: Path) -> None:
    path = installed(tmp_path, "onnxruntime-gpu-1.31.1", "onnx-1.23.2", "onnxruntime_extensions-0.14")
    check = one(check_onnxruntime(path))
    assert (check.status, check.detail, check.remedy) == ("ok", "onnxruntime-gpu 1.31.1", ())


def test_two_onnxruntimes_are_a_fault_with_commands_that_mend_it(tmp_path: Path) -> None:
    path = installed(tmp_path, "onnxruntime-1.31.0", "onnxruntime-gpu-1.31.1")
    assert onnxruntime_distributions(path) == {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.1"}
    check = one(check_onnxruntime(path))
    assert check.status == "fault"
    assert "onnxruntime 1.31.0, onnxruntime-gpu 1.31.1" in check.detail
    remove, install = (shlex.split(command) for command in check.remedy)
    assert remove == [sys.executable, "-m", "pip", "uninstall", "-y", "onnxruntime", "onnxruntime-gpu"]
    assert install[:4] == [sys.executable, "-m", "pip", "install"]
    assert install[4].startswith("onnxruntime" if sys.platform == "darwin" else "onnxruntime-gpu[cuda,cudnn]")


def test_no_onnxruntime_is_a_fault(tmp_path: Path) -> None:
    check = one(check_onnxruntime([str(tmp_path)]))
    assert (check.status, check.detail) == ("fault", "not installed")
    assert len(check.remedy) == len(onnxruntime_remedy([])) == 1


def test_this_environment_has_exactly_one_onnxruntime() -> None:
    assert one(check_onnxruntime()).status == "ok"


def test_providers_come_from_a_live_session() -> None:
    check = one(check_detector_session())
    assert check.status == "ok"
    assert check.values["providers"][-1] == "CPUExecutionProvider"
    assert ("CUDAExecutionProvider" in check.values["providers"]) == check.values["gpu"]


def test_a_gpu_that_torch_offers_but_cannot_use_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is older than what this PyTorch was built for; here there is none at all."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 780")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    check = one(check_torch())
    assert check.status == "fault"
    assert "(GTX 780, float16): PyTorch cannot use the GPU (" in check.detail
    assert "torch" in check.remedy[0]


def test_torch_device_heic_and_avif() -> None:
    torch = one(check_torch())
    assert torch.status == "ok"
    assert torch.values["device"] in ("cpu", "cuda")
    assert one(check_heic()).values["decoders"]
    assert one(check_avif()).status == "ok"


def test_models_are_checked_against_their_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(b"not what was pinned")
    pins = {"default": "a.safetensors", "files": {"a.safetensors": "0" * 64}}
    (tmp_path / "weights.json").write_text(json.dumps(pins))
    detector, age, recogniser = check_models(tmp_path)
    assert detector.status == recogniser.status == "ok"
    assert age.status == "fault"
    assert "is not the known one" in age.detail


# --- database and file systems ---------------------------------------------------------------


def test_no_database_yet_is_fine(tmp_path: Path) -> None:
    database, file_system = check_database(str(tmp_path / "none.db"))
    assert database.status == "ok"
    assert "none yet" in database.detail
    assert not (tmp_path / "none.db").exists()
    assert file_system.values["type"] == filesystem_type(tmp_path)


def test_something_else_than_a_database_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "not.db").write_bytes(b"a text file, long enough to be looked at" * 200)
    check = next(iter(check_database(str(tmp_path / "not.db"))))
    assert check.status == "fault"
    assert "not.db" in check.detail


def test_a_current_database_is_fine(tmp_path: Path) -> None:
    from photoage.database.connect import head_revision, open_database

    open_database(str(tmp_path / "good.db"), create=True).dispose()
    database, _ = check_database(str(tmp_path / "good.db"))
    assert database.status == "ok"
    assert database.values["schema"] == head_revision()


@pytest.mark.parametrize(
    ("place", "fstype"),
    [
        ("/Volumes/My Photos/x.db", "smbfs"),
        ("/net/drive/x.db", "remote"),
        ("/home/me/photoage.db", "ext4"),
        ("/mnt/my nas/photoage.db", "nfs4"),
        ("/mnt/my nas", "nfs4"),
        ("/mnt/my nas/local/x.db", "xfs"),
        ("/mnt/my nas-2/x.db", "ext4"),
        ("/home/me/cloud/a/b/x.db", "fuse.rclone"),
        ("/over/x.db", "btrfs"),
    ],
)
def test_the_innermost_mount_decides(place: str, fstype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [SimpleNamespace(mountpoint=m, fstype=f, opts=o) for m, f, o in MOUNTS]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: mounts)
    monkeypatch.setattr("os.path.realpath", str)
    assert filesystem_type(Path(place)) == fstype


@pytest.mark.parametrize(
    "fstype", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone"]
)
def test_network_file_systems(fstype: str) -> None:
    assert is_network(fstype)


@pytest.mark.parametrize(
    "fstype", ["ext4", "btrfs", "apfs", "tmpfs", "overlay", "fuseblk", "fuse.mergerfs", None]
)
def test_local_file_systems(fstype: str | None) -> None:
    assert not is_network(fstype)


@pytest.mark.skipif(not os.path.exists("/proc/self/mountinfo"), reason="Linux only")
def test_file_system_of_this_machine() -> None:
    assert filesystem_type(Path("/proc/version")) == "proc"
    assert filesystem_type(Path("/nonexistent/a/b")) == filesystem_type(Path("/"))
    assert check_file_system(Path("/proc/version")).status == "ok"
