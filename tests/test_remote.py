"""Photos in object storage: s3:// against a server on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from conftest import SAMPLE_LIBRARY, ScannedLibrary
from faults.scanning import assert_same_rows, photoage, query, rows

from photoage.errors import DecodeError, LibraryError
from photoage.photos import remote
from photoage.photos.walk import WalkOptions, check_roots, files_from, walk
from photoage.records import PhotoFile, RunCounts, WalkProblem
from photoage.scan.options import ScanOptions
from photoage.scan.scan import scan

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]

pytest.importorskip("s3fs")
fsspec = pytest.importorskip("fsspec")
boto3 = pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module", autouse=True)
def s3() -> Iterator[Any]:
    """An S3 server on loopback, to which the usual variables lead this process and its workers."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield boto3.client("s3")
    server.stop()


def upload(s3: Any, bucket: str, *photos: Path, folder: str = "photos") -> str:
    s3.create_bucket(Bucket=bucket)
    for photo in photos:
        s3.upload_file(str(photo), bucket, f"{folder}/{photo.relative_to(SAMPLE_LIBRARY)}")
    return f"s3://{bucket}/{folder}"


def run(root: str, database: Path, **options: Any) -> RunCounts:
    return scan([root], database, ScanOptions(workers=1, device="cpu", **options)).counts


PHOTOS = sorted(p for p in SAMPLE_LIBRARY.rglob("*") if p.parent.name in ("people", "damaged", "backup"))


def test_a_bucket_has_the_faces_of_its_files(s3: Any, scanned: ScannedLibrary, tmp_path: Path) -> None:
    root = upload(s3, "library", *PHOTOS)
    database = tmp_path / "s3.db"
    result = photoage("scan", "-j", "1", root + "/", database=database)
    assert result.returncode == 0, result.stderr
    stored = rows(database)
    local = rows(scanned.database)
    assert len(stored) == len(PHOTOS)
    for photo in PHOTOS:
        name = str(photo.relative_to(SAMPLE_LIBRARY))
        here, there = stored[f"{root}/{name}"], local[f"{scanned.library}/{name}"]
        assert (here.status, here.error_kind, here.faces) == (there.status, there.error_kind, there.faces)

    assert run(root, database).unchanged == len(PHOTOS)
    found = photoage("query", "--path", f"{root}/people/*", "--paths", database=database).stdout
    assert sorted(found.splitlines()) == sorted({path for path, row in stored.items() if "/people/" in path})


