"""Scans in Ray: the same rows as a local scan's, and nothing lost or doubled with a node."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from conftest import ScannedLibrary
from faults.scanning import assert_same_rows, make_library, photoage, query, rows, wait_until

from photoage.errors import CheckpointError, DatabaseError, DetectorError, DeviceError, EngineError
from photoage.models import default_checkpoint
from photoage.records import PhotoFile, RunCounts
from photoage.scan.model_files import resolve_models
from photoage.scan.options import ScanOptions
from photoage.scan.ray_actors import ITEM, EstimateActor, HashActor, Job, ReadActor, row
from photoage.scan.ray_engine import RayEngine, gpu_actors
from photoage.scan.scan import scan

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("alone")]

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pa = pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")

SMALL = 80 << 20  # bytes of a node's object store
NODE = {"num_cpus": 1, "object_store_memory": SMALL, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes (raylets) with one core each; this process belongs to the first."""
    from ray.cluster_utils import Cluster

    # A dead node is given up after three checks, a second apart; a slow one has 10 to answer, as by default.
    checks = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": checks})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=SMALL)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def in_ray(
    cluster: Any, library: Path, database: Path, checkpoint: str | None = None, **calls: Any
) -> RunCounts:
    options = ScanOptions(engine="ray", ray_address=cluster.address, device="cpu", checkpoint=checkpoint)
    return scan([str(library)], database, options, **calls).counts


