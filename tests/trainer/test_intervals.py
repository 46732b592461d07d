"""Intervals against resampling item by item, and against what is known of the normal case."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate import evaluate, share_interval
from trainer.evaluate_multi_label import evaluate_multi_label
from trainer.intervals import item_weights, percentile_interval, resampled_means


def predictions(n: int, count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, count, n)
    probabilities = random.dirichlet(np.full(count, 0.7), n).astype(np.float32)
    probabilities[np.arange(n), y] += 0.3
    return y, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_intervals_are_those_of_resampled_items() -> None:
    y, probabilities = predictions(300)
    random = np.random.default_rng(1)
    draws = [random.integers(0, 300, 300) for _ in range(400)]
    drawn = [evaluate([(y[d], probabilities[d])], "abcd") for d in draws]
    expected = {name: [getattr(each, name) for each in drawn] for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")}
    found = evaluate([(y, probabilities)], "abcd")
    for name, values in expected.items():
        assert found.intervals[name] == pytest.approx(percentile_interval(np.array(values)), abs=0.02), name
    low, high = found.intervals["top_2_accuracy"]
    assert low < found.top_accuracy(2) < high
    assert found.to_dict()["per_class"]["a"]["f1_interval"][0] < found.f1[0]


def test_they_are_seeded_and_batches_make_no_difference() -> None:
    y, probabilities = predictions(200)
    whole = evaluate([(y, probabilities)], "abcd").intervals
    parts = evaluate([(y[:50], probabilities[:50]), (y[50:], probabilities[50:])], "abcd").intervals
    assert whole == parts


def test_means_of_many_values_have_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(0).exponential(1.0, 50_000)
    interval = percentile_interval(resampled_means(values, 0))
    assert interval.half_width == pytest.approx(1.96 * values.std() / 50_000**0.5, rel=0.08)
    assert interval.low < values.mean() < interval.high


def test_a_million_items_cost_what_their_cells_cost() -> None:
    right = np.arange(1_000_000) % 10 != 0
    assert share_interval(right) == pytest.approx((0.9 - 0.000588, 0.9 + 0.000588), abs=5e-5)


def test_intervals_of_several_labels_are_those_of_resampled_items() -> None:
    random = np.random.default_rng(0)
    y = random.random((150, 3)) < 0.4
    said = np.round((random.random((150, 3)) + 0.6 * y) / 1.6, 2).astype(np.float32)  # with ties
    found = evaluate_multi_label([(y, said)], "abc").intervals
    draws = [random.integers(0, 150, 150) for _ in range(300)]
    drawn = [evaluate_multi_label([(y[d], said[d])], "abc") for d in draws]
    for name in ("mean_average_precision", "micro_f1", "macro_f1", "log_loss"):
        expected = percentile_interval(np.array([getattr(each, name) for each in drawn]))
        assert found[name] == pytest.approx(expected, abs=0.025), name


def test_average_precision_of_too_many_is_not_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluate_multi_label.MOST_RANKED", 100)
    y = np.eye(3, dtype=bool)
    assert "mean_average_precision" not in evaluate_multi_label([(y, np.full((3, 3), 0.6, np.float32))], "abc").intervals


def test_item_weights_are_draws_with_replacement() -> None:
    blocks = list(item_weights(10, 0))
    weights = np.concatenate(blocks)
    assert weights.shape == (1000, 10)
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(0.9, abs=0.05)


def test_nothing_has_no_interval() -> None:
    assert evaluate([], "ab").intervals == {}
    assert evaluate_multi_label([], "ab").intervals == {}
    assert np.isnan(percentile_interval(np.array([])).low)
