"""Decode helpers as Ray actors on a node beside that of the workers: placed, asked and killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from extractor.cluster_access import use_a_private_token
from extractor.decode_stream import DecodeStream
from extractor.helped_pipeline import HelpedPipeline
from extractor.helper_pool import HelperPool
from extractor.input_kind import InputKind
from extractor.limits import DEFAULT_LIMITS
from extractor.pipeline import DecodePipeline, Outcomes
from scripts.process_tree import command, descendants
from tests.extractor.light import LightRayExecutor
from tests.extractor.simulated_cluster import make_job

pytestmark = pytest.mark.slow
OBJECT_STORE = 80_000_000  # bytes
KINDS = [InputKind(64)]
PATIENCE = 90  # seconds: on a busy machine the worker is done with these small images before the helper has begun, 20 times over


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head with a CPU and a made-up GPU, and a node with a CPU."""
    use_a_private_token()
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = {"num_cpus": 1, "num_gpus": 1, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
    yield made
    ray.shutdown()
    made.shutdown()


def decode(pipeline: DecodePipeline | HelpedPipeline) -> tuple[dict[int, Any], Outcomes]:
    found = {}
    for positions, [images] in pipeline.batches():
        found |= dict(zip(positions, images.numpy(), strict=True))
    return found, pipeline.outcomes


def test_helpers_decode_what_the_worker_would_and_may_die(
    cluster: Cluster, make_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.shared_unit.CHUNK", 8)
    source = make_corpus(96)
    files = [str(path) for path in sorted(source.rglob("*.*"))]
    stream = DecodeStream(KINDS, 8, 1, DEFAULT_LIMITS.pixels)
    everyone: Callable[[Any], list[int]] = lambda digests: [1] * len(digests)  # noqa: E731
    alone, expected = decode(DecodePipeline(files, everyone, KINDS, 8, 1, stream=stream))
    executor = LightRayExecutor(address=cluster.address, helpers=1)
    try:
        executor.start()
        executor.begin(make_job(tmp_path), [[]])
        pool = HelperPool(executor._helper_crew.helpers)  # as a worker has it
        for kills in (0, 1):
            until = time.monotonic() + PATIENCE
            while True:
                pipeline = HelpedPipeline(files, everyone, KINDS, 1, DEFAULT_LIMITS, None, stream, pool)
                if kills:
                    [helper] = [pid for pid in descendants(os.getpid()) if command(pid).startswith("ray::HelperProcess")]
                    os.kill(helper, signal.SIGKILL)
                images, outcomes = decode(pipeline)
                assert images.keys() == alone.keys()
                assert all((images[position] == alone[position]).all() for position in alone)
                assert (outcomes.digests, outcomes.rejects, outcomes.read) == (expected.digests, expected.rejects, expected.read)
                if kills or outcomes.helped:
                    break
                assert time.monotonic() < until, "no image was decoded by the helper"
        pool.close()
    finally:
        executor.close()
