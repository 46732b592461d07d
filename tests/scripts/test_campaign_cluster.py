"""The campaign on a cluster of three hosts, short; `python -m scripts.campaign_cluster` is the full one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from scripts.campaign_cluster import GPUS, HOSTS, campaign
from scripts.net_cluster import possible


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_cluster_that_loses_actors_hosts_and_drivers_gives_the_undisturbed_version() -> None:
    if not possible():
        pytest.skip("network namespaces cannot be made here (Linux, root and iproute2 are needed)")
    with tempfile.TemporaryDirectory(prefix="pfc-") as folder:
        outcome = campaign(Path(folder), kills=4, images=600, seed=1)
    assert outcome.problems == []
    assert len(set(outcome.devices)) == HOSTS * GPUS
    assert sum(outcome.kills.values()) >= 1
