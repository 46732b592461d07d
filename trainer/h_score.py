"""The H-score with shrinkage: how far apart the class means are, measured in the spread of the features.

Ibrahim, Ponomareva, Mazumder, "Newer is not always better: Rethinking transferability metrics, their peculiarities, stability and
performance" (ECML PKDD 2022, arXiv 2110.06893). The H-score of Bao et al. (2019) is trace(cov(f)^-1 cov(E[f | y])); with fewer labels
than a few times the features, cov(f)^-1 is noise, and the score is that of the noise. Here cov(f) is that of Ledoit and Wolf (2004),
(1 - a) S + a m I.

It was chosen as the second score because such are the sets here (1,280 features, some hundred labels), because it has no knob and costs
one decomposition, and because it asks something else than LogME: of the means alone, and none of a regression.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.arrays import Matrix


def h_score(features: npt.NDArray[np.generic], y: npt.NDArray[np.integer[Any]], classes: int) -> float:
    """trace(cov_a(f)^-1 (1 - a) cov(E[f | y])) of features [N, D] and class numbers [N]: from 0 to classes - 1, the larger the better."""
    x = features.astype(np.float64)
    x -= x.mean(axis=0)
    counts = np.bincount(y, minlength=classes)
    sums = np.zeros((classes, x.shape[1]))
    np.add.at(sums, y, x)
    # Each class counts by its share: cov(E[f | y]) = sum of share * mean mean'.
    means = sums / np.sqrt(np.maximum(1, counts) * len(x))[:, None]
    gram = x.T @ x / len(x) if x.shape[1] <= len(x) else x @ x.T / len(x)
    a, level = _shrinkage(x, gram)
    if a >= 1 or level == 0:
        return 0.0
    # The means lie among the centred rows: where rows are fewer than features, solve among the rows and not among the features.
    if x.shape[1] <= len(x):
        gram[np.diag_indices_from(gram)] += a * level / (1 - a)
        return float((means * np.linalg.solve(gram, means.T).T).sum())
    values, axes = np.linalg.eigh(gram)
    kept = values > 1e-10 * values[-1]
    along = means @ x.T @ axes[:, kept] / np.sqrt(values[kept] * len(x))
    return float((along**2 / (values[kept] + a * level / (1 - a))).sum())


def _shrinkage(x: Matrix, gram: Matrix) -> tuple[float, float]:
    """Ledoit and Wolf's share of the identity, and what it is multiplied by. gram: either of the two Gram matrices, by N."""
    rows, width = x.shape
    level = float((x**2).sum()) / rows / width
    squares = float((gram**2).sum())  # |S|^2, the same for both
    distance = squares - width * level**2
    noise = (float(((x**2).sum(axis=1) ** 2).sum()) / rows - squares) / rows
    return (min(noise, distance) / distance if distance > 0 else 1.0), level
