"""Metrics leave the driver by Ray's own way: to the agent of its node, and from there to Prometheus where ray[default] is installed."""

from __future__ import annotations

import importlib.util
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from extractor.cluster_access import use_a_private_token
from tests.extractor.light import LightRayExecutor
from tests.extractor.node_agent import NodeAgent
from tests.extractor.simulated_cluster import make_job, make_units

pytestmark = pytest.mark.slow
HAS_AGENTS = importlib.util.find_spec("opentelemetry") is not None
SECONDS = 30.0


@contextmanager
def head(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[Cluster]:
    use_a_private_token()  # one for the whole process: Ray reads it once
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    arguments = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000, **options}
    made = Cluster(initialize_head=True, head_node_args={**arguments, "_system_config": {"metrics_report_interval_ms": 1000}})
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def run_units(cluster: Cluster, folder: Path, units: int) -> LightRayExecutor:
    executor = LightRayExecutor(1, address=cluster.address, unit_seconds=0.01)
    executor.start()
    executor.begin(make_job(folder), [[]])
    for done, _ in enumerate(executor.run(make_units(units)), start=1):
        executor.tell_pending(units - done)
    return executor


def until(met: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not met() and time.monotonic() < deadline:
        time.sleep(0.1)
    return met()


@pytest.mark.skipif(HAS_AGENTS, reason="ray[default] brings agents of its own, which want the place of the one here")
def test_what_a_run_counts_reaches_the_agent_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends as soon as the units are done: nothing of the last second is lost."""
    with NodeAgent() as agent, head(monkeypatch, metrics_agent_port=agent.port) as cluster:
        run_units(cluster, tmp_path / "team", 20).close()
        tags = {"set": f"{tmp_path.name}/team/set".partition("/")[2], "run": "run"}
        assert until(lambda: agent.value("permafrost_units_finished", **tags) == 20), agent.found
        assert agent.value("permafrost_images_embedded", **tags) == agent.value("permafrost_images_read", **tags) == 20
        assert agent.value("permafrost_bytes_read", **tags) == 200
        assert agent.value("permafrost_stage_seconds", stage="infer", **tags) == 10.0
        assert agent.value("permafrost_unit_seconds", **tags) == 20
        assert agent.value("permafrost_workers", **tags) == 1
        assert {name for name, _ in agent.found if name.startswith("permafrost_")} >= {"permafrost_items_pending"}


@pytest.mark.skipif(not HAS_AGENTS, reason="ray[default] is not installed (the extra `metrics`)")
def test_prometheus_can_scrape_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with head(monkeypatch) as cluster:
        executor = run_units(cluster, tmp_path / "team", 20)
        [node] = ray.nodes()
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

        def scraped() -> bool:
            with urllib.request.urlopen(url, timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            return any(line.startswith("ray_permafrost_units_finished_total{") and line.endswith(" 20.0") for line in lines)

        assert until(scraped)
        executor.close()
