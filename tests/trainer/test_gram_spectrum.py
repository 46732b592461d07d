from __future__ import annotations

import numpy as np
import pytest

from trainer.arrays import Matrix
from trainer.gram_spectrum import spectrum


def gram_of(rows: int, features: int) -> Matrix:
    """Of correlated features with spread 1, some constant, some twice; every third row stands there twice."""
    random = np.random.default_rng(rows)
    x = random.normal(size=(rows, features)) @ np.diag(np.geomspace(1, 1e-3, features)) @ random.normal(size=(features, features))
    x[::3] = x[0]
    x[:, 5] = x[:, 9]
    x[:, 7] = 3
    x -= x.mean(axis=0)
    x /= np.maximum(x.std(axis=0), 1e-30)
    return x.T @ x


@pytest.mark.parametrize("rows", [2, 12, 60, 100])
@pytest.mark.parametrize("alpha", [1e-4, 0.1, 10.0])
def test_few_rows_give_what_all_features_give(rows: int, alpha: float) -> None:
    gram = gram_of(rows, 200)
    products = gram @ np.random.default_rng(0).normal(size=(200, 3))  # targets reach no further than the rows
    values, axes = spectrum(gram, rows)
    assert len(values) < rows
    found = axes @ ((axes.T @ products) / (values + alpha * rows)[:, None])
    expected = np.linalg.solve(gram + alpha * rows * np.eye(200), products)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_more_rows_than_were_said_cost_time_and_no_digits() -> None:
    gram = gram_of(400, 100)
    values, axes = spectrum(gram, 10)  # as where weights make little of many rows
    np.testing.assert_allclose((axes * values) @ axes.T, gram, atol=1e-8 * values[-1])


def test_features_that_are_all_constant_have_no_axes() -> None:
    values, axes = spectrum(np.zeros((8, 8)), 3)
    assert (values.shape, axes.shape) == ((0,), (8, 0))
