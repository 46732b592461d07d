"""The losses of linear scores z [N, K], summed over N weighted rows: what a logistic fit needs of them, in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Protocol

import tensorflow as tf

from trainer.arrays import Tensor

Along = Callable[[float], tuple[float, float]]


class LinearLoss(Protocol):
    @property
    def outputs(self) -> int: ...

    @property
    def outputs_compete(self) -> bool:
        """Whether an item is of one class, and has one loss; else it has one for each output."""
        ...

    @property
    def weights(self) -> Tensor:
        """[N], or [N, K]."""
        ...

    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss (float64), its gradient by z [N, K], and the sum over the rows of its second derivative by each score [K]."""
        ...

    def bend(self, by_score: Tensor, change: Tensor) -> float:
        """The curvature by t of the loss of z + t * change at t = 0, where its gradient by z is by_score."""
        ...

    def along(self, z: Tensor) -> Along:
        """By t, above 0: the loss of t * z and its slope, for half of what `value` takes."""
        ...

    def of_ties(self, z: Tensor) -> float:
        """What is left where all that z tells apart is right and certain. z: 0 where an output is not told from even odds, or, of outputs
        that compete, a class not from a row's own one, which itself has 0."""
        ...


def slope(by_score: Tensor, change: Tensor) -> float:
    """By t, of a loss of z + t * change at t = 0, where its gradient by z is by_score."""
    return float(_slope(by_score, change))


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy of one class an item; codes [N] int64, weights [N] float32."""

    codes: Tensor
    weights: Tensor
    outputs: int
    outputs_compete = True

    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _softmax_value(self.codes, self.weights, z)
        return found

    def bend(self, by_score: Tensor, change: Tensor) -> float:
        return float(_softmax_bend(self.codes, self.weights, by_score, change))

    def along(self, z: Tensor) -> Along:
        ahead = _ahead(self.codes, z)
        return lambda t: _floats(_softmax_along(self.weights, ahead, t))

    def of_ties(self, z: Tensor) -> float:
        return float(_sum(self.weights * tf.math.log(tf.cast(z.shape[1] - tf.math.count_nonzero(z, 1), tf.float32))))


@dataclass(frozen=True)
class Sigmoids:
    """Binary cross-entropies, summed over the K outputs; targets [N, K] of 0 and 1, weights [N, K], both float32."""

    targets: Tensor
    weights: Tensor
    outputs_compete = False

    @property
    def outputs(self) -> int:
        return int(self.targets.shape[1])

    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _sigmoids_value(self.targets, self.weights, z)
        return found

    def bend(self, by_score: Tensor, change: Tensor) -> float:
        return float(_sigmoids_bend(self.weights, by_score, change))

    def along(self, z: Tensor) -> Along:
        return lambda t: _floats(_sigmoids_along(self.targets, self.weights, z, t))

    def of_ties(self, z: Tensor) -> float:
        return log(2) * float(_sum(tf.reduce_sum(tf.where(z == 0, self.weights, 0.0), 1)))


# With signatures, so that each is traced once in a process: a fit of small features takes no longer than that. Without autograph, which
# looks for Python's control flow, finds none and takes 50 ms a function.
_FLAT, _WIDE = tf.TensorSpec([None]), tf.TensorSpec([None, None])
_CODES, _NUMBER = tf.TensorSpec([None], tf.int64), tf.TensorSpec([])


# What a row that is nearly certain has left is the sum of what the other classes have, never 1 - p, of which float32 can tell too little:
# with it fits of 1,000 rows ended 1e-3 of the loss away from the best at C = 1,000, and a third at 100,000. Written with as few passes over
# [N, K] as can be, with one exponential: with reduce_logsumexp these were a quarter of the time of a fit of 100 classes.
@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_value(codes: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    own, ahead = _own(codes, z), _ahead(codes, z)
    top = tf.maximum(tf.reduce_max(ahead, 1), 0.0)
    powers = tf.exp(ahead - top[:, None])  # 0 for a row's own class
    others, mine = tf.reduce_sum(powers, 1), tf.exp(-top)
    total = mine + others
    p = powers / total[:, None]
    wrong, right = others / total, mine / total
    residual = tf.where(own, -wrong[:, None], p) * weights[:, None]
    curvature = tf.linalg.matvec(p - p * p, weights, transpose_a=True)
    curvature += tf.math.unsorted_segment_sum(weights * wrong * right, codes, tf.shape(z)[1])
    return _sum(weights * (top + tf.math.log1p(tf.math.expm1(-top) + others))), residual, curvature


# From the gradient, without one more exponential: what a row has left is in it.
@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_bend(codes: Tensor, weights: Tensor, by_score: Tensor, change: Tensor) -> Tensor:
    gains = _against_own(codes, change)
    gained = by_score * gains
    return _sum(tf.reduce_sum(gained * gains, 1) - tf.math.divide_no_nan(tf.reduce_sum(gained, 1) ** 2, weights))


@tf.function(autograph=False, input_signature=[_FLAT, _WIDE, _NUMBER])  # type: ignore[untyped-decorator]
def _softmax_along(weights: Tensor, ahead: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    scaled = t * ahead
    top = tf.maximum(tf.reduce_max(scaled, 1), 0.0)
    powers = tf.exp(scaled - top[:, None])
    others = tf.reduce_sum(powers, 1)
    gained = tf.reduce_sum(tf.math.multiply_no_nan(ahead, powers), 1)
    return _sum(weights * (top + tf.math.log1p(tf.math.expm1(-top) + others))), _sum(weights * gained / (tf.exp(-top) + others))


def _own(codes: Tensor, z: Tensor) -> Tensor:
    return tf.equal(codes[:, None], tf.range(tf.shape(z)[1], dtype=codes.dtype))


def _against_own(codes: Tensor, z: Tensor) -> Tensor:
    """How far each class is ahead of a row's own one [N, K]."""
    return z - tf.gather(z, codes, batch_dims=1)[:, None]


