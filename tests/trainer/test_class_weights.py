from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from storage.errors import UsageError
from trainer.class_weights import BALANCED, parse_class_weights
from trainer.task import MultiLabel, SingleLabel

CLASSES = ["coat", "hat", "shoe"]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40))
def test_balanced_is_that_of_scikit_learn(y: list[int]) -> None:
    present = np.unique(y)
    weights = SingleLabel().weights(BALANCED, np.array(y), CLASSES)
    expected = compute_class_weight("balanced", classes=present, y=y) * len(present) / len(CLASSES)  # it counts the classes that occur
    np.testing.assert_allclose(np.asarray(weights)[present], expected)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_balanced_is_that_of_scikit_learn_for_each_class_apart(rows: list[tuple[bool, bool]]) -> None:
    y = np.array(rows, np.uint8)
    weights = np.asarray(MultiLabel().weights(BALANCED, y, CLASSES[:2]))
    for c in range(2):
        if len(np.unique(y[:, c])) == 2:
            np.testing.assert_allclose(weights[:, c], compute_class_weight("balanced", classes=np.array([0, 1]), y=y[:, c]))
    assert np.isfinite(weights).all()


def test_classes_that_are_not_named_weigh_one() -> None:
    assert np.asarray(SingleLabel().weights({"hat": 5.0}, np.array([0]), CLASSES)).tolist() == [1, 5, 1]
    assert np.asarray(MultiLabel().weights({"hat": 5.0}, np.zeros((1, 3)), CLASSES)).tolist() == [[1, 1, 1], [1, 5, 1]]
    assert SingleLabel().weights(None, np.array([0]), CLASSES) is MultiLabel().weights(None, np.zeros((1, 3)), CLASSES) is None


def test_a_name_that_is_no_class_is_told() -> None:
    with pytest.raises(UsageError, match="class weights for 'tie', but the classes are 'coat', 'hat', 'shoe'"):
        SingleLabel().weights({"tie": 2.0}, np.array([0]), CLASSES)


def test_the_loss_is_weighted_as_in_scikit_learn() -> None:
    random = np.random.default_rng(0)
    y, logits = random.integers(0, 3, 20), random.normal(size=(20, 3)).astype(np.float32)
    weights = np.array([1.0, 5.0, 0.5])
    losses = keras.ops.convert_to_numpy(SingleLabel().loss(weights)(y, logits))
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits)).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert losses.sum() == pytest.approx(log_loss(y, probabilities, sample_weight=weights[y], normalize=False, labels=[0, 1, 2]), rel=1e-5)


def test_the_multi_label_loss_is_the_sum_of_weighted_binary_losses() -> None:
    random = np.random.default_rng(0)
    y, logits = random.integers(0, 2, (20, 3)).astype(np.uint8), random.normal(size=(20, 3)).astype(np.float32)
    weights = np.array([[1.0, 0.5, 2.0], [3.0, 1.0, 0.25]])
    losses = keras.ops.convert_to_numpy(MultiLabel().loss(weights)(y, logits))
    assert losses.shape == (20,)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = sum(log_loss(y[:, c], p[:, c], sample_weight=weights[y[:, c], c], normalize=False, labels=[0, 1]) for c in range(3))
    assert losses.sum() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("balanced", "balanced"),
        ("hat=2", {"hat": 2.0}),
        ("hat=2, coat=0.5", {"hat": 2.0, "coat": 0.5}),
        ("a=b=3", {"a=b": 3.0}),
    ],
)
def test_weights_are_parsed(text: str, weights: Any) -> None:
    assert parse_class_weights(text) == weights


def test_two_weights_for_one_class_are_refused() -> None:
    with pytest.raises(UsageError, match="class 'hat' has two weights"):
        parse_class_weights("hat=1,coat=2, hat=3")


@pytest.mark.parametrize("text", ["", "hat", "hat=", "hat=x", "hat=1,", "even"])
def test_weights_that_are_none_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="class weights must be balanced or NAME=W"):
        parse_class_weights(text)
