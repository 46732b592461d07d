"""A head that is linear in standardised features: its weights, its scores, and the Keras model that it is kept as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.arrays import Matrix, Numbers, Tensor
from trainer.calibration import least_loss
from trainer.lbfgs import step_length
from trainer.linear_losses import LinearLoss, slope
from trainer.map_pooling import MAP_POOLINGS
from trainer.rows import Rows, vectors
from trainer.standardise import Moments, spread, standardised

Scores = npt.NDArray[np.float32]
SLOPE_LEFT = 1e-4  # of the loss by the temperature: its fourth digit


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
    mean, scale = tf.constant(found.mean, tf.float32), tf.constant(1 / spread(found), tf.float32)
    kernel = tf.constant(np.hstack([head.kernel for head in heads]), tf.float32)
    bias = tf.constant(np.hstack([head.bias for head in heads]), tf.float32)
    order, parts = [], []
    for part, block in vectors(rows, numbers, pooling):
        order.append(part)
        parts.append((tf.matmul((block - mean) * scale, kernel) + bias).numpy())
    return np.concatenate(order), np.split(np.concatenate(parts), len(heads), axis=1)


def temperature(loss: LinearLoss, found: Scores) -> float:
    """What scores [n, C] are multiplied by to become logits: the factor of least loss. Guo et al. 2017 divide by theirs."""
    z = tf.constant(found)

    def gradient(t: float) -> Tensor:
        return loss.value(tf.constant(t, tf.float32) * z)[1]

    flat = gradient(0.0)
    uphill = slope(flat, z)
    if uphill >= 0:
        return LEAST_TEMPERATURE
    return step_length(lambda t: slope(gradient(t), z), uphill, loss.bend(flat, z), SLOPE_LEFT)


def bounded(loss: LinearLoss, found: Scores, factor: float) -> float:
    """A temperature at which the items may be believed: where the scores [n, C] separate them, the more the better would never end.

    The mean loss is then that which n items can tell.
    """
    least = least_loss(len(found)) * (len(found) if loss.outputs_compete else found.size)

    def value(t: float) -> float:
        return float(loss.value(tf.constant(found * np.float32(t)))[0])

    if value(factor) >= least:
        return factor
    low, high = LEAST_TEMPERATURE * factor, factor
    for _ in range(BISECTIONS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if value(middle) < least else (middle, high)
    return low


BISECTIONS = 20  # of a factor of 1,000, to its fifth digit
LEAST_TEMPERATURE = 1e-3  # of scores that point the wrong way: the order of the classes stays, and nothing is certain


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
