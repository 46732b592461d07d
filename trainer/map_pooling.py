"""From maps [H, W, C] (or sequences [T, C]) to the one vector that a head reads: a table of poolings over the P positions.

All are stock Keras layers, so that a kept head opens in plain Keras' safe mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from trainer.standardise import Rows

Maps = npt.NDArray[np.float64]  # [n, *shape], the last axis the channels
Tensor = Any  # a symbolic Keras tensor
Standardise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MapPooling:
    """`statistics` gives the rows [m, D] whose mean and spread standardise; `build(maps, standardise, l2)` the pooled vectors."""

    statistics: Rows
    build: Callable[[Tensor, Standardise, keras.regularizers.Regularizer], Tensor]


def _flatten(maps: Tensor, standardise: Standardise, l2: keras.regularizers.Regularizer) -> Tensor:
    return standardise(keras.layers.Flatten()(maps))


def _average(maps: Tensor, standardise: Standardise, l2: keras.regularizers.Regularizer) -> Tensor:
    return standardise(keras.layers.GlobalAveragePooling1D()(_sequence(maps)))


def _maximum(maps: Tensor, standardise: Standardise, l2: keras.regularizers.Regularizer) -> Tensor:
    return standardise(keras.layers.GlobalMaxPooling1D()(_sequence(maps)))


def _attention(maps: Tensor, standardise: Standardise, l2: keras.regularizers.Regularizer) -> Tensor:
    """x [P, C] standardised by channel, query q [C]: a = softmax over P of (x q / sqrt(C)), pooled = sum over P of a_p x_p.

    The attentive probe of Psomas et al., "Attention, Please!" (ICLR 2026, arXiv 2506.10178) with one query and values as they are: no
    key or value projection, so C parameters. q starts at zero, which is average pooling, and is held near it by the L2 of all kernels
    (test accuracy 0.86 with it and 0.84 without on 850 photographs of clothes, whose train accuracy went to 1.0).
    """
    x = standardise(_sequence(maps))
    scores = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", kernel_regularizer=l2, name="query")(x)
    weights = keras.layers.Softmax(axis=1, name="attention")(keras.layers.Rescaling(x.shape[-1] ** -0.5)(scores))
    return keras.layers.Flatten()(keras.layers.Dot(axes=1)([weights, x]))


def _sequence(maps: Tensor) -> Tensor:
    return keras.layers.Reshape((-1, maps.shape[-1]))(maps)


def _positions(maps: Maps) -> Maps:
    return maps.reshape(len(maps), -1, maps.shape[-1])


MAP_POOLINGS: dict[str, MapPooling] = {
    "flatten": MapPooling(lambda maps: maps.reshape(len(maps), -1), _flatten),
    "avg": MapPooling(lambda maps: _positions(maps).mean(axis=1), _average),
    "max": MapPooling(lambda maps: _positions(maps).max(axis=1), _maximum),
    "attention": MapPooling(lambda maps: maps.reshape(-1, maps.shape[-1]), _attention),
}
# Of a linear head on 7x7x1280 maps of 1,372 photographs of clothes, validation and test accuracy: flatten 0.86 and 0.88, max 0.87 and
# 0.86, avg 0.82 and 0.86, attention 0.81 and 0.86.
DEFAULT_MAP_POOLING = "flatten"
