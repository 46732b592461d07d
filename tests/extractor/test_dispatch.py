"""Units get done on nodes that join and leave, before and while they are handed out; on a cluster that exists in memory only."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.assembly import Assembly
from extractor.crew import Crew
from extractor.deadline import Deadline
from extractor.dispatch import Dispatcher
from extractor.executor import go_on
from extractor.receipt import Receipt
from extractor.sharing import Node
from extractor.slot import Slot
from extractor.unit_queue import Fault
from storage.errors import CodeMismatchError, RunError
from tests.extractor.simulated_cluster import SimulatedCluster, make_job, make_units, receipt_of


@pytest.fixture(autouse=True)
def _look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.dispatch.SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr("extractor.dispatch.CHECK_SECONDS", 0)


def gpus(name: str, n: int = 1) -> Node:
    return Node(name, f"address of {name}", 4.0 * n, n)


def run(cluster: SimulatedCluster, units: int, folder: Path = Path("/nowhere"), wanted: int | None = None) -> tuple[list[str], Any]:
    crew = cluster.crew(wanted)
    results = list(Dispatcher(cluster, crew, Deadline()).run(make_job(folder), make_units(units), go_on))
    assert all(isinstance(result, Receipt) for result in results)
    return sorted(result.unit for result in results if isinstance(result, Receipt)), crew


def ids(n: int) -> list[str]:
    return [unit.id for unit in make_units(n)]


def test_a_node_that_joins_gets_workers_and_units() -> None:
    cluster = SimulatedCluster([gpus("a")])
    cluster.script = [lambda: None, lambda: cluster.join(gpus("b", 2))]
    done, crew = run(cluster, 30)
    assert done == ids(30)
    assert [slot.place.node.id for slot in crew.slots] == ["a", "b", "b"]
    assert (crew.turnover.joined, crew.turnover.replaced, crew.turnover.left) == (2, 0, 0)
    assert sum(node == "b" for node, _ in cluster.worked) > 5


def test_as_many_workers_as_were_asked_for_and_no_more() -> None:
    cluster = SimulatedCluster([gpus("a", 2)])
    cluster.script = [lambda: cluster.join(gpus("b", 2))]
    assert [slot.place.node.id for slot in run(cluster, 20, wanted=2)[1].slots] == ["a", "a"]


def test_what_a_lost_node_had_goes_to_the_others_and_its_place_too_where_a_number_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    cluster = SimulatedCluster([gpus("a"), gpus("b", 2)])
    cluster.script = [lambda: None, lambda: cluster.leave("a")]
    done, crew = run(cluster, 20, wanted=2)
    assert done == ids(20)
    assert [slot.place.node.id for slot in crew.slots] == ["b", "b"]
    assert (crew.turnover.joined, crew.turnover.replaced, crew.turnover.left) == (1, 0, 1)
    assert "node address of a has left the cluster; its work goes to the others" in caplog.text


def test_a_node_that_fails_its_checks_is_not_used_and_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    cluster = SimulatedCluster([gpus("a")], bad=["b"])
    cluster.script = [lambda: cluster.join(gpus("b", 2))]
    done, crew = run(cluster, 20)
    assert done == ids(20)
    assert {node for node, _ in cluster.worked} == {"a"}
    assert crew.turnover.joined == 0
    assert caplog.text.count("a worker on address of b is not used: node b does not run what the driver runs") == 2
    assert sum(process.node == "b" for process in cluster.processes) == 2, "a place of no use is tried again and again"


def test_the_last_worker_that_fails_its_checks_ends_the_run() -> None:
    cluster = SimulatedCluster([gpus("a")])

    def another_code() -> None:
        cluster.bad.add("a")
        cluster.kill_one(0)

    cluster.script = [another_code]
    with pytest.raises(CodeMismatchError):
        run(cluster, 3)


def test_workers_that_die_before_they_have_work_are_not_started_for_ever() -> None:
    cluster = SimulatedCluster([gpus("a"), gpus("b")])

    def kill_on_b() -> None:
        for process in cluster.processes:
            process.alive &= process.node != "b"

    cluster.script = [kill_on_b] * 100
    done, crew = run(cluster, 60)
    assert done == ids(60)
    assert [slot.place.node.id for slot in crew.slots] == ["a"]
    assert sum(process.node == "b" for process in cluster.processes) == 4  # at the start, and three times after it


def test_where_nobody_is_left_the_run_waits_says_so_and_goes_on(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.dispatch.SECONDS_BETWEEN_NOTES", 0)
    cluster = SimulatedCluster([gpus("a")])
    cluster.script = [lambda: cluster.leave("a"), *[lambda: None] * 5, lambda: cluster.join(gpus("a2"))]
    with caplog.at_level(logging.WARNING):
        done, crew = run(cluster, 4)
    assert done == ids(4)
    assert "no worker is left: waiting for the cluster (0 are being started)" in caplog.text
    assert (crew.turnover.joined, crew.turnover.left) == (1, 1)


def test_workers_that_die_one_after_the_other_end_the_run() -> None:
    cluster = SimulatedCluster([gpus("a")])
    cluster.script = [lambda: cluster.kill_one(0)] * 100
    with pytest.raises(RunError, match="workers died in a row"):
        run(cluster, 3)


def test_the_last_units_one_for_each_worker_wait_for_whoever_is_free_first() -> None:
    cluster = SimulatedCluster([gpus("a", 2)])
    at_hand: list[list[int]] = []
    cluster.script = [lambda: at_hand.append(sorted(len(process.calls) for process in cluster.processes))] * 8
    assert run(cluster, 8)[0] == ids(8)
    assert at_hand == [[3, 3], [2, 3], [2, 2], [1, 2], [1, 1], [1, 1], [1, 1], [0, 1]]


def test_of_several_units_beside_a_death_none_is_blamed_and_all_are_tried_again_alone() -> None:
    cluster = SimulatedCluster([gpus("a")])  # it checks that a suspect is alone
    cluster.script = [lambda: None, lambda: cluster.kill_one(0, innocent=False)]
    dispatcher = Dispatcher(cluster, cluster.crew(), Deadline())
    results = list(dispatcher.run(make_job(Path("/nowhere")), make_units(6), go_on))
    assert [result.unit for result in results if isinstance(result, Receipt)] == ids(6)
    assert dispatcher.failures == {}


def test_a_unit_that_was_alone_when_its_worker_died_is_blamed() -> None:
    cluster = SimulatedCluster([gpus("a", 2)])
    cluster.script = [lambda: cluster.kill_one(0, innocent=False)]
    dispatcher = Dispatcher(cluster, cluster.crew(), Deadline())
    assert len(list(dispatcher.run(make_job(Path("/nowhere")), make_units(2), go_on))) == 2
    assert dispatcher.failures == {Fault.DIED: 1}


def test_a_unit_that_had_finished_when_its_worker_died_is_not_done_again(tmp_path: Path) -> None:
    cluster, job, [first, *others] = SimulatedCluster([gpus("a")]), make_job(tmp_path), make_units(3)
    cluster.script = [lambda: cluster.kill_one(0)]
    job.run.write_receipt(first.id, receipt_of(first, "a").to_table())
    results = list(Dispatcher(cluster, cluster.crew(), Deadline()).run(job, [first, *others], go_on))
    assert sorted(result.unit for result in results if isinstance(result, Receipt)) == ids(3)
    assert [unit for _, unit in cluster.worked] == ids(3)[1:]


@given(st.sets(st.integers(0, 47), max_size=2), st.integers(1, 3), st.booleans(), st.lists(st.integers(0, 9), max_size=3))
def test_an_item_that_kills_or_hangs_its_worker_is_found_whatever_runs_beside_it(
    fatal: set[int], workers: int, hangs: bool, kills: list[int]
) -> None:
    """kills: of processes, by somebody who tells nobody."""
    keys = {f"{i}.jpg" for i in fatal}
    cluster = SimulatedCluster([gpus("a", workers)], **{"hanging" if hangs else "deadly": keys})
    cluster.script = [partial(cluster.kill_one, number, innocent=False) for number in kills]
    with TemporaryDirectory() as folder:
        results = list(Dispatcher(cluster, cluster.crew(), Deadline(20)).run(make_job(Path(folder)), make_units(12, 4), go_on))
    rows = [row for result in results if isinstance(result, Receipt) for row in result.items.to_pylist()]
    assert sorted(row["key"] for row in rows) == sorted(f"{i}.jpg" for i in range(48))
    assert {row["key"] for row in rows if row["reason"]} == keys


events = st.one_of(
    st.builds(lambda number: ("kill", number), st.integers(0, 9)),
    st.builds(lambda name: ("leave", name), st.sampled_from("abcx")),
    st.builds(lambda name, n: ("join", name, n), st.sampled_from("bcdx"), st.integers(1, 3)),
    st.just(("nothing",)),
)


@given(st.lists(events, max_size=25), st.integers(1, 25), st.none() | st.integers(1, 4))
def test_every_unit_is_done_once_whatever_comes_and_goes(script: list[tuple[Any, ...]], units: int, wanted: int | None) -> None:
    """x is a node whose code is another one."""
    cluster = SimulatedCluster([gpus("a"), gpus("b", 2)], bad=["x"])
    steps = {"kill": cluster.kill_one, "leave": cluster.leave, "join": lambda name, n: cluster.join(gpus(name, n)), "nothing": lambda: None}
    cluster.script = [partial(steps[name], *arguments) for name, *arguments in script]
    cluster.script.append(lambda: cluster.join(gpus("last")))
    try:
        done, crew = run(cluster, units, wanted=wanted)
    except RunError:  # no unit between so many deaths
        assert sum(name == "kill" for name, *_ in script) > 20
        return
    except CodeMismatchError:
        assert not {node for node, _ in cluster.worked} - set("abcd")
        assert any(event[:2] == ("join", "x") for event in script)
        return
    assert done == ids(units)
    assert "x" not in {node for node, _ in cluster.worked}
    assert len(crew.slots) <= (wanted or 99)


def assembly(cluster: SimulatedCluster) -> tuple[Crew, Assembly]:
    crew = cluster.crew()

    def restart(slot: Slot) -> None:
        slot.actor = cluster.start(slot.place.node.id)

    return crew, Assembly(cluster, crew, restart)


def test_before_there_is_work_a_dead_worker_is_replaced_and_one_whose_node_is_gone_is_dropped() -> None:
    cluster = SimulatedCluster([gpus("a"), gpus("b", 2)])
    crew, before = assembly(cluster)
    cluster.script = [lambda: cluster.kill_one(1), lambda: cluster.leave("a")]
    answers = before.ask(cluster.ask)
    assert [answer.where for answer in answers] == ["b", "b"]
    assert [slot.place.node.id for slot in crew.slots] == ["b", "b"]


def test_a_worker_that_dies_again_and_again_before_there_is_work_ends_the_run_in_words() -> None:
    cluster = SimulatedCluster([gpus("a")])
    _, before = assembly(cluster)

    def dead(actor: Any) -> Any:
        actor.alive = False
        return cluster.ask(actor)

    with pytest.raises(RunError, match="could not start or died: the node has died"):
        before.ask(dead)


def test_errors_meant_for_people_arrive_as_they_are_before_there_is_work() -> None:
    cluster = SimulatedCluster([gpus("a")], bad=["a"])
    with pytest.raises(CodeMismatchError):
        assembly(cluster)[1].ask(cluster.ask)


def test_where_no_node_may_have_workers_one_is_wanted_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SimulatedCluster([Node("head", "address", 0.0)])
    crew = Crew()
    wanted: list[bool] = []
    monkeypatch.setattr("extractor.assembly.time.sleep", lambda _: cluster.join(gpus("a", 2)))
    places = Assembly(cluster, crew, lambda slot: None).await_places(wanted.append)
    assert [place.node.id for place in places] == ["a", "a"]
    assert wanted == [True, False]