def test_a_ray_of_its_own_finds_in_a_bucket_what_the_local_engine_does(s3: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    root = upload(s3, "cluster", *PHOTOS)
    run(root, tmp_path / "local.db")
    before = {process.pid for process in psutil.process_iter()}
    result = photoage("scan", "--engine", "ray", "-j", "1", root, database=tmp_path / "ray.db")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[1:] == ["see `photoage errors` for the photos that could not be read"]
    left = [p for p in psutil.process_iter() if p.pid not in before and "ray" in p.name()]
    assert not psutil.wait_procs(left, 10)[1]
    expected = rows(tmp_path / "local.db")
    assert_same_rows(rows(tmp_path / "ray.db"), expected)
    assert {row.status for row in expected.values()} == {"done", "unreadable"}


def test_what_is_gone_from_a_bucket_is_missing_and_nothing_else(s3: Any, tmp_path: Path) -> None:
    photo = SAMPLE_LIBRARY / "people" / "eileen_collins.png"
    root = upload(s3, "going", photo, PHOTOS[0])
    s3.upload_file(str(photo), "going", "elsewhere/photo.png")
    database = tmp_path / "s3.db"
    run(root, database)
    run("s3://going/elsewhere", database)
    s3.delete_object(Bucket="going", Key="photos/people/eileen_collins.png")
    assert run(root, database).missing == 1
    assert query(database, "SELECT path FROM photo WHERE status = 'missing'") == [
        (f"{root}/people/eileen_collins.png",)
    ]
    for key in s3.list_objects_v2(Bucket="going")["Contents"]:
        s3.delete_object(Bucket="going", Key=key["Key"])
    summary = scan([root], database, ScanOptions(workers=1, device="cpu"))
    assert summary.counts.missing == 0
    assert any(f"{root}: is absent or empty" in warning for warning in summary.warnings)


def test_storage_that_does_not_answer_hides_no_photo(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = upload(s3, "offline", PHOTOS[0])
    (file,) = walk([root])
    assert isinstance(file, PhotoFile)
    assert not remote.is_gone(file.path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    offline = (
        "import sys; from photoage.photos import remote, walk; p = sys.argv[1]; print(remote.is_gone(p),"
    )
    offline += " walk.check_roots([p]).absent == (p,), [e.kind for e in walk.walk([p])])"
    result = subprocess.run([sys.executable, "-c", offline, root], capture_output=True, text=True)
    assert result.stdout == "False True ['unreadable']\n", result.stderr
    result_of_scan = photoage("scan", root, database=tmp_path / "x.db")
    assert result_of_scan.returncode == 1
    assert result_of_scan.stderr.startswith(f"photoage: error: {root}: Could not connect")


def test_a_walk_excludes_what_a_local_one_does(s3: Any) -> None:
    s3.create_bucket(Bucket="walked")
    names = ["b.jpg", "a/2.JPG", "a/1.png", "a/note.txt", ".hidden/x.jpg", "@eaDir/x.jpg", "raw/x.jpg", "c/"]
    for name in [*names, "a/b c+d%20é.jpg"]:
        s3.put_object(Bucket="walked", Key=f"photos/{name}", Body=b"12345")
    root = "s3://walked/photos"
    found = list(walk([root, root + "/a/", root + "/b.jpg"], WalkOptions(exclude=("raw",))))
    assert all(
        isinstance(entry, PhotoFile) and (entry.size, entry.mtime_ns > 0) == (5, True) for entry in found
    )
    paths = [entry.path.removeprefix(root) for entry in found]
    assert paths == ["/b.jpg", "/a/1.png", "/a/2.JPG", "/a/b c+d%20é.jpg"]
    (one, other) = files_from([f"{root}/b.jpg\n{root}/none.jpg\n".encode()])
    assert one == found[0]
    assert isinstance(other, WalkProblem)
    assert other.kind == "vanished"
    assert check_roots([root, "s3://walked/none", "s3://none"]).absent == ("s3://walked/none", "s3://none")


def test_files_are_read_with_their_size_and_time(s3: Any) -> None:
    s3.create_bucket(Bucket="read")
    s3.put_object(Bucket="read", Key="a.jpg", Body=b"12345")
    file, data = remote.read_file("s3://read/a.jpg", None)
    assert (file, data) == (remote.examine("s3://read/a.jpg"), b"12345")
    for path, limit, kind in (("s3://read/none.jpg", None, "vanished"), ("s3://read/a.jpg", 4, "too-large")):
        with pytest.raises(DecodeError) as caught:
            remote.read_file(path, limit)
        assert caught.value.kind == kind


def test_a_storage_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"nosuch://x: .*nosuch"):
        remote.check_root("nosuch://x")
    result = photoage("scan", "s3://nosuchbucket/x", database=tmp_path / "x.db")
    assert result.returncode == 1
    assert "s3://nosuchbucket/x: nothing is there" in result.stderr or "no such file" in result.stderr


def test_local_paths_never_load_it(tmp_path: Path) -> None:
    code = (
        "import sys, photoage.faces.read, photoage.photos.walk as w\n"
        "list(w.walk(['.'])); print('fsspec' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr


class StrictFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Like fsspec's for SFTP, knows no options but its own."""

    protocol = "strict"

    def __init__(self) -> None:
        super().__init__()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "type": "file" if path.endswith(".jpg") else "directory", "size": 1}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        return [self.info(f"{path}/a.jpg")]


def test_a_file_system_gets_no_options_that_it_may_not_know() -> None:
    fsspec.register_implementation("strict", StrictFileSystem)
    assert [getattr(found, "path", found) for found in walk(["strict://photos"])] == ["strict://photos/a.jpg"]
