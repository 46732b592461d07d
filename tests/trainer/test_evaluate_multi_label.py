from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from trainer.evaluate_multi_label import evaluate_multi_label
from trainer.task import MultiLabel, SingleLabel

CLASSES = ["coat", "hat", "shoe", "tie"]


def random_case(seed: int, n: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and scores with ties: `levels` distinct scores."""
    random = np.random.default_rng(seed)
    return random.integers(0, 2, (n, 4)).astype(np.uint8), (random.integers(1, levels, (n, 4)) / levels).astype(np.float32)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 50), st.sampled_from([3, 7, 1000]))
def test_it_agrees_with_scikit_learn(seed: int, n: int, levels: int) -> None:
    y, scores = random_case(seed, n, levels)
    result = evaluate_multi_label([(y, scores)], CLASSES)
    predicted, occurs = scores > 0.5, [c for c in range(4) if y[:, c].any()]
    for c in occurs:
        assert result.average_precision[c] == pytest.approx(metrics.average_precision_score(y[:, c], scores[:, c]))
    if occurs:
        expected = metrics.average_precision_score(y[:, occurs], scores[:, occurs], average="macro")
        assert result.mean_average_precision == pytest.approx(expected)
    shown = [c for c in range(4) if y[:, c].any() or predicted[:, c].any()]
    macro = metrics.f1_score(y[:, shown], predicted[:, shown], average="macro", zero_division=0) if shown else 0.0
    assert result.macro_f1 == pytest.approx(macro)
    assert result.micro_f1 == pytest.approx(metrics.f1_score(y, predicted, average="micro", zero_division=0))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(result.precision, precision)
    np.testing.assert_allclose(result.recall, recall)
    np.testing.assert_allclose(result.f1, f1)
    np.testing.assert_array_equal(result.support, support)
    losses = [metrics.log_loss(y[:, c], scores[:, c].astype(np.float64), labels=[0, 1]) for c in range(4)]
    assert result.log_loss == pytest.approx(np.mean(losses), rel=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
def test_neither_batches_nor_order_make_a_difference(seed: int, n: int, size: int) -> None:
    y, scores = random_case(seed, n, 5)
    order = np.random.default_rng(seed).permutation(n)
    whole = evaluate_multi_label([(y, scores)], CLASSES).to_dict()
    parts = evaluate_multi_label([(y[order[i : i + size]], scores[order[i : i + size]]) for i in range(0, n, size)], CLASSES).to_dict()
    assert whole.pop("log_loss") == pytest.approx(parts.pop("log_loss"))
    assert whole.pop("intervals").keys() == parts.pop("intervals").keys()  # which items are drawn goes by their order
    whole["calibration"], parts["calibration"] = (round(each["calibration"]["ece"], 9) for each in (whole, parts))
    assert whole == parts


def test_a_class_that_no_item_has_is_left_out_of_the_mean() -> None:
    y, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.2], [0.1, 0.3]], np.float32)
    result = evaluate_multi_label([(y, scores)], ["coat", "never"])
    assert result.mean_average_precision == 1.0
    described = json.loads(json.dumps(result.to_dict()))
    assert described["per_class"]["never"]["average_precision"] is None
    assert described["per_class"]["never"]["support"] == 0


def test_items_without_any_class_are_negatives() -> None:
    result = evaluate_multi_label([(np.zeros((3, 2)), np.array([[0.9, 0.1]] * 3, np.float32))], ["coat", "hat"])
    assert (result.rows, result.predicted.tolist(), result.precision.tolist(), result.macro_f1) == (3, [3, 0], [0, 0], 0)


def test_no_rows_give_zeros_and_no_warning() -> None:
    with np.errstate(all="raise"):
        result = evaluate_multi_label([], ["a", "b"])
    assert (result.rows, result.mean_average_precision, result.macro_f1, result.micro_f1, result.log_loss) == (0, 0, 0, 0, 0)


def test_what_is_predicted() -> None:
    probabilities = np.array([[0.6, 0.9, 0.5, 0.1], [0.2, 0.3, 0.1, 0.4]], np.float32)
    assert MultiLabel().chosen(probabilities) == [[1, 0], []]
    assert SingleLabel().chosen(probabilities) == [[1], [3]]
