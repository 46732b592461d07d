from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from storage.errors import UsageError
from trainer import design, rows
from trainer.design import Design
from trainer.linear_weights import LinearWeights
from trainer.logistic import LogisticPath, fit_path, linear_loss
from trainer.rows import MemoryRows
from trainer.standardise import Moments, spread
from trainer.task import MultiLabel, SingleLabel

linear_model = pytest.importorskip("sklearn.linear_model")
Array = npt.NDArray[Any]


def made(n: int, classes: int, width: int = 12, seed: int = 0) -> tuple[Array, Array]:
    """Overlapping classes, correlated features of unlike size, one of them constant."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n)
    x = (random.normal(0, 1, (classes, width))[y] + random.normal(0, 1.5, (n, width))) @ random.normal(0, 1, (width, width))
    x = x * np.geomspace(1, 100, width) + 30
    x[:, 3] = 7
    return x.astype(np.float32), y


def standardised(x: Array, found: Moments) -> Array:
    return (x.astype(np.float64) - found.mean) / spread(found)


def objective(x: Array, y: Array, weights: LinearWeights, c: float, by_item: Array | None = None) -> float:
    z = x @ weights.kernel + weights.bias
    z -= z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    penalty = weights.kernel if weights.kernel.shape[1] > 2 else weights.kernel[:, 1:] - weights.kernel[:, :1]
    return float((losses if by_item is None else losses * by_item).sum() + (penalty**2).sum() / (2 * c))


def theirs(x: Array, y: Array, c: float, **options: Any) -> LinearWeights:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = linear_model.LogisticRegression(C=c, tol=1e-9, max_iter=20_000, **options).fit(x, y)
    kernel, bias = fitted.coef_.T, fitted.intercept_
    return (
        LinearWeights(kernel, bias)
        if kernel.shape[1] > 1
        else LinearWeights(np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2)
    )


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 4])
def test_rows_that_can_be_told_apart_are_fitted_to_the_end_at_any_strength(classes: int) -> None:
    """Nearly all are certain: what is left of their losses and gradients is lost in 1 - p."""
    x, y = made(60, classes, width=90)
    for c in (100.0, 1e5):
        (solution,), moments = fit_path(x, y, classes, [c])
        z = standardised(x, moments)
        best = objective(z, y, theirs(z, y, c, solver="newton-cg"), c)
        assert objective(z, y, solution.weights, c) <= best * (1 + 2e-6)


@pytest.mark.slow
def test_many_classes_that_can_just_be_told_apart_are_fitted_to_the_end() -> None:
    """They take more than a thousand steps, and were refused."""
    random = np.random.default_rng(0)
    centres, y = random.standard_normal((40, 20)) * 0.6, random.integers(0, 40, 600)
    x = (centres[y] + random.standard_normal((600, 20))).astype(np.float32)
    (solution,), moments = fit_path(x, y, 40, [1e5])
    assert solution.iterations > 500
    z = standardised(x, moments)
    assert objective(z, y, solution.weights, 1e5) <= objective(z, y, theirs(z, y, 1e5, solver="newton-cg"), 1e5) * (1 + 2e-6)


def test_a_weak_penalty_takes_no_more_steps_than_a_strong_one() -> None:
    """There is nothing beside the axes of 40 features: what rounding leaves there must not lead anywhere."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(3000, 40)).astype(np.float32), random.integers(0, 3, 3000)
    (strong,), _ = fit_path(x, y, 3, [10.0])
    (weak,), _ = fit_path(x, y, 3, [1e4])
    assert weak.iterations <= strong.iterations + 3
    assert weak.loss <= strong.loss


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 5])
def test_the_loss_is_that_of_scikit_learn(classes: int) -> None:
    x, y = made(300, classes)
    strengths = [1.0, 1e-4, 0.01, 100.0]
    solutions, moments = fit_path(x, y, classes, strengths)
    z = standardised(x, moments)
    assert [each.c for each in solutions] == strengths
    for solution in solutions:
        best = objective(z, y, theirs(z, y, solution.c), solution.c)
        assert objective(z, y, solution.weights, solution.c) == pytest.approx(best, rel=1e-6)
        assert solution.loss == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_class_weights_are_those_of_scikit_learn(classes: int) -> None:
    x, y = made(200, classes)
    named = {c: 0.5 + c for c in range(classes)}
    weights = np.array([named[c] for c in range(classes)])
    (solution,), moments = fit_path(x, y, classes, [0.1], weights)
    z = standardised(x, moments)
    best = objective(z, y, theirs(z, y, 0.1, class_weight=named), 0.1, weights[y])
    assert objective(z, y, solution.weights, 0.1, weights[y]) == pytest.approx(best, rel=1e-6)


