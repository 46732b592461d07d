from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractor.corpus import Item
from extractor.plan import Unit, planned_id
from extractor.unit_queue import MAX_FAILURES, MAX_IN_A_ROW, SAME_EVERYWHERE, Attempt, Fault, LostUnit, Poison, UnitQueue
from storage.errors import RunError

Given = LostUnit | Poison


def units(n: int, items: int = 1) -> list[Unit]:
    return [Unit(f"{i:06d}", tuple(Item(f"{i}-{j}.jpg", "1-1") for j in range(items))) for i in range(n)]


def take(queue: UnitQueue) -> Attempt:
    attempt = queue.take()
    assert attempt is not None
    return attempt


def test_units_come_in_plan_order_and_then_none() -> None:
    queue = UnitQueue(units(3))
    assert [take(queue) for _ in range(3)] == [Attempt(unit) for unit in units(3)]
    assert queue.take() is None
    assert not queue.done


def test_a_failed_unit_comes_back_after_the_others_as_the_next_attempt() -> None:
    first, second = units(2)
    queue = UnitQueue([first, second])
    assert queue.failed(take(queue), "boom") == []
    assert take(queue) == Attempt(second)
    assert take(queue) == Attempt(first, number=2, failures=1)


def test_a_unit_that_the_storage_fails_is_lost_whole_after_its_last_failure() -> None:
    [unit] = units(1, items=4)
    queue = UnitQueue([unit])
    for _ in range(MAX_FAILURES - 1):
        assert queue.failed(take(queue), "boom", Fault.STORAGE) == []
    assert queue.failed(take(queue), "last words", Fault.STORAGE) == [LostUnit(unit, "last words")]
    assert queue.done


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
        assert queue.failed(take(queue), "boom") == []


def test_beside_another_unit_there_is_none_that_is_to_run_alone_and_none_of_the_last_ones_but_for_a_lone_worker() -> None:
    queue = UnitQueue(units(5, items=2))
    queue.put_back(take(queue), suspect=True)
    assert queue.take_beside(1) is None
    assert take(queue).alone
    assert queue.take_beside(4) is None
    assert queue.take_beside(3) == Attempt(units(5, items=2)[1])
    take(queue), take(queue)
    assert queue.take_beside(2) is None
    last = queue.take_beside(1)
    assert last is not None
    queue.failed(last, "no end", Fault.HUNG)
    assert queue.take_beside(1) is None
    assert take(queue).alone


def test_a_unit_that_died_alone_is_alone_in_its_next_tries_and_one_that_broke_need_not_be() -> None:
    queue = UnitQueue(units(2))
    queue.failed(take(queue), "boom", Fault.DIED)
    queue.failed(take(queue), "boom", Fault.BROKE)
    assert [take(queue).alone, take(queue).alone] == [True, False]


def work(queue: UnitQueue, bad: set[str], fault: Fault = Fault.BROKE) -> tuple[list[str], list[Given], int]:
    """Finish all that holds no bad key: (finished keys, what was given up, attempts that failed)."""
    done, given_up, failures = [], [], 0
    while (attempt := queue.take()) is not None:
        keys = [item.key for item in attempt.unit.items]
        if bad.isdisjoint(keys):
            done += keys
            given_up += queue.finished()
        else:
            failures += 1
            given_up += queue.failed(attempt, f"boom {failures}", fault)
    assert queue.done
    return done, given_up, failures


@pytest.mark.parametrize(("fault", "most"), [(Fault.BROKE, 3 + 7 + 2), (Fault.DIED, 3 + 7 + 2), (Fault.HUNG, 1 + 8)])
def test_a_poison_image_is_found_in_few_attempts_and_its_neighbours_are_finished(fault: Fault, most: int) -> None:
    done, given_up, failures = work(UnitQueue(units(3, items=256)), {"1-77.jpg"}, fault)
    assert len(done) == 3 * 256 - 1
    assert [[item.key for item in poison.unit.items] for poison in given_up] == [["1-77.jpg"]]
    assert failures <= most


def test_a_lone_image_that_fails_is_condemned() -> None:
    done, given_up, failures = work(UnitQueue(units(1)), {"0-0.jpg"})
    assert (done, [type(one) for one in given_up], failures) == ([], [Poison], MAX_FAILURES)


