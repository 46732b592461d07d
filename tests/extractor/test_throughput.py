from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from extractor.receipt import Receipt
from extractor.throughput import MAX_POINTS, Throughput


class Hand:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def receipt(items: int, worker: str = "a", embedded: int | None = None) -> Receipt:
    counters = {"read": items, "embedded": items if embedded is None else embedded, "bytes_read": 10 * items}
    return Receipt("u", "photos", None, pa.table({"key": ["k"] * items}), counters, {"wait": 0.5, "infer": 1.0, "decode": 9.0}, worker)


def test_points_are_sums_since_work_began() -> None:
    clock = Hand()
    throughput = Throughput(clock)
    clock.now += 50  # starting workers is no part of it
    throughput.begin(7)
    for seconds, items in ((2.0, 4), (1.0, 3)):
        clock.now += seconds
        throughput.add(receipt(items, embedded=items - 1))
    assert throughput.to_dict()["points"] == [[0.0, 0, 0, 0, 0.0], [2.0, 4, 3, 40, 0.5], [3.0, 7, 5, 70, 1.5]]
    assert throughput.now() == {"total": 7, "done": 7, "embedded": 5, "bytes_read": 70, "work_seconds": 3.0}


def test_each_set_is_told_its_own_images() -> None:
    throughput = Throughput(Hand())
    throughput.begin(4)
    throughput.add(replace(receipt(4, embedded=3), also=(receipt(4, embedded=1),)))
    assert [throughput.now(number)["embedded"] for number in (0, 1)] == [3, 1]
    assert throughput.points[-1].images == 4


def test_a_second_round_goes_on_in_time_and_adds_to_the_total() -> None:
    clock = Hand()
    throughput = Throughput(clock)
    throughput.begin(4)
    clock.now += 1
    throughput.add(receipt(4))
    throughput.begin(2)
    clock.now += 1
    throughput.add(receipt(2))
    assert throughput.to_dict()["points"][-1] == [2.0, 6, 6, 60, 0.5]
    assert throughput.now()["total"] == 6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5 * MAX_POINTS), st.integers(1, 3))
def test_points_are_bounded_rise_and_end_with_all_that_was_done(units: int, workers: int) -> None:
    clock = Hand()
    throughput = Throughput(clock)
    throughput.begin(units)
    one = [receipt(1, f"w{i}") for i in range(workers)]
    for i in range(units):
        clock.now += 1
        throughput.add(one[i % workers])
    told = throughput.to_dict()
    points = told["points"]
    assert len(points) <= 2 * MAX_POINTS + 1
    assert points == sorted(points)
    assert (points[0], points[-1][:4]) == ([0.0, 0, 0, 0, 0.0], [float(units), units, units, 10 * units])
    assert all(before[0] - 1.5 <= after[4] <= after[0] for before, after in pairwise(points))
    assert sum(share["items"] for share in told["workers"].values()) == units
    assert sum(share["units"] for share in told["workers"].values()) == units
