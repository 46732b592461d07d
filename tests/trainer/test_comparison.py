from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UsageError
from trainer.comparison import NO, PERHAPS, YES, Comparison, mcnemar


def compared(first: list[int], second: list[int]) -> Comparison:
    right = np.array(first, bool), np.array(second, bool)
    return Comparison(right, (np.where(right[0], 0.1, 2.0), np.where(right[1], 0.1, 2.0)), np.arange(len(first)))


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_p_is_that_of_a_fair_coin(first: int, second: int) -> None:
    total = first + second
    tail = sum(comb(total, k) for k in range(min(first, second) + 1)) / 2**total
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemars_p_of_many_items_does_not_vanish() -> None:
    assert 0.5 < mcnemar(50_010, 50_000) < 1
    assert 0 < mcnemar(2_200, 2_000) < 0.01


def test_what_differs_is_told_item_by_item() -> None:
    found = compared([1, 1, 0, 0, 1], [1, 0, 1, 0, 0])
    assert (found.only_first.tolist(), found.only_second.tolist(), found.difference) == ([1, 4], [2], pytest.approx(0.2))
    said = found.to_dict(list("vwxyz"))
    assert (said["only_first_right_keys"], said["only_second_right_keys"]) == (["w", "z"], ["x"])
    assert "no difference that 5 items could show" in said["verdict"]


def test_a_clear_difference_is_one_and_its_interval_leaves_zero_out() -> None:
    found = compared([1] * 80 + [0] * 20, [1] * 50 + [0] * 50)
    assert "the first head is better" in found.verdict()
    assert 0 < found.interval.low < 0.3 < found.interval.high
    assert found.loss_difference[0] == pytest.approx(-0.3 * 1.9)
    assert found.loss_difference[1].high < 0


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ((NO, PERHAPS), "a is better (p = 1.9e-09), although b may have learned from some of these items"),
        ((YES, NO), "no verdict, as a has learned from some of these items; by the numbers alone: a is better (p = 1.9e-09)"),
        ((PERHAPS, YES), "no verdict, as a may have learned from some of these items and b has learned from some of these items; by the"),
    ],
)
def test_a_head_that_may_know_the_items_is_not_called_better(seen: tuple[str, str], said: str) -> None:
    found = replace(compared([1] * 80 + [0] * 20, [1] * 50 + [0] * 50), seen=seen)
    assert found.verdict("a", "b").startswith(said)
    assert found.to_dict()["learned_from_items"] == {"first": seen[0], "second": seen[1]}
    assert found.to_dict()["verdict"] == found.verdict()
    same = replace(compared([1, 0], [1, 0]), seen=seen)
    assert same.verdict("a", "b").startswith("no verdict, as ")


def test_pairs_say_more_than_two_apart_would() -> None:
    """On 1000 items, of which the heads differ on 30: far less than two samples of that size would."""
    found = compared([1] * 700 + [0] * 270 + [1] * 30, [1] * 700 + [0] * 300)
    assert found.interval.half_width < 0.012 < 1.96 * (0.21 / 1000) ** 0.5


def test_a_head_against_itself() -> None:
    found = compared([1, 0, 1], [1, 0, 1])
    assert (found.difference, found.interval, found.p_value) == (0, (0, 0), 1)


def test_different_items_are_refused() -> None:
    with pytest.raises(UsageError, match="on the same items"):
        compared([1, 0], [1])
