"""The losses of linear scores z [N, K], summed over N weighted rows: what a logistic fit needs of them, in TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

Tensor = Any


class LinearLoss(Protocol):
    @property
    def outputs(self) -> int: ...

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


@dataclass(frozen=True, eq=False)
class Softmax:
    """Cross-entropy of one class an item; codes [N] int64, weights [N] float32."""

    codes: Tensor
    weights: Tensor
    outputs: int

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = tf.reduce_logsumexp(z, 1)
        losses = self.weights * (total - tf.gather(z, self.codes, batch_dims=1))
        p = tf.exp(z - total[:, None])
        gradient = (p - tf.one_hot(self.codes, self.outputs)) * self.weights[:, None]
        return _sum(losses), gradient, tf.reduce_sum(p * (1 - p) * self.weights[:, None], 0)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def along(self, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        p = tf.nn.softmax(z + t * change)
        mean = tf.reduce_sum(p * change, 1)
        slopes = mean - tf.gather(change, self.codes, batch_dims=1)
        return _sum(self.weights * slopes), _sum(self.weights * (tf.reduce_sum(p * change**2, 1) - mean**2))


@dataclass(frozen=True, eq=False)
class Sigmoids:
    """Binary cross-entropies, summed over the K outputs; targets [N, K] of 0 and 1, weights [N, K], both float32."""

    targets: Tensor
    weights: Tensor

    @property
    def outputs(self) -> int:
        return int(self.targets.shape[1])

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def value(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        losses = self.weights * tf.nn.sigmoid_cross_entropy_with_logits(self.targets, z)
        p = tf.sigmoid(z)
        return _sum(losses), (p - self.targets) * self.weights, tf.reduce_sum(p * (1 - p) * self.weights, 0)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def along(self, z: Tensor, change: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        p = tf.sigmoid(z + t * change)
        return _sum(self.weights * (p - self.targets) * change), _sum(self.weights * p * (1 - p) * change**2)


def _sum(values: Tensor) -> Tensor:
    """In float64: a sum of float32 in float32 loses the digits that tell whether a fit is done."""
    return tf.reduce_sum(tf.cast(values, tf.float64))
