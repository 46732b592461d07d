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


@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE])  # type: ignore[untyped-decorator]
def _softmax_value(codes: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    total = tf.reduce_logsumexp(z, 1)
    losses = weights * (total - tf.gather(z, codes, batch_dims=1))
    p = tf.exp(z - total[:, None])
    gradient = (p - tf.one_hot(codes, tf.shape(z)[1])) * weights[:, None]
    return _sum(losses), gradient, tf.reduce_sum(p * (1 - p) * weights[:, None], 0)


@tf.function(autograph=False, input_signature=[_CODES, _FLAT, _WIDE, _WIDE, _ONE])  # type: ignore[untyped-decorator]
def _softmax_along(codes: Tensor, weights: Tensor, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    p = tf.nn.softmax(z + t * change)
    mean = tf.reduce_sum(p * change, 1)
    slopes = mean - tf.gather(change, codes, batch_dims=1)
    return _sum(weights * slopes), _sum(weights * (tf.reduce_sum(p * change**2, 1) - mean**2))


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE])  # type: ignore[untyped-decorator]
def _sigmoids_value(targets: Tensor, weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    losses = weights * tf.nn.sigmoid_cross_entropy_with_logits(targets, z)
    p = tf.sigmoid(z)
    return _sum(losses), (p - targets) * weights, tf.reduce_sum(p * (1 - p) * weights, 0)


@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, _WIDE, _WIDE, _ONE])  # type: ignore[untyped-decorator]
def _sigmoids_along(targets: Tensor, weights: Tensor, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    p = tf.sigmoid(z + t * change)
    return _sum(weights * (p - targets) * change), _sum(weights * p * (1 - p) * change**2)


def _sum(values: Tensor) -> Tensor:
    """In float64: a sum of float32 in float32 loses the digits that tell whether a fit is done."""
    return tf.reduce_sum(tf.cast(values, tf.float64))
