"""Every worker fits on its node, all at once; nodes that join and leave change nothing for the others."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.sharing import Node, Place, Sharing, helper_places


def cluster(*nodes: tuple[float, float]) -> list[Node]:
    return [Node(f"{i:02d}", f"10.0.0.{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes)]


def start(nodes: list[Node], wanted: int | None = None) -> list[Place]:
    return Sharing.among(nodes, wanted).missing(nodes, {})


def shape(places: list[Place]) -> list[tuple[str, float, float, int]]:
    return sorted((place.node.id, place.cpus, place.gpus, place.threads) for place in places)


@pytest.mark.parametrize(
    ("nodes", "wanted", "expected"),
    [
        pytest.param([(2, 0)], None, [("00", 2, 0, 2)], id="a laptop is one worker"),
        pytest.param([(2, 0)], 2, [("00", 1, 0, 1)] * 2, id="two on a laptop"),
        pytest.param([(2, 0)], 4, [("00", 0.5, 0, 1)] * 4, id="more workers than CPUs"),
        pytest.param([(16, 0)], None, [("00", 4, 0, 4)] * 4, id="one for each four CPUs"),
        pytest.param([(6, 0), (16, 0)], None, [("00", 6, 0, 6), *[("01", 4, 0, 4)] * 4], id="all CPUs of unequal nodes"),
        pytest.param([(2, 0)] * 6, None, [(f"{i:02d}", 2, 0, 2) for i in range(6)], id="many small nodes, where twelve CPUs made three"),
        pytest.param([(0, 0), (8, 0)], None, [("01", 4, 0, 4)] * 2, id="a head without CPUs is left alone"),
        pytest.param([(8, 1), (8, 3)], None, [("00", 8, 1, 8), *[("01", 2, 1, 2)] * 3], id="one GPU here, three there"),
        pytest.param([(64, 0), (4, 2)], None, [("01", 2, 1, 2)] * 2, id="CPU-only nodes beside GPU nodes have none"),
        pytest.param([(70, 3), (2, 1)], None, [*[("00", 23, 1, 23)] * 3, ("01", 2, 1, 2)], id="no more CPUs than the node has"),
        pytest.param([(8, 2)], 3, [("00", 2.0, 0.5, 2)] * 3, id="three on two GPUs, where thirds of the sum fit on no GPU"),
        pytest.param([(6, 1)], 3, [("00", 2, 0.3333, 2)] * 3, id="three on a GPU"),
        pytest.param([(64, 8)], 1, [("00", 64, 1, 64)], id="a lone one has the node's CPUs"),
        pytest.param([(8, 1), (8, 3)], 2, [("00", 8, 1, 8), ("01", 4, 1, 4)], id="two are spread"),
        pytest.param([(0, 1)], None, [("00", 0, 1, 1)], id="a GPU and no CPUs"),
        pytest.param([], None, [], id="nobody is there"),
        pytest.param([(0, 0)], 2, [], id="nobody who may work"),
    ],
)
def test_shares(nodes: list[tuple[float, float]], wanted: int | None, expected: list[tuple[str, float, float, int]]) -> None:
    assert shape(start(cluster(*nodes), wanted)) == sorted(expected)


nodes_strategy = st.lists(st.tuples(st.integers(0, 96), st.sampled_from([0, 0, 1, 2, 3, 8])), min_size=1, max_size=6)
wanted_strategy = st.none() | st.integers(1, 40)


def assert_all_fit(places: list[Place]) -> None:
    """Placed one after the other, a part of a GPU always on one GPU, as Ray does it."""
    for node in {place.node.id: place.node for place in places}.values():
        here = [place for place in places if place.node.id == node.id]
        assert sum(place.cpus for place in here) <= node.cpus + 1e-9  # Ray counts in ten thousandths
        gpus = [1.0] * int(node.gpus)
        for place in here:
            if place.gpus:
                fitting = [i for i, left in enumerate(gpus) if left >= place.gpus - 1e-9]
                assert fitting, "a worker for which no GPU has room"
                gpus[fitting[0]] -= place.gpus


@given(nodes_strategy, wanted_strategy)
def test_every_worker_fits_all_at_once(drawn: list[tuple[int, int]], wanted: int | None) -> None:
    nodes = cluster(*drawn)
    places = start(nodes, wanted)
    assert_all_fit(places)
    usable = [node for node in nodes if (node.gpus if any(n.gpus for n in nodes) else node.cpus)]
    assert len(places) == wanted if wanted and usable else bool(places) == bool(usable)
    assert all(place.gpus or not any(node.gpus for node in nodes) for place in places), "GPUs are there and a worker has none"
    if wanted is None:
        assert {place.node.id for place in places} == {node.id for node in usable}


@given(nodes_strategy, nodes_strategy, wanted_strategy, st.data())
def test_nodes_that_come_and_go(
    first: list[tuple[int, int]], later: list[tuple[int, int]], wanted: int | None, data: st.DataObject
) -> None:
    """What is there stays where it is, what is added fits beside it, and a node has room again for those that it lost."""
    nodes = cluster(*first)
    sharing = Sharing.among(nodes, wanted)
    there = sharing.missing(nodes, {})
    gone = data.draw(st.sets(st.sampled_from([node.id for node in nodes])))
    there = [place for place in there if place.node.id not in gone]
    nodes = [node for node in nodes if node.id not in gone] + [
        Node(f"new-{i}", "10.0.1.1", cpus, gpus) for i, (cpus, gpus) in enumerate(later)
    ]
    added = sharing.missing(nodes, Counter(place.node.id for place in there))
    assert_all_fit(there + added)
    room = sum(sharing.room(node) for node in nodes)
    assert len(there + added) == min(room, wanted or room)


def test_places_of_no_use_are_not_taken_again() -> None:
    nodes = cluster((4, 1), (4, 2))
    sharing = Sharing.among(nodes)
    assert [place.node.id for place in sharing.missing(nodes, {"00": 1, "01": 1})] == ["01"]
    assert sharing.missing(nodes, {"00": 1, "01": 2}) == []


@pytest.mark.parametrize(
    ("nodes", "workers", "wanted", "expected"),
    [
        pytest.param([(8, 1), (16, 0)], None, 1, [("01", 16, 0, 16)], id="all of a node"),
        pytest.param([(8, 1), (16, 0)], None, 4, [("01", 4, 0, 4)] * 4, id="shares of it"),
        pytest.param([(8, 1), (4, 0), (8, 0)], None, 3, [("01", 4, 0, 4), *[("02", 4, 0, 4)] * 2], id="unequal nodes"),
        pytest.param([(1, 1), (1, 0)], None, 2, [("01", 0.5, 0, 1)] * 2, id="more helpers than CPUs"),
        pytest.param([(4, 0), (4, 0)], 1, 1, [("01", 4, 0, 4)], id="a node that is free of workers"),
        pytest.param([(4, 0), (4, 0)], None, 1, [], id="none is"),
        pytest.param([(8, 1), (0, 0)], None, 1, [], id="a head without CPUs is left alone"),
    ],
)
def test_helpers_are_where_no_worker_and_no_gpu_is(
    nodes: list[tuple[float, float]], workers: int | None, wanted: int, expected: list[tuple[str, float, float, int]]
) -> None:
    made = cluster(*nodes)
    assert shape(helper_places(made, start(made, workers), wanted)) == expected
