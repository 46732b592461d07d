"""Standardising features: mean and variance of the training rows, taken a chunk at a time, and the fixed layer that applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 16 << 20  # 16 MiB of float64 at a time: the features themselves stay in the stored dtype

FAR = 100  # spreads from zero
LEAST_VARIANCE = 1e-30  # of float32, which ends at 1e-38, with room for what is divided by it

Rows = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Moments:
    """Mean and variance (of the population) of each of D features."""

    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]


def moments(features: npt.NDArray[np.generic], positions: Sequence[int] | npt.NDArray[np.int64], rows: Rows) -> Moments:
    """Moments over `rows(chunk)` [m, D] of the features [N, *shape] at `positions`, in two passes (one would cancel digits)."""
    count, total = 0, np.zeros(0)
    for chunk in _chunks(features, positions, rows):
        count, total = count + len(chunk), chunk.sum(axis=0) + (total if count else 0.0)
    mean = total / count
    squares = np.zeros_like(mean)
    for chunk in _chunks(features, positions, rows):
        chunk -= mean
        squares += np.einsum("md,md->d", chunk, chunk)
    return Moments(mean, squares / count)


def _chunks(
    features: npt.NDArray[np.generic], positions: Sequence[int] | npt.NDArray[np.int64], rows: Rows
) -> Iterator[npt.NDArray[np.float64]]:
    size = max(1, CHUNK_BYTES // (8 * int(np.prod(features.shape[1:]))))
    for start in range(0, len(positions), size):
        yield rows(features[np.asarray(positions[start : start + size])].astype(np.float64))


def standardised(x: Any, found: Moments) -> Any:
    """x [..., D], symbolic, through a fixed layer (x - mean) / spread.

    A feature that is constant in training (a dead ReLU) is only centred: dividing by its spread of zero would blow up its first other
    value (scikit-learn's StandardScaler does as here). So is one whose spread is nothing beside that of the others.

    BatchNormalization with epsilon 0 and not Normalization, which never divides by less than 1e-7: features of random networks are
    that small, and would all become zero.
    """
    scale = _scale(found)
    if scale != 1:
        x = keras.layers.Rescaling(scale, name="rescale")(x)
    mean = found.mean * scale
    layer = keras.layers.BatchNormalization(epsilon=0.0, center=False, scale=False, trainable=False, name="standardise")
    layer.build(x.shape)
    layer.moving_mean.assign(mean.astype(np.float32))
    layer.moving_variance.assign(((spread(found) * scale) ** 2).astype(np.float32))
    return layer(x)


def spread(found: Moments) -> npt.NDArray[np.float64]:
    """What each feature is divided by; of one that is constant, what leaves it as the fixed layer gets it."""
    scale = _scale(found)
    mean, variance = found.mean * scale, found.variance * scale**2
    constant = (variance <= 1e-14 * mean**2) | (variance < LEAST_VARIANCE)
    return np.asarray(np.sqrt(np.where(constant, 1.0, variance)) / scale)


def is_near_zero(found: Moments) -> bool:
    """Whether the fixed layer, which divides by the spread before it takes the mean away, gives in float32 what taking it away first does.

    Probabilities of a head then agree to 1e-5; where features lie 10,000 spreads from zero to 0.001.
    """
    return bool((np.abs(found.mean) <= FAR * spread(found)).all())


def _scale(found: Moments) -> float:
    """A power of two that brings the largest spread near 1 where float32 could not hold its square, else 1."""
    spread = float(np.sqrt(found.variance.max(initial=0.0)))
    return 1.0 if spread == 0 or 1e-9 < spread < 1e9 else float(2.0 ** -np.round(np.log2(spread)))
