"""A map of embeddings: their two main directions (PCA), found without a covariance matrix. N items of D numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.feature_set import FeatureSet
from trainer.drift import vectors_of

MOST_POINTS = 1500  # more are a blot, and a page of megabytes
_VECTORS, _ROUNDS = 10, 8  # of the subspace iteration: eight more than are wanted, until the two no longer turn


@dataclass(frozen=True)
class EmbeddingMap:
    """`numbers` [n]: which of the items are shown; `places` [n, 2] from 0 to 1; `shares`: of the variance, by direction."""

    numbers: npt.NDArray[np.int64]
    places: npt.NDArray[np.float64]
    shares: tuple[float, float]


def map_of(feature_set: FeatureSet, positions: npt.NDArray[np.int64]) -> EmbeddingMap:
    """Of the items at these positions, or of MOST_POINTS of them, evenly. Maps of features are averaged over their positions."""
    numbers = np.linspace(0, len(positions) - 1, min(len(positions), MOST_POINTS)).astype(np.int64)
    places, shares = principal_plane(vectors_of(feature_set.embeddings(positions[numbers])))
    spread = np.ptp(places, axis=0)
    return EmbeddingMap(numbers, (places - places.min(axis=0)) / np.where(spread > 0, spread, 1), shares)


def principal_plane(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """Coordinates [N, 2] along the two directions of most variance, and the shares of it; by subspace iteration (Halko et al. 2011)."""
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    width = min(_VECTORS, *centred.shape)
    basis = np.random.default_rng(0).standard_normal((centred.shape[1], width))
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    scores = centred @ basis
    values, turn = np.linalg.eigh(scores.T @ scores)
    found = np.zeros((len(vectors), 2))
    main = scores @ turn[:, ::-1][:, :2]
    found[:, : main.shape[1]] = main
    total = max(float((centred**2).sum()), 1e-300)
    shares = [*(values[::-1][:2] / total), 0.0, 0.0]
    return found, (float(shares[0]), float(shares[1]))
