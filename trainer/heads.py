"""The heads by name. A head is a small Keras classifier from features [N, *shape] to logits [N, C]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class HeadInput:
    """What a head is built for: its training features [N, *shape] (for their mean and spread), C classes, L2 strength."""

    features: npt.NDArray[np.generic]
    classes: int
    l2: float  # added to the mean loss: l2 * sum(kernel ** 2)


def linear(head_input: HeadInput) -> keras.Model:
    """Standardised features and one dense layer: multinomial logistic regression. Maps are flattened."""
    inputs = keras.Input(head_input.features.shape[1:])
    x = keras.layers.Flatten()(inputs) if len(inputs.shape) > 2 else inputs
    x = _standardise(head_input.features)(x)
    regularizer = keras.regularizers.L2(head_input.l2)
    # Zeros: the problem is convex, so a random start only adds noise between seeds.
    logits = keras.layers.Dense(head_input.classes, kernel_initializer="zeros", kernel_regularizer=regularizer, name="logits")(x)
    return keras.Model(inputs, logits)


HEADS: dict[str, Callable[[HeadInput], keras.Model]] = {"linear": linear}


def with_probabilities(model: keras.Model) -> keras.Model:
    """The same head ending in class probabilities, for keeping and use."""
    return keras.Model(model.input, keras.layers.Softmax(name="probabilities")(model.output))


def _standardise(features: npt.NDArray[np.generic]) -> keras.layers.Layer:
    """A fixed layer (x - mean) / spread, by feature. One that is constant in training (a dead ReLU) is only centred: dividing by its
    spread of zero would blow up its first other value (scikit-learn's StandardScaler does as here).

    BatchNormalization with epsilon 0 and not Normalization, which never divides by less than 1e-7: features of random networks are
    that small, and would all become zero.
    """
    flat = features.reshape(len(features), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    variance = flat.var(axis=0, dtype=np.float64)
    layer = keras.layers.BatchNormalization(epsilon=0.0, center=False, scale=False, trainable=False, name="standardise")
    layer.build((None, flat.shape[1]))
    layer.moving_mean.assign(mean.astype(np.float32))
    layer.moving_variance.assign(np.where(variance <= 1e-14 * mean**2, 1.0, variance).astype(np.float32))
    return layer
