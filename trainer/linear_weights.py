"""A head that is linear in standardised features: its weights, its scores, and the Keras model that it is kept as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.arrays import Matrix, Numbers
from trainer.map_pooling import MAP_POOLINGS
from trainer.rows import Rows, vectors
from trainer.standardise import Moments, spread, standardised

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearWeights:
    """Scores = standardised features times kernel [D, C], plus bias [C]; float64."""

    kernel: Matrix
    bias: Matrix

    def times(self, factor: float) -> LinearWeights:
        return LinearWeights(self.kernel * factor, self.bias * factor)

    def moved(self, own: Moments, to: Moments) -> LinearWeights:
        """The same scores of features that are standardised by `to` in the place of `own`.

        z = (x - m) / s * W + b, and with v = (x - m') / s' it is v * (s' / s W) + (m' - m) / s * W + b.
        """
        scale, offset = spread(to) / spread(own), (to.mean - own.mean) / spread(own)
        return LinearWeights(self.kernel * scale[:, None], self.bias + offset @ self.kernel)


def scores(rows: Rows, numbers: Numbers, pooling: str, found: Moments, heads: Sequence[LinearWeights]) -> tuple[Numbers, list[Scores]]:
    """The items in the order of the source, and what each head gives them in view 0 [n, C]: all heads in one pass."""
    mean = tf.constant(found.mean, tf.float32)
    kernel = tf.constant(np.hstack([head.kernel for head in heads]) / spread(found)[:, None], tf.float32)
    bias = tf.constant(np.hstack([head.bias for head in heads]), tf.float32)
    order, values, done = np.empty(len(numbers), np.int64), np.empty((len(heads), len(numbers), len(heads[0].bias)), np.float32), 0
    for part, block in vectors(rows, numbers, pooling):
        order[done : done + len(part)] = part
        of_block = (tf.matmul(block - mean, kernel) + bias).numpy().reshape(len(part), len(heads), -1)
        values[:, done : done + len(part)] = of_block.transpose(1, 0, 2)
        done += len(part)
    return order, list(values)


def linear_model(
    shape: tuple[int, ...], pooling: str, found: Moments, weights: LinearWeights, activation: keras.layers.Layer, l2: float = 0.0
) -> keras.Model:
    """From features [N, *shape] to probabilities: the layers of the head `linear`, with these weights, and with this penalty on them
    (times the squared kernel, beside the mean loss) for whoever trains on."""
    kind = MAP_POOLINGS[pooling or "flatten"]
    inputs = keras.Input(shape)
    x = kind.build(inputs, lambda values: standardised(values, found), keras.regularizers.L2(0.0))
    dense = keras.layers.Dense(weights.kernel.shape[1], kernel_regularizer=keras.regularizers.L2(l2), name="logits")
    outputs = dense(x)
    dense.set_weights([weights.kernel.astype(np.float32), weights.bias.astype(np.float32)])
    return keras.Model(inputs, activation(outputs))
