from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trainer.advice_pool import features_of, pool_of
from trainer.cross_validation import cross_validate
from trainer.learning_curve import LearningCurve, _law, _part, learning_curve
from trainer.options import FitOptions
from trainer.units import Units

pytestmark = pytest.mark.slow

SIZES = np.array([50.0, 100.0, 200.0, 400.0])


def curve(errors: npt.NDArray[Any], items: int = 2000) -> LearningCurve:
    """Items that are wrong are the first ones, at every size: what is learned is not forgotten."""
    return LearningCurve(tuple(SIZES), np.arange(items) >= np.round(errors * items)[:, None])


@pytest.mark.parametrize(("floor", "scale", "power"), [(0.05, 3.0, 0.5), (0.0, 1.0, 0.3), (0.1, 8.0, 1.0)])
def test_a_power_law_is_found_again(floor: float, scale: float, power: float) -> None:
    assert _law(SIZES, floor + scale * SIZES**-power) == pytest.approx([floor, scale, power], abs=1e-6)


def test_the_forecast_of_a_power_law_is_inside_its_bounds_and_no_worse_than_today() -> None:
    found = curve(0.05 + 3 * SIZES**-0.5)
    for times, accuracy, interval in found.forecast():
        assert accuracy == pytest.approx(1 - (0.05 + 3 * (400 * times) ** -0.5), abs=2e-3)
        assert interval.low <= accuracy <= interval.high
        assert accuracy >= found.accuracy[-1]
    told = found.last_gain()
    assert told is not None
    gain, interval = told
    assert gain == pytest.approx(3 * (200**-0.5 - 400**-0.5), abs=2e-3)
    assert 0 < interval.low < gain < interval.high


def test_where_nothing_is_learned_nothing_is_forecast() -> None:
    found = curve(np.full(4, 0.5))
    assert [accuracy for _, accuracy, _ in found.forecast()] == pytest.approx([0.5, 0.5])
    few = LearningCurve((40.0, 80.0), found.right[:2])
    assert few.forecast() == []
    assert LearningCurve((40.0,), found.right[:1]).last_gain() is None


def test_parts_are_nested_hold_every_class_and_keep_copies_together() -> None:
    of_item = np.arange(60) // 2  # two items an image
    images, y, numbers = Units(of_item, np.arange(30, dtype=np.uint64) * np.uint64(2**58 + 1)), of_item % 3, np.arange(60)
    parts = [_part(images, y, numbers, share, 1) for share in (0.125, 0.25, 0.5, 1.0)]
    for small, large in pairwise(parts):
        assert set(small) < set(large)
    assert [len(part) for part in parts] == [6, 15, 30, 60]
    for part in parts:
        assert set(y[part]) == {0, 1, 2}
        assert len(set(of_item[part])) <= len(part) / 2 + 1.5


def test_more_labels_help_a_head_and_all_of_them_are_the_cross_validation(
    write_set: Callable[..., str], separable_rows: Callable[..., list[Any]]
) -> None:
    random = np.random.default_rng(0)
    rows = separable_rows(40)
    uri = write_set([type(row)(row.key, row.embedding + random.normal(0, 3, 8).astype(np.float32), row.label) for row in rows])
    pool = pool_of(uri, None, FitOptions(test=0.0))
    prepared = pool.prepared(features_of(pool.feature_set, pool.positions), "class-mean")
    crossed = cross_validate(prepared, 3)
    found = learning_curve(prepared, 3)
    assert found.sizes == pytest.approx([10, 20, 40, 80], abs=2)
    assert found.accuracy[0] < found.accuracy[-1] == crossed.evaluation.leading
    assert found.right.shape == (4, 120)


def test_shares_that_are_the_same_items_are_one_size(write_set: Callable[..., str], separable_rows: Callable[..., list[Any]]) -> None:
    """Of 5 items of each class 4 are learned from: an eighth and a quarter are 1 of training and 1 of validation, fitted twice."""
    pool = pool_of(write_set(separable_rows(5)), None, FitOptions(test=0.0))
    found = learning_curve(pool.prepared(features_of(pool.feature_set, pool.positions), "class-mean"), pool.folds)
    assert found.sizes == (6, 9, 12)
    assert found.right.shape == (3, 15)
