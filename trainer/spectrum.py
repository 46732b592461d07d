"""The largest eigenvalues and axes of a sample's Gram matrix: enough to precondition, and it is never built.

Halko, Martinsson and Tropp 2011, "Finding structure with randomness", algorithm 4.4. The whole decomposition of 2,048 features took five
times as long as the fit that it served, and that of flattened maps would not fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.arrays import Matrix, Tensor

POWERS = 2
LEAST_REST = 1e-6  # of the largest value: below it, what float32 gives as the other directions of a gradient is noise


@dataclass(frozen=True)
class Spectrum:
    """Of the mean of x x^T: `axes` [D, k] with `values` [k], and the mean of the values of all other directions.

    Axes are float64: what is left of a gradient beside them is divided by next to nothing where the penalty is weak, and with float32 axes
    that was noise which led uphill (40 features, C = 10,000: 273 steps and a loss 1e-5 too high, 5 steps now).
    """

    axes: Tensor
    values: Matrix
    rest: float

    @classmethod
    def of(cls, x: Tensor, rank: int) -> Spectrum:
        """x [n, D] float32; rank: axes that are told apart, at most."""
        count, width = x.shape
        rank = min(rank, count, width)
        q = tf.constant(np.random.default_rng(0).standard_normal((width, rank)), tf.float32)
        for _ in range(POWERS):
            q = _orthonormal(tf.matmul(x, tf.matmul(x, q), transpose_a=True))
            if not q.shape[1]:  # all features are constant
                return cls(tf.cast(q, tf.float64), np.zeros(0), 0.0)
        values, turn = _eigen(tf.matmul(x, q))
        trace = float(tf.reduce_sum(tf.cast(tf.reduce_sum(tf.square(x), 0), tf.float64)))
        rest = max(0.0, trace - float(values.sum())) / max(1, width - len(values))
        axes = tf.cast(tf.matmul(q, turn), tf.float64)
        return cls(_orthogonal(axes), values / count, max(rest, LEAST_REST * float(values[-1])) / count)

    def divided(self, gradient: Matrix, scale: Matrix, shift: float) -> Matrix:
        """The inverse of (scale * Gram + shift) times gradient [D, K]; scale [K] by column."""
        other = 1 / (scale * self.rest + shift)
        inverse = 1 / (scale * self.values[:, None] + shift) - other
        turned = tf.matmul(self.axes, tf.constant(gradient), transpose_a=True) * tf.constant(inverse)
        return np.asarray(tf.matmul(self.axes, turned).numpy() + gradient * other)


def _orthonormal(x: Tensor) -> Tensor:
    """A basis of the columns of x [D, k]; columns that add nothing are dropped. By products alone, so as fast as they are."""
    values, turn = _eigen(x)
    kept = (values > 1e-10 * values[-1]) & (values > 0)
    # Not tf.boolean_mask, whose first call is a tenth of a small fit.
    return tf.matmul(x, tf.constant(turn.numpy()[:, kept] / np.sqrt(values[kept]), tf.float32))


def _orthogonal(axes: Tensor) -> Tensor:
    """The nearest to axes [D, k] that are orthonormal in float64, of some that are in float32."""
    values, turn = tf.linalg.eigh(tf.matmul(axes, axes, transpose_a=True))
    return tf.matmul(axes, tf.matmul(turn / tf.sqrt(values), turn, transpose_b=True))


def _eigen(x: Tensor) -> tuple[Matrix, Tensor]:
    """Values, ascending, and axes of x^T x."""
    # TensorFlow's, on one thread: NumPy's threads wait for each other, 2 s for 256 x 256 on a machine that has others at work.
    values, turn = tf.linalg.eigh(tf.cast(tf.matmul(x, x, transpose_a=True), tf.float64))
    return np.maximum(values.numpy(), 0.0), tf.cast(turn, tf.float32)