def test_several_images_that_all_fail_alike_condemn_none_of_them() -> None:
    with pytest.raises(RunError, match="none of the 2 images could be embedded; each failed with: boom"):
        work(UnitQueue(units(1, items=2)), {"0-0.jpg", "0-1.jpg"})


def test_the_same_failure_of_the_first_units_ends_the_run() -> None:
    queue = UnitQueue(units(64, items=256))
    for _ in range(SAME_EVERYWHERE - 1):
        assert queue.failed(take(queue), "no CUDA at 0x7fab01") == []
    with pytest.raises(RunError, match="the first 3 units all failed in the same way, and none was finished: no CUDA at 0x7f00"):
        queue.failed(take(queue), "no CUDA at 0x7f00")


def test_once_a_unit_is_finished_the_same_failure_is_no_longer_everywhere() -> None:
    queue = UnitQueue(units(64, items=256))
    take(queue)
    queue.finished()
    for _ in range(2 * SAME_EVERYWHERE):
        assert queue.failed(take(queue), "boom") == []


def test_failures_without_an_end_end_the_run() -> None:
    queue = UnitQueue(units(64, items=256))
    take(queue)
    queue.finished()
    for _ in range(MAX_IN_A_ROW):
        queue.failed(take(queue), "boom", Fault.DIED)
    with pytest.raises(RunError, match=f"{MAX_IN_A_ROW + 1} failures in a row"):
        queue.failed(take(queue), "boom", Fault.DIED)


def test_a_closed_queue_hands_out_nothing_and_is_done_when_the_last_comes_in() -> None:
    queue = UnitQueue(units(3))
    attempt = take(queue)
    queue.close()
    assert queue.take() is None
    assert not queue.done
    queue.put_back(attempt)
    assert queue.done


STEPS = st.tuples(st.sampled_from(["take", "finished", "failed", "put_back"]), st.integers(0, 5), st.sampled_from(Fault))


@given(st.integers(0, 6), st.integers(1, 5), st.lists(STEPS, max_size=80))
def test_the_queue_never_loses_or_invents_an_item(n: int, size: int, steps: list[tuple[str, int, Fault]]) -> None:
    queue = UnitQueue(units(n, size))
    in_flight: list[Attempt] = []
    over: list[Unit] = []
    numbers: dict[str, int] = {}
    for i, (action, choice, fault) in enumerate(steps):
        if action == "take":
            attempt = queue.take()
            if attempt:
                assert attempt.number > numbers.get(attempt.unit.id, 0)  # claims of an earlier attempt can be taken over
                assert attempt.failures < MAX_FAILURES
                numbers[attempt.unit.id] = attempt.number
                in_flight.append(attempt)
        elif in_flight:
            attempt = in_flight.pop(choice % len(in_flight))
            if action == "finished":
                over += [attempt.unit, *(poison.unit for poison in queue.finished())]
            elif action == "put_back":
                queue.put_back(attempt)
            else:
                try:  # each with words of its own: the same failure everywhere is another test's
                    over += [lost.unit for lost in queue.failed(attempt, "boom " + "x" * i, fault)]
                except RunError:
                    return
    waiting = []
    suspected = [poison.unit for poison in queue._suspects]
    while (attempt := queue.take()) is not None:
        waiting.append(attempt.unit)
    everything = [*over, *suspected, *waiting, *(attempt.unit for attempt in in_flight)]
    items = sorted((planned_id(unit), item.key) for unit in everything for item in unit.items)
    assert items == [(unit.id, item.key) for unit in units(n, size) for item in unit.items]
    assert len({unit.id for unit in everything}) == len(everything)


def test_all_workers_may_die_at_once_with_their_machines_and_nothing_is_hopeless() -> None:
    workers = 40
    queue = UnitQueue(units(200, items=256), lambda: workers)
    for _ in range(workers + 2 * SAME_EVERYWHERE - 1):
        assert queue.failed(take(queue), "the actor is dead", Fault.DIED) == []
    with pytest.raises(RunError, match="units all failed in the same way"):
        queue.failed(take(queue), "the actor is dead", Fault.DIED)
    patient = UnitQueue(units(200, items=256), lambda: workers)
    take(patient)
    patient.finished()
    for _ in range(workers + MAX_IN_A_ROW):
        patient.failed(take(patient), "the actor is dead", Fault.DIED)
    with pytest.raises(RunError, match="failures in a row"):
        patient.failed(take(patient), "the actor is dead", Fault.DIED)
