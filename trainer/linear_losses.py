"""The losses of linear scores z [N, K], summed over N weighted rows: what a logistic fit needs of them, in TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from trainer.arrays import Tensor


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

    def along(self, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and curvature (float64) by t of the loss of z + t * change."""
        ...


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

    def along(self, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = _softmax_along(self.codes, self.weights, z, change, t)
        return found


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

    def along(self, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = _sigmoids_along(self.targets, self.weights, z, change, t)
        return found


# With signatures, so that each is traced once in a process: a fit of small features takes no longer than that. Without autograph, which
# looks for Python's control flow, finds none and takes 50 ms a function.
_FLAT, _WIDE, _ONE = tf.TensorSpec([None]), tf.TensorSpec([None, None]), tf.TensorSpec([])
_CODES = tf.TensorSpec([None], tf.int64)


# What a row that is nearly certain has left is the sum of what the other classes have, never 1 - p, of which float32 can tell too little:
# with it fits of 1,000 rows ended 1e-3 of the loss away from the best at C = 1,000, and a third at 100,000.
@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_value(codes: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    own, ahead = _against_own(codes, z)
    others = tf.reduce_logsumexp(ahead, 1)
    losses = tf.nn.softplus(others)
    p = tf.exp(ahead - losses[:, None])  # 0 for its own class
    residual, rest = p - own * tf.sigmoid(others)[:, None], tf.exp(-losses)[:, None] * own
    return _sum(weights * losses), residual * weights[:, None], tf.reduce_sum((p * (1 - p) - residual * rest) * weights[:, None], 0)


@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE, _WIDE, _ONE])  # type: ignore[untyped-decorator]
def _softmax_along(codes: Tensor, weights: Tensor, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    _, ahead = _against_own(codes, z + t * change)
    p = tf.exp(ahead - tf.nn.softplus(tf.reduce_logsumexp(ahead, 1))[:, None])
    gains = change - tf.gather(change, codes, batch_dims=1)[:, None]
    mean = tf.reduce_sum(p * gains, 1)
    return _sum(weights * mean), _sum(weights * (tf.reduce_sum(p * gains**2, 1) - mean**2))


def _against_own(codes: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """1 for a row's own class and 0 for the others [N, K], and how far each other one is ahead of it (its own: not at all)."""
    own = tf.one_hot(codes, tf.shape(z)[1])
    return own, tf.where(own > 0, -float("inf"), z - tf.gather(z, codes, batch_dims=1)[:, None])


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
