from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.label_errors import label_errors


def test_planted_errors_are_found_and_the_doubtful_ones_come_first() -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 3, 300)
    probabilities = random.dirichlet(np.full(3, 0.3), 300) * 0.3
    probabilities[np.arange(300), true] += 0.7
    y = true.copy()
    y[:20] = (true[:20] + 1) % 3
    found = label_errors(y, probabilities)
    planted = np.isin(found.positions, np.arange(20))
    assert planted.sum() >= 12
    assert planted[:12].all()
    assert (found.suggested[planted] == true[found.positions[planted]]).all()
    assert (np.diff(found.margin) <= 0).all()
    assert found.rows == 300


def by_the_paper(y: np.ndarray, probabilities: np.ndarray) -> set[int]:
    """Off the diagonal of the confident joint, item by item."""
    classes = probabilities.shape[1]
    thresholds = [probabilities[y == j, j].mean() if (y == j).any() else np.inf for j in range(classes)]
    found = set()
    for i, row in enumerate(probabilities):
        reached = [j for j in range(classes) if row[j] >= thresholds[j] - 1e-6]
        if reached and max(reached, key=lambda j: row[j]) != y[i]:
            found.add(i)
    return found


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(2, 5))
def test_it_is_confident_learning(seed: int, n: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    y, probabilities = random.integers(0, classes, n), random.dirichlet(np.ones(classes), n)
    assert set(label_errors(y, probabilities).positions.tolist()) == by_the_paper(y, probabilities)


def test_a_class_without_items_is_suggested_to_none_and_pairs_are_counted() -> None:
    y = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0], [0.1, 0.8, 0.1], [0.1, 0, 0.9]])
    found = label_errors(y, probabilities)
    assert (found.positions.tolist(), found.pairs("abc")) == ([2], [("a", "b", 1)])
    assert found.to_dict("abc", list("vwxyz"))["items"] == [{"key": "x", "label": "a", "suggested": "b", "margin": 0.8}]


def test_nothing_has_no_errors() -> None:
    assert len(label_errors(np.empty(0, np.int64), np.empty((0, 2))).positions) == 0
