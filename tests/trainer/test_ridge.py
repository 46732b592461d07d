from __future__ import annotations

import numpy as np
import pytest

from storage.errors import UsageError
from tests.trainer.test_logistic import made, standardised
from trainer import ridge, rows
from trainer.ridge import Ridge, fit_path, ridge_targets, sums, target_sums
from trainer.rows import MemoryRows

linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.mark.parametrize("classes", [2, 5])
def test_coefficients_are_those_of_scikit_learn(classes: int) -> None:
    x, y = made(300, classes)
    alphas = [10.0, 0.1, 1e5]
    heads, moments = fit_path(x, y, classes, alphas)
    z = standardised(x, moments)
    for alpha, head in zip(alphas, heads, strict=True):
        theirs = linear_model.RidgeClassifier(alpha=alpha).fit(z, y)
        kernel, bias = (head.kernel, head.bias) if classes > 2 else (head.kernel[:, 1:], head.bias[1:])
        np.testing.assert_allclose(kernel.T, np.atleast_2d(theirs.coef_), rtol=1e-4, atol=1e-4 * np.abs(theirs.coef_).max())
        np.testing.assert_allclose(bias, theirs.intercept_, atol=1e-6)


def test_class_weights_are_those_of_scikit_learn() -> None:
    x, y = made(200, 3)
    weights = np.array([1.0, 5.0, 0.2])
    (head,), moments = fit_path(x, y, 3, [10.0], weights)
    theirs = linear_model.RidgeClassifier(alpha=10.0, class_weight=dict(enumerate(weights))).fit(standardised(x, moments), y)
    np.testing.assert_allclose(head.kernel, theirs.coef_.T, rtol=1e-4, atol=1e-4 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(head.bias, theirs.intercept_, atol=1e-5)


def test_any_number_of_classes_is_that_of_scikit_learn() -> None:
    x, _ = made(200, 2)
    y = np.stack([x[:, 0] > 30, x[:, 5] > 30, x[:, 7] > 50], 1).astype(np.uint8)
    (head,), moments = fit_path(x, y, 3, [10.0])
    theirs = linear_model.RidgeClassifier(alpha=10.0).fit(standardised(x, moments), y.astype(np.int64))
    np.testing.assert_allclose(head.kernel, theirs.coef_.T, rtol=1e-4, atol=1e-4 * np.abs(theirs.coef_).max())


def test_one_strength_alone_and_sums_of_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_BYTES", 7 * 4 * 12)
    x, y = made(100, 3)
    source, targets = MemoryRows(x), ridge_targets(y, 3)
    whole = Ridge(*sums(source, np.arange(100), targets))
    first = sums(source, np.arange(0, 100, 2), targets)
    second = sums(source, np.arange(1, 100, 2), targets, pivot=first[0].pivot)
    parts = Ridge(first[0].plus(second[0]), first[1].plus(second[1]))
    taken = Ridge(whole.features.plus(sums(source, np.arange(1, 100, 2), targets, pivot=whole.features.pivot)[0], -1), first[1])
    np.testing.assert_allclose(whole.one(3.0).kernel, whole.path([3.0, 5.0])[0].kernel, atol=1e-9)
    np.testing.assert_allclose(parts.one(3.0).kernel, whole.one(3.0).kernel, atol=1e-5)
    np.testing.assert_allclose(taken.moments.variance, Ridge(*first).moments.variance, rtol=1e-5, atol=1e-5)


def test_strengths_together_are_as_exact_as_each_alone() -> None:
    x, y = made(200, 3, width=40)
    alphas = [1.0, 20.0, 1e6]
    for tried in (alphas, [1e-4, *alphas]):
        together, _ = fit_path(x, y, 3, tried)
        for alpha, head in zip(tried, together, strict=True):
            (alone,), _ = fit_path(x, y, 3, [alpha])
            np.testing.assert_allclose(head.kernel, alone.kernel, atol=1e-8)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    random = np.random.default_rng(0)
    x = (1e4 + random.normal(0, 1, (500, 6))).astype(np.float32)
    y = (x[:, 0] > 1e4).astype(np.int64)
    (head,), moments = fit_path(x, y, 2, [1.0])
    theirs = linear_model.RidgeClassifier(alpha=1.0).fit(standardised(x, moments), y)
    np.testing.assert_allclose(head.kernel[:, 1], np.ravel(theirs.coef_), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0])
