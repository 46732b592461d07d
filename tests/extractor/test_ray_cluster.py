"""Clusters of several nodes on this machine: who sees which GPU, and nodes that join and leave. The workers have no network."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from extractor.cluster_access import use_a_private_token
from extractor.receipt import Receipt
from tests.extractor.light import LightRayExecutor
from tests.extractor.simulated_cluster import make_job, make_units

pytestmark = pytest.mark.slow
OBJECT_STORE = 80_000_000  # bytes


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head with a CPU and no GPU. Nodes must agree on a token (https://docs.ray.io/en/latest/ray-security/token-auth.html)."""
    use_a_private_token()  # one for the whole process: Ray reads it once
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": OBJECT_STORE})
    yield made
    ray.shutdown()
    made.shutdown()


def add(cluster: Cluster, cpus: int, gpus: int) -> Any:
    return cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=OBJECT_STORE)


def seen(workers: Iterable[str]) -> Counter[str]:
    """What workers see, as "GPU number threads", with how many see that."""
    return Counter(worker.partition(" ")[2] for worker in workers)


def test_nodes_that_join_leave_and_fail_their_checks(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head has CPUs only, and no workers. Of unequal nodes each worker sees its own GPU and has its share of the CPUs."""
    monkeypatch.setattr("extractor.dispatch.SECONDS_BETWEEN_LOOKS", 0.2)
    first = add(cluster, 1, 1)
    executor = LightRayExecutor(address=cluster.address, refusing=2.0)
    try:
        executor.start()
        [alone] = executor.use_engine(executor.ask_one("choose_engine", 7, [None]))  # which those that join are told as well
        assert alone.engine.why == "for 7 images"
        executor.begin(make_job(tmp_path), [[]])
        results = executor.run(make_units(4000))
        units = [receipt for receipt in (next(results) for _ in range(3)) if isinstance(receipt, Receipt)]
        add(cluster, 1, 2)  # its workers fail the golden images
        add(cluster, 6, 3)
        units += until(results, lambda: executor.turnover.joined == 3)
        cluster.remove_node(first, allow_graceful=True)
        units += until(results, lambda: executor.turnover.left == 1)
        executor.drain()
        units += [receipt for receipt in results if isinstance(receipt, Receipt)]
        assert len({receipt.unit for receipt in units}) == len(units)
        workers = {receipt.worker for receipt in units}
        assert f"{alone.where} openvino" in workers
        assert seen(workers) == {"GPU 0 1 openvino": 1, "GPU 0 2 openvino": 1, "GPU 1 2 openvino": 1, "GPU 2 2 openvino": 1}
        assert (executor.turnover.joined, executor.turnover.left) == (3, 1)
    finally:
        executor.close()


@pytest.mark.full
def test_several_workers_a_gpu_on_unequal_nodes(cluster: Cluster) -> None:
    add(cluster, 1, 1)
    add(cluster, 6, 3)
    executor = LightRayExecutor(8, address=cluster.address)
    try:
        assert seen(info.where for info in executor.start()) == {"GPU 0 1": 4, "GPU 1 1": 2, "GPU 2 1": 2}
    finally:
        executor.close()


def until(results: Iterator[Any], met: Callable[[], bool], seconds: float = 60.0) -> list[Receipt]:
    late = threading.Event()
    timer = threading.Timer(seconds, late.set)
    timer.start()
    found = []
    while not met():
        assert not late.is_set(), "nothing came of it"
        found.append(next(results))
    timer.cancel()
    return found