def test_any_number_of_classes_is_as_many_binary_problems() -> None:
    x, _ = made(200, 2)
    random = np.random.default_rng(1)
    y = np.stack([x[:, 0] > 30, random.random(200) < 0.1, x[:, 5] + random.normal(0, 20, 200) > 30], 1).astype(np.uint8)
    weights = MultiLabel().weights("balanced", y, ["a", "b", "c"])
    (solution,), moments = fit_path(x, y, 3, [0.05], weights, multi_label=True)
    z = standardised(x, moments)
    for c in range(3):
        alone = theirs(z, y[:, c], 0.05, class_weight="balanced")
        kernel, bias = solution.weights.kernel[:, [c]], solution.weights.bias[[c]]
        ours = LinearWeights(np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2)
        by_item = np.asarray(SingleLabel().weights("balanced", y[:, c], ["no", "yes"]))[y[:, c]]
        # All classes together are held to 1e-6, so one of three to less.
        assert objective(z, y[:, c], ours, 0.05, by_item) == pytest.approx(objective(z, y[:, c], alone, 0.05, by_item), rel=3e-6)


def test_more_features_than_items_are_fitted() -> None:
    x, y = made(20, 3, width=60)
    (solution,), moments = fit_path(x, y, 3, [10.0])
    z = standardised(x, moments)
    assert objective(z, y, solution.weights, 10.0) == pytest.approx(objective(z, y, theirs(z, y, 10.0), 10.0), rel=1e-6)


def test_blocks_and_memory_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(100, 3)

    def fitted(cached_bytes: int) -> Array:
        data = Design(MemoryRows(x), np.arange(100), cached_bytes=cached_bytes)
        return LogisticPath(data, linear_loss(y, 3, None, data, False)).solve(0.1).weights.kernel

    whole = fitted(design.CACHED_BYTES)
    monkeypatch.setattr(rows, "BLOCK_BYTES", 7 * 4 * 12)
    np.testing.assert_allclose(fitted(0), whole, atol=1e-3)
    np.testing.assert_array_equal(fitted(0), fitted(design.CACHED_BYTES))


def test_the_moments_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_BYTES", 7 * 4 * 12)
    x, _ = made(100, 3)
    found = Design(MemoryRows(x), np.arange(100)).moments
    np.testing.assert_allclose(found.mean, x.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(found.variance, x.var(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-9)


def test_moments_far_from_zero_lose_no_digits() -> None:
    x = (np.random.default_rng(0).standard_normal((20_000, 3)) * [1, 0.01, 0] + [1000, -3, 7]).astype(np.float32)
    found = Design(MemoryRows(x), np.arange(len(x))).moments
    np.testing.assert_allclose(found.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(found.variance, x.var(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-12)


def test_features_that_are_no_numbers_are_named() -> None:
    x, y = made(50, 2)
    x[[7, 31], 2] = np.nan, np.inf
    with pytest.raises(UsageError, match=r"2 items have features that are NaN or infinite: item 7, item 31\. Leave their labels out"):
        fit_path(x, y, 2, [1.0])


def test_features_that_are_all_constant_give_the_shares_of_the_classes() -> None:
    [solution], _ = fit_path(np.ones((40, 5), np.float32), np.arange(40) % 4 // 2, 2, [1.0])
    assert np.abs(solution.weights.kernel).max() == 0


@pytest.mark.parametrize("classes", [2, 4])
def test_a_start_near_the_end_saves_steps_and_changes_nothing_else(classes: int) -> None:
    x, y = made(200, classes)
    first, everyone = (Design(MemoryRows(x), np.arange(n)) for n in (170, 200))
    found = LogisticPath(first, linear_loss(y, classes, None, first, False)).solve(0.1).weights
    near = found.moved(first.moments, everyone.moments)
    loss = linear_loss(y, classes, None, everyone, False)
    cold, warm = (LogisticPath(everyone, loss, start=start).solve(0.1) for start in (None, near))
    assert warm.iterations < cold.iterations
    assert warm.loss == pytest.approx(cold.loss, rel=2e-6)
    back = near.moved(everyone.moments, first.moments)
    there, here = (standardised(x, of.moments) @ own.kernel + own.bias for of, own in ((first, back), (everyone, near)))
    np.testing.assert_allclose(there, here, atol=1e-4)