def test_fewer_rows_than_features_cost_no_digits(alpha: float) -> None:
    """Their Gram matrix is singular: what float32 leaves in it beside nothing is as large as a small alpha."""
    random = np.random.default_rng(0)
    x = np.maximum(random.normal(0.3, 1, (60, 12)) @ random.normal(0, 1, (12, 200)), 0).astype(np.float16)
    y = random.integers(0, 3, 60)
    heads, moments = fit_path(x, y, 3, [alpha, 5 * alpha])
    (alone,), _ = fit_path(x, y, 3, [alpha])
    for strength, head in ((alpha, heads[0]), (5 * alpha, heads[1]), (alpha, alone)):
        theirs = linear_model.RidgeClassifier(alpha=strength).fit(standardised(x, moments), y)
        np.testing.assert_allclose(head.kernel, theirs.coef_.T, atol=1e-6 * np.abs(theirs.coef_).max())


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 10.0])
def test_what_tells_near_copies_apart_counts_where_the_strength_is_small(alpha: float) -> None:
    """Directions of a millionth of the longest one, with other labels."""
    random = np.random.default_rng(0)
    x = np.repeat(random.normal(size=(10, 300)), 10, axis=0)
    x = (x * (1 + 1e-6 * random.normal(size=x.shape))).astype(np.float32)
    y = np.arange(100) % 4
    (head,), moments = fit_path(x, y, 4, [alpha])
    theirs = linear_model.Ridge(alpha=alpha, solver="svd").fit(standardised(x, moments), 2 * np.eye(4)[y] - 1)
    np.testing.assert_allclose(head.kernel, theirs.coef_.T, atol=1e-4 * np.abs(theirs.coef_).max())


def test_sums_of_targets_of_features_far_from_zero_lose_nothing_to_the_rounding_of_their_mean() -> None:
    random = np.random.default_rng(4)
    x = (random.standard_normal((20_000, 5)) + 500).astype(np.float32)
    targets, everyone = ridge_targets(np.arange(20_000) % 7, 7), np.arange(20_000)
    known, expected = sums(MemoryRows(x), everyone, targets, pivot=x.mean(axis=0))
    (found,) = target_sums(MemoryRows(x), [everyone], targets, [known])
    np.testing.assert_allclose(found.products, expected.products, atol=0.1)  # their spread is 70


def test_too_many_features_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "MAX_WIDTH", 11)
    with pytest.raises(
        UsageError, match=r"the ridge head needs the Gram matrix of its inputs, of 11 at most; these features give 12: pool"
    ):
        fit_path(*made(20, 2), 2, [1.0])


def test_features_that_are_no_numbers_are_named() -> None:
    x, y = made(50, 2)
    x[7, 2] = np.nan
    with pytest.raises(UsageError, match="1 items have features that are NaN or infinite: item 7"):
        fit_path(x, y, 2, [1.0])


@pytest.mark.parametrize("parts", [(range(90), range(90, 120)), (range(3, 40, 2), range(50, 60))])
def test_sums_of_targets_are_taken_in_one_pass_about_the_known_pivot(parts: tuple[range, range]) -> None:
    random = np.random.default_rng(3)
    x = (random.standard_normal((150, 12)) + 30).astype(np.float32)
    targets = ridge_targets(random.integers(0, 3, 150), 3)
    numbers = [np.array(part) for part in parts]
    first, second = (sums(MemoryRows(x), part, targets, pivot=x[0]) for part in numbers)
    found = target_sums(MemoryRows(x), numbers, targets, [first[0], second[0]])
    for mine, (_, expected) in zip(found, (first, second), strict=True):
        np.testing.assert_allclose(mine.total, expected.total, atol=1e-9)
        np.testing.assert_allclose(mine.products, expected.products, atol=2e-3)
