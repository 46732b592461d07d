"""What has changed since a head was fitted: the items, their classes, their features, and how good the head is on what is new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.intervals import Interval


@dataclass(frozen=True)
class Moments:
    """Of the features of n items, maps averaged over their positions: their sum [D] and the sum of their squares [D]."""

    count: int
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)


def moments_of(features: npt.NDArray[np.generic]) -> Moments:
    """Of features [n, *shape]."""
    rows = vectors_of(features).astype(np.float64)
    return Moments(len(rows), rows.sum(axis=0), np.einsum("nd,nd->d", rows, rows))


def vectors_of(features: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """[n, D]: vectors as they are, maps [n, H, W, D] averaged over their positions."""
    flat = features.astype(np.float32)
    return flat if flat.ndim == 2 else flat.reshape(len(flat), -1, flat.shape[-1]).mean(axis=1)


def mean_distance(before: Moments, after: Moments) -> float:
    """How far apart the two means lie, in units of how far the features before spread: |difference| / sqrt(sum of their variances)."""
    mean = before.total / max(1, before.count)
    gap = after.total / max(1, after.count) - mean
    spread = np.maximum(0, before.squares / max(1, before.count) - mean**2).sum()
    return float(np.sqrt(gap @ gap / spread)) if spread else 0.0


@dataclass(frozen=True)
class Drift:
    """From the version `then` that the head was fitted on to the version `now`. `accuracy_then`: on its test items; `accuracy_added`: on
    the labelled items that came since. It had seen neither; with 95% intervals, None where there is nothing to measure."""

    then: int
    now: int
    added: int  # labelled items since
    rows: int  # labelled items now
    accuracy_then: tuple[float, Interval] | None
    accuracy_added: tuple[float, Interval] | None
    class_shares: dict[str, tuple[float, float]]  # of the items then known, and of the added ones
    mean_distance: float | None

    @property
    def share_added(self) -> float:
        return self.added / max(1, self.rows)

    def to_dict(self) -> dict[str, Any]:
        def told(measured: tuple[float, Interval] | None) -> dict[str, Any] | None:
            return {"accuracy": measured[0], "interval": list(measured[1])} if measured else None

        return {
            "fitted_on_version": self.then,
            "version": self.now,
            "labelled_rows": self.rows,
            "added_rows": self.added,
            "added_share": self.share_added,
            "test_then": told(self.accuracy_then),
            "added_now": told(self.accuracy_added),
            "class_shares": {name: {"known": before, "added": after} for name, (before, after) in self.class_shares.items()},
            "feature_mean_distance": self.mean_distance,
        }
