"""The campaign on a cluster of three hosts, short; `python -m scripts.campaign_cluster` is the full one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from scripts.campaign_cluster import GPUS, HOSTS, campaign
from scripts.net_cluster import possible

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not possible(), reason="network namespaces cannot be made here (Linux, root and iproute2 are needed)"),
]


@pytest.mark.timeout(600)
def test_twenty_kills_of_actors_hosts_and_drivers_leave_the_undisturbed_version() -> None:
    """With workers that have no network, and a host that joins and leaves."""
    with tempfile.TemporaryDirectory(prefix="pfc-") as folder:
        outcome = campaign(Path(folder), kills=20, images=2000, seed=224, light=True)
    assert outcome.problems == []
    assert sum(outcome.kills.values()) == 20
    assert outcome.kills.keys() >= {"actor", "host", "driver"}
    assert outcome.joins


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_cluster_that_loses_actors_hosts_and_drivers_gives_the_undisturbed_version() -> None:
    with tempfile.TemporaryDirectory(prefix="pfc-") as folder:
        outcome = campaign(Path(folder), kills=4, images=600, seed=1)
    assert outcome.problems == []
    assert len(set(outcome.devices)) == HOSTS * GPUS
    assert sum(outcome.kills.values()) >= 1
