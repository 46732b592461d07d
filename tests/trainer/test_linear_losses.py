"""The losses of linear scores against the same in float64, where a row is in doubt and where it is nearly certain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from trainer.linear_losses import LinearLoss, Sigmoids, Softmax, slope

Array = npt.NDArray[np.float64]
ROWS = 60


def softmax(z: Array, codes: npt.NDArray[np.int64], weights: Array) -> tuple[float, Array, Array]:
    """Loss, gradient and curvature by score. What is left of a nearly certain row is summed from the other classes."""
    own = np.eye(z.shape[1], dtype=bool)[codes]
    ahead = np.where(own, -np.inf, z - z[own][:, None])
    top = np.maximum(ahead.max(axis=1), 0)
    powers = np.exp(ahead - top[:, None])
    total = np.exp(-top) + powers.sum(axis=1)
    losses = top + np.log1p(np.expm1(-top) + powers.sum(axis=1))
    p = powers / total[:, None]
    left = np.where(own, p.sum(axis=1)[:, None], p)
    kept = np.where(own, (np.exp(-top) / total)[:, None], 1 - p)
    gradient = np.where(own, -left, left) * weights[:, None]
    return float(weights @ losses), gradient, (weights[:, None] * left * kept).sum(axis=0)


def sigmoids(z: Array, targets: Array, weights: Array) -> tuple[float, Array, Array]:
    wrong = np.where(targets == 1, -z, z)
    p = 1 / (1 + np.exp(-wrong))
    gradient = np.where(targets == 1, -p, p) * weights
    return float((weights * np.logaddexp(0, wrong)).sum()), gradient, (weights * p / (1 + np.exp(wrong))).sum(axis=0)


def drawn(classes: int, spread: float, seed: int) -> tuple[Array, npt.NDArray[np.int64], Array]:
    random = np.random.default_rng(seed)
    codes = random.integers(0, classes, ROWS)
    z = random.standard_normal((ROWS, classes)) * spread
    z[np.arange(ROWS), codes] += spread * random.integers(-1, 3, ROWS)
    return z.astype(np.float32).astype(np.float64), codes, random.random(ROWS).astype(np.float32).astype(np.float64)


def made(kind: str, classes: int, spread: float) -> tuple[LinearLoss, Array, tuple[float, Array, Array]]:
    z, codes, weights = drawn(classes, spread, seed=classes)
    if kind == "softmax":
        return Softmax(tf.constant(codes), tf.constant(weights, tf.float32), classes), z, softmax(z, codes, weights)
    targets, by_score = np.eye(classes)[codes], np.repeat(weights[:, None], classes, axis=1)
    return Sigmoids(tf.constant(targets, tf.float32), tf.constant(by_score, tf.float32)), z, sigmoids(z, targets, by_score)


CASES = [(kind, classes, spread) for kind in ("softmax", "sigmoids") for classes in (3, 40) for spread in (0.5, 8.0, 40.0)]


@pytest.mark.parametrize(("kind", "classes", "spread"), CASES)
def test_loss_gradient_and_curvature_are_those_of_float64(kind: str, classes: int, spread: float) -> None:
    loss, z, (value, gradient, curvature) = made(kind, classes, spread)
    found = loss.value(tf.constant(z, tf.float32))
    assert float(found[0]) == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(found[1], gradient, rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(found[2], curvature, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("kind", "classes", "spread"), CASES)
@pytest.mark.parametrize("t", [0.0, 0.5, 2.0])
def test_slope_along_a_line_is_that_of_the_gradient_there(kind: str, classes: int, spread: float, t: float) -> None:
    loss, z, _ = made(kind, classes, spread)
    change = np.random.default_rng(1).standard_normal(z.shape).astype(np.float32)
    beside = tf.constant(change)

    def gradient(at: float) -> Array:
        return np.asarray(loss.value(tf.constant(z + at * change, tf.float32))[1].numpy().astype(np.float64))

    by_score = tf.constant(gradient(t), tf.float32)
    size = float(np.abs(gradient(t) * change).sum())
    assert slope(by_score, beside) == pytest.approx(float((gradient(t) * change).sum()), abs=2e-5 * size)
    around = float(((gradient(t + 1e-2) - gradient(t - 1e-2)) * change).sum()) / 2e-2
    assert loss.bend(by_score, beside) == pytest.approx(around, rel=0.05, abs=2e-3 * size)


@pytest.mark.parametrize(("kind", "classes", "spread"), CASES)
def test_along_a_line_are_the_loss_and_the_slope_of_its_points(kind: str, classes: int, spread: float) -> None:
    loss, scores, _ = made(kind, classes, spread)
    z = tf.constant(scores, tf.float32)
    along = loss.along(z)
    for t in (1e-3, 0.3, 1.0, 20.0, 1e4):
        value, by_score, _ = loss.value(t * z)
        assert along(t) == pytest.approx((float(value), slope(by_score, z)), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("kind", ["softmax", "sigmoids"])
def test_what_ties_leave_is_the_loss_where_all_else_is_certain(kind: str, classes: int) -> None:
    loss, z, _ = made(kind, classes, 1.0)
    z[np.random.default_rng(2).random(z.shape) < 0.4] = 0.0
    own = np.eye(classes, dtype=bool)[drawn(classes, 1.0, seed=classes)[1]]
    z[own] = 0.0 if kind == "softmax" else z[own]
    right = np.where(own & (kind == "sigmoids"), 1000.0, -1000.0)
    certain = loss.value(tf.constant(np.where(z == 0, 0.0, right), tf.float32))[0]
    assert loss.of_ties(tf.constant(z, tf.float32)) == pytest.approx(float(certain), rel=1e-6)
