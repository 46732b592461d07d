"""How sure a mean over seeds is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

CONFIDENCE = 0.95
# Student's t, two-sided 95%, for 1 to 30 degrees of freedom; beyond, 1.96 + 2.5 / df is right to 0.001.
# NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2 (the column 0.975).
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class SeedInterval:
    """mean +- half_width; half_width is None for one seed, of which nothing can be said."""

    mean: float
    half_width: float | None


def over_seeds(values: Sequence[float], validation_share: float | None) -> SeedInterval:
    """Mean and 95% t interval of one value a seed.

    validation_share: of the items that each seed held out for itself, validation / training. The seeds' training items overlap, so their
    values vary too little; the variance of the mean is then s^2 (1 / n + share) (Nadeau and Bengio, Inference for the Generalization
    Error, Machine Learning 52, 2003), else s^2 / n (None: the validation items are given, and only starts differ).
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return SeedInterval(mean, None)
    t = _T[n - 2] if n - 1 <= len(_T) else 1.96 + 2.5 / (n - 1)
    return SeedInterval(mean, t * sqrt(float(np.var(values, ddof=1)) * (1 / n + (validation_share or 0.0))))


def method(resampled: bool, seeds: int, differ: str) -> str:
    """What the interval is, in words. differ: what is another for each seed on given validation items."""
    if seeds < 2:
        return "none: one seed"
    if resampled:
        return f"95% t interval over {seeds} seeds, each with its own validation items (Nadeau and Bengio's corrected variance)"
    return f"95% t interval over {seeds} seeds on the given validation items: {differ} differ, nothing else"