def _ahead(codes: Tensor, z: Tensor) -> Tensor:
    """The same, with minus infinity for the own one."""
    return tf.where(_own(codes, z), -float("inf"), _against_own(codes, z))


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _sigmoids_value(targets: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    losses = weights * tf.nn.sigmoid_cross_entropy_with_logits(targets, z)
    p = tf.sigmoid(z)
    return _sum(losses), _residual(targets, z) * weights, tf.reduce_sum(p * tf.sigmoid(-z) * weights, 0)


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _sigmoids_bend(weights: Tensor, by_score: Tensor, change: Tensor) -> Tensor:
    gained = tf.abs(by_score * change)
    return _sum(tf.reduce_sum(gained * tf.abs(change) - tf.math.divide_no_nan(gained**2, weights), 1))


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE, _NUMBER])  # type: ignore[untyped-decorator]
def _sigmoids_along(targets: Tensor, weights: Tensor, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    scaled = t * z
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, scaled)
    return _sum(tf.reduce_sum(weights * losses, 1)), _slope(_residual(targets, scaled) * weights, z)


def _residual(targets: Tensor, z: Tensor) -> Tensor:
    """sigmoid(z) - targets."""
    wrong = 1 - 2 * targets
    return wrong * tf.sigmoid(wrong * z)


# Not compiled: of few rows a call of a function takes twice as long as these four operations.
def _slope(by_score: Tensor, change: Tensor) -> Tensor:
    return _sum(tf.reduce_sum(by_score * change, 1))


def _floats(found: tuple[Tensor, Tensor]) -> tuple[float, float]:
    return float(found[0]), float(found[1])


def _sum(values: Tensor) -> Tensor:
    """In float64: a sum of float32 in float32 loses the digits that tell whether a fit is done."""
    return tf.reduce_sum(tf.cast(values, tf.float64))
