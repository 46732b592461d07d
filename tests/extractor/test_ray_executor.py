"""What only Ray can do to us: dead actors, other people's clusters, read-only homes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import ray

from extractor.code_version import code_digest
from extractor.folder_corpus import list_folder
from extractor.golden_images import draw_golden_images
from extractor.job import Job
from extractor.plan import Unit
from extractor.ray_executor import RayExecutor
from extractor.receipt import Receipt
from extractor.recipe import Recipe
from extractor.unit_queue import LONE_FAILURES
from scripts.process_tree import command, descendants
from storage.digests import words_of
from storage.errors import CodeMismatchError, PermafrostError, UsageError
from storage.golden import GoldenImages
from storage.runs import RunFolder
from storage.shard import ShardLayout
from tests.extractor.conftest import SMALL_START
from tests.extractor.marked import HANG, KILL, TERM, BreakingRayExecutor, mark

RECIPE = SMALL_START
pytestmark = pytest.mark.slow


@pytest.fixture
def started() -> Iterator[RayExecutor]:
    executor = BreakingRayExecutor((RECIPE,), 1, deadline=6)
    executor.start()
    yield executor
    executor.close()


def make_job(executor: RayExecutor, source: Path, set_folder: Path) -> Job:
    images = tuple(draw_golden_images().values())
    golden = GoldenImages(("a", "b", "c", "d"), images, executor.embed_images(images)[0])
    layout = ShardLayout(golden.embeddings.shape[1:], "float32", "space")
    return Job(RunFolder(set_folder, "run"), "photos", source, "parquet", layout, golden)


def actor_processes() -> list[int]:
    """Process ids of the actors below this process, by the names that Ray gives them; other tests may have theirs."""
    return [pid for pid in descendants(os.getpid()) if command(pid).startswith(("ray::_Actor", "ray::_Claims"))]


def until(met: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(0.05)
    return met()


def test_killed_workers_and_claims_cost_a_unit_one_attempt(
    started: RayExecutor, make_corpus: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And whatever is made anew knows what was known, which is embedded by nobody."""
    source = make_corpus(40)
    items = tuple(list_folder(source).items)
    known = [hashlib.sha256((source / items[i].key).read_bytes()).digest() for i in (0, 39)]
    started.begin(make_job(started, source, tmp_path / "set"), [[words_of(known[:1]), words_of(known[1:])]])
    results = started.run([Unit(f"{start:06d}", items[start : start + 10]) for start in range(0, 40, 10)])
    first = next(results)
    assert until(lambda: len(actor_processes()) == 2)  # a process takes its name a little after it has begun
    for pid in actor_processes():
        os.kill(pid, signal.SIGKILL)
    receipts = [first, *results]
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    assert sorted(receipt.unit for receipt in receipts if isinstance(receipt, Receipt)) == ["000000", "000010", "000020", "000030"]
    rows = [row for receipt in receipts if isinstance(receipt, Receipt) for row in receipt.items.to_pylist()]
    digests = {row["digest"] for row in rows if row["row"] is not None}
    assert len(digests) == 38
    assert digests.isdisjoint(known)
    assert "core_worker" not in capfd.readouterr().err  # Ray warned of references that the register's constructor was given


@pytest.mark.full
def test_images_that_kill_or_hang_a_worker_are_rejects_and_a_worker_sent_away_blames_nobody(
    started: RayExecutor, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    source = make_corpus(6)
    paths = sorted(source.rglob("*.*"))
    mark(paths[1], KILL)
    mark(paths[2], HANG)
    mark(paths[5], TERM, b":" + os.fsencode(tmp_path / "sent away once"))
    started.begin(make_job(started, source, tmp_path / "set"), [[]])
    items = tuple(list_folder(source).items)
    results = list(
        started.run([Unit("000000", items[:1]), Unit("000001-0", items[1:2]), Unit("000002", items[2:3]), Unit("000003-0", items[3:])])
    )
    assert all(isinstance(result, Receipt) for result in results)
    rows = {row["key"]: row for result in results if isinstance(result, Receipt) for row in result.items.to_pylist()}
    assert {key for key, row in rows.items() if row["reason"] is None} == {items[i].key for i in (0, 3, 4, 5)}
    assert "died" in rows[items[1].key]["message"]
    assert "no end within 6 s" in rows[items[2].key]["message"]
    assert (tmp_path / "sent away once").exists()
    assert {result.unit for result in results if isinstance(result, Receipt)} == {
        "000000",
        "000001-0",
        "000002",
        "000003-0",
    }  # a part that is blamed would be split at once
    assert started.turnover.replaced == LONE_FAILURES + 1 + 1  # killed, hung, sent away


def test_errors_of_a_worker_arrive_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"not HDF5")
    executor = RayExecutor([Recipe("mobilenet_v2", str(tmp_path / "w.h5"), input_size=32)], 1)
    try:
        with pytest.raises(UsageError, match="not a readable HDF5 file"):
            executor.start()
    finally:
        executor.close()


@pytest.mark.full
def test_a_program_that_is_connected_stays_connected_and_hears_that_actors_are_awaited(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.assembly.SECONDS_BETWEEN_NOTES", 0.2)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        executor = RayExecutor([RECIPE], 1)
        executor.start()
        executor.close()
        assert ray.is_initialized()
        assert "waiting for the cluster to start 1 of 1 workers" in caplog.text
    finally:
        ray.shutdown()


def test_a_worker_with_other_code_is_refused_before_it_builds_anything(tmp_path: Path) -> None:
    """Its environment puts a modified copy of the packages first. By `sitecustomize`: a driver's paths come before PYTHONPATH."""
    root = Path(__file__).parents[2]
    for package in ("extractor", "storage"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "extractor" / "engine.py").open("a") as file:
        file.write("raise RuntimeError('this code must not run')\n")
    (tmp_path / "sitecustomize.py").write_text("import extractor, storage")

    class Elsewhere(RayExecutor):
        actor_environment: ClassVar = {**RayExecutor.actor_environment, "PYTHONPATH": str(tmp_path)}

    executor = Elsewhere([RECIPE], 1)
    try:
        with pytest.raises(CodeMismatchError, match=rf"node \S+ does not run what the driver runs: code \w+ there, {code_digest()} here"):
            executor.start()
    finally:
        executor.close()


def test_an_unreachable_cluster_is_told_in_words() -> None:
    with pytest.raises(PermafrostError, match="nobody answers at"):
        RayExecutor([RECIPE], 1, "127.0.0.1:1").start()


def test_a_private_cluster_writes_nothing_to_home(tmp_path: Path) -> None:
    code = "from extractor.ray_executor import _connect; _connect(None); import ray; ray.shutdown()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[2], check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
