"""The units of a worker have their turns in the order in which they came, and its time is booked once."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from extractor.turns import Turns


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_published_beside_another_units_work_costs_nothing_more(clock: Clock) -> None:
    turns = Turns(clock)
    with ExitStack() as first, ExitStack() as second:
        a = first.enter_context(turns.take())
        clock.now += 1
        a.lap("wait")
        clock.now += 2
        a.lap("infer")
        b = second.enter_context(turns.take())
        clock.now += 4
        a.lap("infer")
        a.embedded()
        clock.now += 8
        b.lap("wait")
        a.published()
        first.close()
        clock.now += 16
        b.lap("infer")
        b.embedded()
        clock.now += 32
        b.published()
    assert dict(a.seconds) == {"wait": 1, "infer": 6}
    assert dict(b.seconds) == {"wait": 8, "infer": 16, "publish": 32}


def test_a_unit_that_comes_while_only_publishing_is_done_begins_its_time_then(clock: Clock) -> None:
    turns = Turns(clock)
    with turns.take():
        pass
    clock.now += 1000  # nothing to do: nobody's time
    with ExitStack() as first, ExitStack() as second:
        a = first.enter_context(turns.take())
        clock.now += 1
        a.lap("infer")
        a.embedded()
        clock.now += 2
        b = second.enter_context(turns.take())
        clock.now += 4
        a.published()
        b.lap("wait")
        b.embedded()
        clock.now += 8
        first.close()
        b.published()
    assert dict(a.seconds + b.seconds) == {"infer": 1, "publish": 10, "wait": 4}


def test_of_two_that_publish_the_time_is_booked_once(clock: Clock) -> None:
    turns = Turns(clock)
    with turns.take() as a, turns.take() as b:
        a.embedded()
        b.embedded()
        clock.now += 3
        a.published()
        clock.now += 4
        b.published()
    assert (a.seconds["publish"], b.seconds["publish"]) == (3, 4)


def test_the_time_of_a_unit_that_fails_is_nobodys(clock: Clock) -> None:
    turns = Turns(clock)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(turns.take())
        b = second.enter_context(turns.take())
        clock.now += 5
        first.close()
        clock.now += 2
        b.lap("wait")
    assert dict(b.seconds) == {"wait": 2}


@pytest.mark.parametrize("fails", [False, True])
def test_turns_are_had_in_the_order_of_coming_also_where_one_fails(fails: bool) -> None:
    turns, told = Turns(), list[str]()
    came, all_are_there = threading.Event(), threading.Event()

    def unit(name: str) -> None:
        with turns.take() as turn:
            came.set()
            turn.await_decoding()
            told.append(f"{name} decodes")
            if name == "a":
                assert all_are_there.wait(10)
                if fails:
                    return
            turn.decoded()
            turn.await_embedding()
            told.append(f"{name} embeds")
            turn.embedded()
            turn.published()

    threads = [threading.Thread(target=unit, args=(name,)) for name in "abc"]
    for thread in threads:
        came.clear()
        thread.start()
        assert came.wait(10)
    all_are_there.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for what, names in {"decodes": "abc", "embeds": "bc" if fails else "abc"}.items():
        assert [line for line in told if line.endswith(what)] == [f"{name} {what}" for name in names]


def test_one_decodes_while_the_one_before_embeds() -> None:
    turns = Turns()
    with turns.take() as a, turns.take() as b:
        a.await_decoding()
        a.decoded()
        a.await_embedding()
        b.await_decoding()  # returns
        a.embedded()
        b.await_embedding()
