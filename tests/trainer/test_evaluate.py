from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from trainer.evaluate import evaluate


def random_case(seed: int, n: int, count: int, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(count, 0.5), n).astype(dtype)
    return random.integers(0, count, n), probabilities, [f"class {i}" for i in range(count)]


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 7))
def test_it_agrees_with_scikit_learn(seed: int, n: int, count: int) -> None:
    y_true, probabilities, classes = random_case(seed, n, count)
    y_pred = probabilities.argmax(axis=1)
    result = evaluate([(y_true, probabilities)], classes)
    numbers = list(range(count))
    assert result.accuracy == pytest.approx(metrics.accuracy_score(y_true, y_pred))
    there = np.unique(y_true)
    assert result.balanced_accuracy == pytest.approx(metrics.recall_score(y_true, y_pred, labels=there, average="macro", zero_division=0))
    for k in result.tops:
        expected = metrics.top_k_accuracy_score(y_true, probabilities, k=k, labels=numbers)
        assert result.top_accuracy(k) == pytest.approx(expected)
    assert result.to_dict()["micro_f1"] == pytest.approx(metrics.f1_score(y_true, y_pred, average="micro"))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(y_true, y_pred, average="macro", zero_division=0))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y_true, y_pred, labels=numbers, zero_division=0)
    np.testing.assert_allclose(result.precision, precision)
    np.testing.assert_allclose(result.recall, recall)
    np.testing.assert_allclose(result.f1, f1)
    np.testing.assert_array_equal(result.support, support)
    np.testing.assert_array_equal(result.confusion, metrics.confusion_matrix(y_true, y_pred, labels=numbers))
    assert result.log_loss == pytest.approx(metrics.log_loss(y_true, probabilities, labels=numbers), rel=1e-6, abs=1e-9)


def test_float32_probabilities_agree_too() -> None:
    y_true, probabilities, classes = random_case(0, 500, 5, np.float32)
    result = evaluate([(y_true, probabilities)], classes)
    expected = metrics.log_loss(y_true, probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64))
    assert result.log_loss == pytest.approx(expected, rel=1e-4)


def test_a_perfect_prediction() -> None:
    result = evaluate([(np.array([0, 1, 2]), np.eye(3))], ["a", "b", "c"])
    assert (result.accuracy, result.macro_f1, result.log_loss) == (1.0, 1.0, pytest.approx(0.0))


def test_a_certain_mistake_costs_much_but_not_infinity() -> None:
    result = evaluate([(np.array([0]), np.array([[0.0, 1.0]]))], ["a", "b"])
    assert (result.accuracy, result.log_loss) == (0.0, pytest.approx(-np.log(1e-15)))


def test_of_equal_probabilities_the_first_class_is_the_prediction_and_ranks_before_the_others() -> None:
    result = evaluate([(np.array([0, 1, 2]), np.full((3, 3), 1 / 3))], ["a", "b", "c"])
    assert result.outcomes.rank.tolist() == [0, 1, 2]
    assert (result.accuracy, result.top_accuracy(2)) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_a_class_that_never_occurs_does_not_count_in_macro_f1() -> None:
    result = evaluate([(np.array([0, 1]), np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]))], ["a", "b", "never"])
    assert result.macro_f1 == 1.0
    assert result.f1.tolist() == [1.0, 1.0, 0.0]


def test_no_rows_give_zeros_and_no_warning() -> None:
    with np.errstate(all="raise"):
        nothing = [evaluate(batches, ["a", "b"]) for batches in ([], [(np.array([], np.int64), np.zeros((0, 2)))])]
    assert [(result.accuracy, result.macro_f1, result.log_loss) for result in nothing] == [(0.0, 0.0, 0.0)] * 2


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_batches_make_no_difference(seed: int, n: int, size: int) -> None:
    y_true, probabilities, classes = random_case(seed, n, 4, np.float32)
    whole = evaluate([(y_true, probabilities)], classes)
    parts = evaluate([(y_true[i : i + size], probabilities[i : i + size]) for i in range(0, n, size)], classes)
    np.testing.assert_array_equal(whole.confusion, parts.confusion)
    assert whole.log_loss == pytest.approx(parts.log_loss)


def test_the_description_is_json_and_complete() -> None:
    y_true, probabilities, classes = random_case(1, 40, 3, np.float32)
    described = json.loads(json.dumps(evaluate([(y_true, probabilities)], classes).to_dict()))
    assert described["rows"] == 40 == sum(entry["support"] for entry in described["per_class"].values())
    assert list(described["per_class"]) == classes
    assert np.sum(described["confusion"]) == 40
