"""The losses of linear scores z [N, K], summed over N weighted rows: what a logistic fit needs of them, in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import tensorflow as tf

from trainer.arrays import Tensor

Line = Callable[[float], tuple[float, float]]


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

    def line(self, z: Tensor, change: Tensor) -> Line:
        """Of t: slope and curvature by t of the loss of z + t * change."""
        ...


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy of one class an item; codes [N] int64, weights [N] float32."""

    codes: Tensor
    weights: Tensor
    outputs: int
    outputs_compete = True

    @cached_property
    def _own(self) -> Tensor:
        """Whether a class is a row's own [N, K]."""
        return tf.equal(self.codes[:, None], tf.range(self.outputs, dtype=self.codes.dtype))

    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _softmax_value(self.codes, self._own, self.weights, z)
        return found

    def line(self, z: Tensor, change: Tensor) -> Line:
        ahead, gains = _softmax_line(self.codes, self._own, z, change)

        def at(t: float) -> tuple[float, float]:
            slope, curvature = _softmax_along(self.weights, ahead, gains, tf.constant(t, tf.float32))
            return float(slope), float(curvature)

        return at


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

    def line(self, z: Tensor, change: Tensor) -> Line:
        def at(t: float) -> tuple[float, float]:
            slope, curvature = _sigmoids_along(self.targets, self.weights, z, change, tf.constant(t, tf.float32))
            return float(slope), float(curvature)

        return at


# With signatures, so that each is traced once in a process: a fit of small features takes no longer than that. Without autograph, which
# looks for Python's control flow, finds none and takes 50 ms a function.
_FLAT, _WIDE, _ONE = tf.TensorSpec([None]), tf.TensorSpec([None, None]), tf.TensorSpec([])
_CODES, _OWN = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, None], tf.bool)


# What a row that is nearly certain has left is the sum of what the other classes have, never 1 - p, of which float32 can tell too little:
# with it fits of 1,000 rows ended 1e-3 of the loss away from the best at C = 1,000, and a third at 100,000. Written with as few passes over
# [N, K] as can be, with one exponential: with reduce_logsumexp these were a quarter of the time of a fit of 100 classes.
@tf.function(autograph=False, input_signature=[_CODES, _OWN, _FLAT, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_value(codes: Tensor, own: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    top, powers, others = _exponentials(tf.where(own, -float("inf"), _against_own(codes, z)))
    total = tf.exp(-top) + others
    p = powers / total[:, None]  # 0 for its own class
    wrong, right = others / total, tf.exp(-top) / total
    residual = tf.where(own, -wrong[:, None], p) * weights[:, None]
    curvature = tf.linalg.matvec(p - p * p, weights, transpose_a=True)
    curvature += tf.math.unsorted_segment_sum(weights * wrong * right, codes, tf.shape(z)[1])
    return _sum(weights * (top + tf.math.log1p(tf.math.expm1(-top) + others))), residual, curvature


@tf.function(autograph=False, input_signature=[_CODES, _OWN, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_line(codes: Tensor, own: Tensor, z: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    return tf.where(own, -float("inf"), _against_own(codes, z)), _against_own(codes, change)


@tf.function(autograph=False, input_signature=[_FLAT, _WIDE, _WIDE, _ONE])  # type: ignore[untyped-decorator]
def _softmax_along(weights: Tensor, ahead: Tensor, gains: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    top, powers, others = _exponentials(ahead + t * gains)
    total = tf.exp(-top) + others
    gained = powers * gains
    mean = tf.reduce_sum(gained, 1) / total
    return _sum(weights * mean), _sum(weights * (tf.reduce_sum(gained * gains, 1) / total - mean**2))


def _against_own(codes: Tensor, z: Tensor) -> Tensor:
    """How far each class is ahead of a row's own one [N, K]."""
    return z - tf.gather(z, codes, batch_dims=1)[:, None]


def _exponentials(ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of how far the others are ahead [N, K]: the highest, or 0 [N], exp(ahead - highest) [N, K], and the sum of these [N]."""
    top = tf.maximum(tf.reduce_max(ahead, 1), 0.0)
    powers = tf.exp(ahead - top[:, None])
    return top, powers, tf.reduce_sum(powers, 1)


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _sigmoids_value(targets: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    losses = weights * tf.nn.sigmoid_cross_entropy_with_logits(targets, z)
    p = tf.sigmoid(z)
    return _sum(losses), _residual(targets, z) * weights, tf.reduce_sum(p * tf.sigmoid(-z) * weights, 0)


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE, _WIDE, _ONE])  # type: ignore[untyped-decorator]
def _sigmoids_along(targets: Tensor, weights: Tensor, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    z = z + t * change
    p = tf.sigmoid(z)
    return _sum(weights * _residual(targets, z) * change), _sum(weights * p * tf.sigmoid(-z) * change**2)


def _residual(targets: Tensor, z: Tensor) -> Tensor:
    """sigmoid(z) - targets."""
    wrong = 1 - 2 * targets
    return wrong * tf.sigmoid(wrong * z)


def _sum(values: Tensor) -> Tensor:
    """In float64: a sum of float32 in float32 loses the digits that tell whether a fit is done."""
    return tf.reduce_sum(tf.cast(values, tf.float64))
