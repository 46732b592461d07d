from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from storage.errors import UsageError
from trainer.slices import SMALL, require_column, slices


def sliced(values: list[object], right: list[int] | None = None) -> list[tuple[str, int, float]]:
    column = pa.chunked_array([pa.array(values)])
    found = slices(column, np.array(right if right is not None else [1] * len(values), bool), "camera")
    return [(each.value, each.rows, each.accuracy) for each in found]


def test_each_value_has_its_accuracy_and_the_worst_comes_first() -> None:
    assert sliced(["a", "b", "a", None], [1, 0, 0, 1]) == [("b", 1, 0.0), ("a", 2, 0.5), ("(none)", 1, 1.0)]


def test_truth_values_and_few_numbers_are_values() -> None:
    assert sliced([True, False, True], [1, 0, 1]) == [("false", 1, 0.0), ("true", 2, 1.0)]
    assert [value for value, _, _ in sliced([3, 1, 3])] == ["1", "3"]


def test_many_numbers_are_cut_into_ranges_that_hold_all_of_them() -> None:
    found = sliced([*np.linspace(0, 10, 101).tolist(), None])
    assert sorted(value for value, _, _ in found) == ["(none)", "0 to 2", "2 to 4", "4 to 6", "6 to 8", "8 to 10"]
    assert sum(rows for _, rows, _ in found) == 102


def test_small_slices_are_told_and_never_look_certain() -> None:
    found = slices(pa.chunked_array([["a"] * SMALL + ["b"] * 3]), np.ones(SMALL + 3, bool), "camera")
    assert {each.value: each.is_small for each in found} == {"a": False, "b": True}
    lows = {each.value: each.interval.low for each in found}
    assert lows["b"] < 0.5 < lows["a"] < 1
    none = slices(pa.chunked_array([["a"] * 3]), np.zeros(3, bool), "camera")
    assert (none[0].interval.low, none[0].interval.high) == (0, pytest.approx(0.56, abs=0.01))
    assert none[0].to_dict()["small"] is True


def test_what_cannot_be_sliced_by_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="1001 values among 1001 items"):
        sliced([str(i) for i in range(1001)])
    with pytest.raises(UsageError, match="it is of type list"):
        sliced([[1], [2]])
    with pytest.raises(UsageError, match="no item has a column 'colour' to slice by; there are key, label"):
        require_column("colour", ["key", "label"])
