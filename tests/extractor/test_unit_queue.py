from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item
from extractor.plan import Unit
from extractor.unit_queue import MAX_FAILURES, Attempt, LostUnit, UnitQueue


def units(n: int) -> list[Unit]:
    return [Unit(f"{i:06d}", (Item(f"{i}.jpg", "1-1"),)) for i in range(n)]


def take(queue: UnitQueue) -> Attempt:
    attempt = queue.take()
    assert attempt is not None
    return attempt


def test_units_come_in_plan_order_and_then_none() -> None:
    queue = UnitQueue(units(3))
    assert [take(queue) for _ in range(3)] == [Attempt(unit) for unit in units(3)]
    assert queue.take() is None


def test_a_failed_unit_comes_back_after_the_others_as_the_next_attempt() -> None:
    first, second = units(2)
    queue = UnitQueue([first, second])
    assert queue.failed(take(queue), "boom") is None
    assert take(queue) == Attempt(second)
    assert take(queue) == Attempt(first, number=2, failures=1)


def test_a_unit_is_lost_after_its_last_failure_with_the_message() -> None:
    [unit] = units(1)
    queue = UnitQueue([unit])
    for _ in range(MAX_FAILURES - 1):
        assert queue.failed(take(queue), "boom") is None
    assert queue.failed(take(queue), "last words") == LostUnit(unit, "last words")
    assert queue.take() is None


def test_a_unit_put_back_is_next_and_no_failure() -> None:
    first, second = units(2)
    queue = UnitQueue([first, second])
    queue.put_back(take(queue))
    assert take(queue) == Attempt(first, number=2, failures=0)


def test_putting_back_does_not_use_up_the_tries() -> None:
    queue = UnitQueue(units(1))
    for _ in range(10 * MAX_FAILURES):
        queue.put_back(take(queue))
    for _ in range(MAX_FAILURES - 1):
        assert queue.failed(take(queue), "boom") is None


@given(st.integers(0, 6), st.lists(st.tuples(st.sampled_from(["take", "done", "failed", "put_back"]), st.integers(0, 5)), max_size=80))
def test_the_queue_never_loses_or_invents_a_unit(n: int, steps: list[tuple[str, int]]) -> None:
    queue = UnitQueue(units(n))
    in_flight: list[Attempt] = []
    done: list[Unit] = []
    lost: list[Unit] = []
    failures: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    for action, choice in steps:
        if action == "take":
            attempt = queue.take()
            if attempt:
                assert attempt.number > numbers.get(attempt.unit.id, 0)  # claims of an earlier attempt can be taken over
                assert attempt.failures == failures[attempt.unit.id]
                numbers[attempt.unit.id] = attempt.number
                in_flight.append(attempt)
        elif in_flight:
            attempt = in_flight.pop(choice % len(in_flight))
            if action == "done":
                done.append(attempt.unit)
            elif action == "put_back":
                queue.put_back(attempt)
            else:
                failures[attempt.unit.id] += 1
                result = queue.failed(attempt, "boom")
                assert (result is not None) == (failures[attempt.unit.id] == MAX_FAILURES)
                lost += [result.unit] if result else []
    waiting = []
    while (attempt := queue.take()) is not None:
        waiting.append(attempt.unit)
    everything = [*done, *lost, *waiting, *(attempt.unit for attempt in in_flight)]
    assert sorted(everything, key=lambda unit: unit.id) == units(n)