def test_two_nodes_give_the_rows_of_a_local_scan_and_read_nothing_twice(
    cluster: Any, scanned: ScannedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "ray.db"
    monkeypatch.chdir(tmp_path)  # where actors do not run
    Path("models").symlink_to(default_checkpoint().parent)
    counts = in_ray(cluster, scanned.library, database, f"models/{default_checkpoint().name}")
    local = query(scanned.database, "SELECT done, unreadable, duplicates, faces FROM scan_run")
    assert [(counts.done, counts.unreadable, counts.duplicates, counts.faces)] == local
    assert counts.unreadable == 3
    assert_same_rows(rows(database), rows(scanned.database))
    again = in_ray(cluster, scanned.library, database)
    assert again.unchanged == again.seen == counts.seen


class OnLogicalGpus(RayEngine):
    """The layout of a cluster with GPUs, but its actors estimate on the CPU: tests must run without a GPU."""

    layout: ClassVar[dict[type, dict[str, Any]]] = {}

    def _settings(self, stage: type, blocks: int) -> dict[str, Any]:
        self.layout[stage] = super()._settings(stage, blocks)
        return self.layout[stage]

    def _job(self) -> Job:
        return replace(super()._job(), device="cpu")


def test_actors_that_share_a_gpu_give_the_same_rows(
    cluster: Any, scanned: ScannedLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("photoage.scan.ray_engine.RayEngine", OnLogicalGpus)
    node = cluster.add_node(num_cpus=0, num_gpus=1, object_store_memory=SMALL)
    try:
        options = ScanOptions(engine="ray", ray_address=cluster.address, gpus_per_actor=0.5)
        counts = scan([str(scanned.library)], tmp_path / "ray.db", options).counts
        with pytest.raises(EngineError, match="`gpus_per_actor` 2: no machine of the cluster has that many"):
            scan([str(scanned.library)], tmp_path / "no.db", replace(options, gpus_per_actor=2.0))
    finally:
        cluster.remove_node(node)
    assert counts.unreadable == 3
    assert OnLogicalGpus.layout.keys() == {HashActor, ReadActor, EstimateActor}
    estimating = OnLogicalGpus.layout[EstimateActor]
    assert (estimating["num_gpus"], estimating["compute"].max_size) == (0.5, 2)
    assert_same_rows(rows(tmp_path / "ray.db"), rows(scanned.database))


def test_every_machine_has_the_actors_that_its_gpus_allow() -> None:
    assert gpu_actors([1, 0], 0.5) == 2
    assert gpu_actors([1], 0.1) == 10
    assert gpu_actors([3, 3], 2) == 2
    assert gpu_actors([1, 1], 2) == 0


def test_what_others_use_of_a_cluster_is_not_waited_for() -> None:
    import ray.data

    engine = RayEngine(ScanOptions(engine="ray"), resolve_models(ScanOptions()), lambda: False)
    for free, first in ({"CPU": 3.0}, 3), ({}, 1), ({"CPU": 64.0}, 64):
        engine._ray = SimpleNamespace(
            data=ray.data,
            cluster_resources=lambda: {"CPU": 64.0},
            available_resources=lambda free=free: free,
        )
        pool = engine._settings(ReadActor, 1000)["compute"]
        assert (pool.min_size, pool.initial_size, pool.max_size) == (1, first, 64)


def test_a_scan_that_was_stopped_and_lost_a_node_is_complete(cluster: Any, tmp_path: Path) -> None:
    library = make_library(tmp_path / "library", 200)
    for copy in library.rglob("*[89].jpg"):
        copy.unlink()
    scan([str(library)], tmp_path / "local.db", ScanOptions(device="cpu"))
    expected = rows(tmp_path / "local.db")
    database = tmp_path / "ray.db"
    options = ScanOptions(engine="ray", ray_address=cluster.address, device="cpu")
    stored: list[int] = []

    def note(counts: RunCounts) -> None:
        stored.append(counts.finished)

    before = set(threading.enumerate())
    stopped = scan([str(library)], database, options, progress=note, should_stop=lambda: len(stored) > 1)
    assert stopped.interrupted
    assert set(threading.enumerate()) <= before, "a thread that asks Ray for more ends the process"
    assert 0 < stopped.counts.finished < 100
    assert query(database, "SELECT status FROM scan_run") == [("interrupted",)]

    (node,) = cluster.worker_nodes
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    workers: list[Any] = []

    def kill_node(counts: RunCounts) -> None:
        if not workers and counts.done > 0:
            workers.extend(p for p in raylet.children(recursive=True) if "ScanActor" in p.name())
            raylet.kill()
            assert counts.finished < 120, "the node would be lost after its work"

    counts = scan([str(library)], database, options, progress=kill_node).counts
    assert workers, "the lost node had no part in the scan"
    assert wait_until(lambda: not any(worker.is_running() for worker in workers), 30)
    assert counts.seen == counts.finished == 160
    assert_same_rows(rows(database), expected)
    assert query(database, "SELECT count(*) FROM estimate") == query(database, "SELECT count(*) FROM face")


def test_an_error_ends_a_scan_and_not_the_process(cluster: Any, tmp_path: Path, sample_library: Path) -> None:
    def fail(counts: RunCounts) -> None:
        raise DatabaseError("the disk is full")

    before = set(threading.enumerate())
    with pytest.raises(DatabaseError, match="the disk is full"):
        in_ray(cluster, sample_library / "people", tmp_path / "ray.db", progress=fail)
    assert set(threading.enumerate()) <= before


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, sample_library: Path) -> None:
    library = sample_library / "people"
    address = ("--ray-address", "127.0.0.1:1")
    result = photoage("scan", "--engine", "ray", *address, library, database=tmp_path / "x.db")
    assert result.returncode == 1
    assert result.stderr.startswith("photoage: error: Ray at 127.0.0.1:1: ")
    assert result.stderr.count("\n") == 1
    for wrong in (address, ("--engine", "ray", "--gpus-per-actor", "1.5")):
        result = photoage("scan", *wrong, library, database=tmp_path / "x.db")
        assert result.returncode == 2


def test_other_models_on_a_worker_end_the_scan() -> None:
    options = ScanOptions()
    models = resolve_models(options)
    table = pa.Table.from_pylist([row(0, PhotoFile("/nothing/here.jpg", 1, 1))])
    (error,) = ReadActor(Job(options, "0" * 64, models.checkpoint_sha256, "cpu"))(table)[ITEM]
    assert isinstance(error, DetectorError)
    job = Job(options, models.detector.sha256, "0" * 64, "cpu")
    (error,) = EstimateActor(job)({ITEM: np.array([], dtype=object)})[ITEM]
    assert isinstance(error, CheckpointError)
    assert EstimateActor(job)({ITEM: np.array([error])})[ITEM][0] is error


def test_a_gpu_that_the_cluster_lacks_is_refused(cluster: Any, tmp_path: Path, sample_library: Path) -> None:
    options = ScanOptions(engine="ray", ray_address=cluster.address, device="cuda")
    with pytest.raises(DeviceError, match="the Ray cluster has no GPU"):
        scan([str(sample_library / "people")], tmp_path / "x.db", options)


def test_undecodable_paths_reach_the_workers(tmp_path: Path, sample_library: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copyfile(sample_library / "people" / "eileen_collins.png", path)
    models = resolve_models(ScanOptions())
    job = Job(ScanOptions(), models.detector.sha256, models.checkpoint_sha256, "cpu")
    file = PhotoFile(os.fsdecode(path), 1, 1)
    table = pa.Table.from_pylist([row(7, file), row(8, PhotoFile("/nothing/here.jpg", 1, 1))])
    found, lost = ReadActor(job)(table)[ITEM]
    assert (found.task, found.value.known, len(found.value.crops)) == (7, False, 1)
    assert (lost.task, lost.failure.kind) == (8, "vanished")
    hashes = ["0" * 32, found.value.faces.content_hash]
    (known,) = ReadActor(job)(pa.Table.from_pylist([row(9, file, hashes=hashes)]))[ITEM]
    assert (known.value.known, len(known.value.crops)) == (True, 0)
    assert known.value.faces.content_hash == hashes[1]
