"""LogME: how much evidence the features give for the labels. You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer
Learning" (ICML 2021, arXiv 2102.11005).

F: features [N, D]; y: one class as 0 and 1 [N]. w ~ N(0, 1 / alpha), y ~ N(F w, 1 / beta). The evidence p(y | F, alpha, beta) at the alpha
and beta that make it greatest, its logarithm by N, and the mean over the classes. The larger, the better; one set is compared with
another on the same items, and the number alone says nothing.

With F = U S V', sigma = S^2, z = U' y and r singular values above zero, all that the paper writes with D x D matrices is sums over r:
gamma = sum of beta sigma / (alpha + beta sigma); alpha becomes gamma / |m|^2, beta (N - gamma) / |F m - y|^2, until neither moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_STEPS, STILL = 200, 1e-7  # the paper's authors stop after 11; what moves less than STILL stands still
RATIOS = 10.0 ** np.arange(-6, 6.1, 0.25)  # of alpha / beta to the mean sigma, to begin with the best of
LEAST_SIGMA = 1e-10  # of the largest: below there is nothing but rounding
EXTREME = 1e12  # most that alpha / beta departs from the mean sigma, either way: where labels are fitted exactly, it has no limit

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Of one class: the maximum, and where it is."""

    log_evidence: float
    alpha: float
    beta: float


def logme(features: npt.NDArray[np.generic], y: npt.NDArray[np.integer[Any]], classes: int) -> float:
    """Of features [N, D] and class numbers [N]: the mean over the classes of the log evidence by item."""
    sigma, axes = _left_spectrum(features.astype(np.float64))
    targets = np.eye(classes)[y]
    found = [maximum_evidence(sigma, axes.T @ target, float(target @ target), len(y)) for target in targets.T if target.any()]
    return float(np.mean([each.log_evidence for each in found])) / len(y)


def maximum_evidence(sigma: Vector, z: Vector, square: float, rows: int) -> Evidence:
    """By the paper's fixed point, begun near the greatest maximum: with as many features as items there may be several.

    sigma: eigenvalues of F F' above zero [r]; z: the target along their axes [r]; square: |y|^2.
    """
    rest = max(0.0, square - float(z @ z))  # of y, outside of what features can reach
    if not len(sigma):  # features of zero
        return Evidence(log_evidence(sigma, z, rest, rows, 1.0, rows / square), 1.0, rows / square)
    near = [(ratio * beta, beta) for ratio in sigma.mean() * RATIOS for beta in [rows / _spread(sigma, z, rest, ratio)]]
    alpha, beta = max(near, key=lambda each: log_evidence(sigma, z, rest, rows, *each))
    for _ in range(MAX_STEPS):
        gamma, length, missed = _at(sigma, z, rest, alpha, beta)
        old = alpha / beta
        alpha, beta = gamma / max(length, 1e-300), (rows - gamma) / max(missed, 1e-300)
        ratio = float(np.clip(alpha / beta if beta > 0 else 0.0, sigma.mean() / EXTREME, sigma.mean() * EXTREME))
        # For a ratio of the two, the best beta is known: it stays right where N - gamma and the missed part both vanish.
        beta = rows / _spread(sigma, z, rest, ratio)
        alpha = ratio * beta
        if abs(ratio - old) <= STILL * old:
            break
    return Evidence(log_evidence(sigma, z, rest, rows, alpha, beta), alpha, beta)


def log_evidence(sigma: Vector, z: Vector, rest: float, rows: int, alpha: float, beta: float) -> float:
    """The paper's equation 2, in which D cancels: log alpha counts D times in the prior and D - r times in log |A|."""
    _, length, missed = _at(sigma, z, rest, alpha, beta)
    fit = rows * (log(beta) - log(2 * pi)) - beta * missed - alpha * length
    return 0.5 * (fit + len(sigma) * log(alpha) - float(np.log(alpha + beta * sigma).sum()))


def _at(sigma: Vector, z: Vector, rest: float, alpha: float, beta: float) -> tuple[float, float, float]:
    """gamma, |m|^2 and |F m - y|^2."""
    curved = alpha + beta * sigma
    return (
        float((beta * sigma / curved).sum()),
        float((beta**2 * sigma * z**2 / curved**2).sum()),
        float((z**2 * (alpha / curved) ** 2).sum()) + rest,
    )


def _spread(sigma: Vector, z: Vector, rest: float, ratio: float) -> float:
    """y' (I + F F' / ratio)^-1 y: rows / beta, where beta is best."""
    return max(float((z**2 * ratio / (ratio + sigma)).sum()) + rest, 1e-300)


def _left_spectrum(features: npt.NDArray[np.float64]) -> tuple[Vector, npt.NDArray[np.float64]]:
    """Eigenvalues of F F' above rounding [r], and their axes [N, r], by the smaller of the two Gram matrices."""
    rows, width = features.shape
    if rows <= width:
        values, axes = np.linalg.eigh(features @ features.T)
        kept = values > LEAST_SIGMA * max(values[-1], 1e-300)
        return values[kept], axes[:, kept]
    values, axes = np.linalg.eigh(features.T @ features)
    kept = values > LEAST_SIGMA * max(values[-1], 1e-300)
    return values[kept], features @ (axes[:, kept] / np.sqrt(values[kept]))
