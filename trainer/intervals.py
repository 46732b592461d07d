"""Bootstrap intervals: how far a number could have come out elsewhere, had other items of the same kind been drawn.

Percentile intervals of 95% over RESAMPLES seeded resamples of the items. The items are resampled, the head is not fitted again. Nothing is
drawn an item at a time where items fall into few kinds: how often each of K kinds comes in a resample of N items is multinomial, so that
a confusion matrix of a million items costs what its cells cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
LEAST_RESAMPLES = 200  # where items must be drawn one by one: of a million, 200 take about 3 s
LEVEL = 0.95
BLOCK = 1 << 22  # counts in memory at a time: 32 MiB
GROUPS = 1024
MOST_DRAWN = 2 * 10**8  # items drawn one by one: 3 s

Samples = npt.NDArray[np.float64]


class Interval(NamedTuple):
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def percentile_interval(samples: Samples) -> Interval:
    """The middle LEVEL of the samples [R]; NaN where they are."""
    low, high = np.percentile(samples, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]) if len(samples) else (np.nan, np.nan)
    return Interval(float(low), float(high))


def resampled_counts(counts: npt.NDArray[np.integer[Any]], seed: int, resamples: int = RESAMPLES) -> Iterator[npt.NDArray[np.int64]]:
    """Blocks [r, K] of how often each of K kinds comes among N = counts.sum() items drawn with replacement; R rows in all."""
    random, total = np.random.default_rng(seed), int(counts.sum())
    shares = counts / total
    size = max(1, BLOCK // max(1, len(counts)))
    for start in range(0, resamples, size):
        yield random.multinomial(total, shares, size=min(size, resamples - start))


def resampled(counts: npt.NDArray[np.integer[Any]], statistic: Callable[[npt.NDArray[np.int64]], Samples], seed: int) -> Samples:
    """`statistic`, from counts [r, K] to values [r, ...], over all resamples [R, ...]."""
    return np.concatenate([statistic(block) for block in resampled_counts(counts, seed)])


def resampled_means(values: npt.NDArray[np.floating[Any]], seed: int) -> Samples:
    """Means [R] of resamples of values [N].

    Above GROUPS values, neighbours in order count as equal: what they differ by is nothing beside how far the values spread.
    """
    groups = np.array_split(np.sort(values), min(len(values), GROUPS))
    sizes = np.array([len(group) for group in groups])
    means = np.array([group.mean() for group in groups])
    return resampled(sizes, lambda counts: counts @ means / sizes.sum(), seed)


def item_weights(items: int, seed: int, most: int = MOST_DRAWN) -> Iterator[npt.NDArray[np.float32]]:
    """Blocks [r, N] of how often each item comes in each resample, for numbers that need the items: fewer resamples of many items."""
    random = np.random.default_rng(seed)
    resamples = max(LEAST_RESAMPLES, min(RESAMPLES, most // max(1, items)))
    size = max(1, BLOCK // max(1, items))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = random.integers(0, items, (rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.reshape(-1), minlength=rows * items).reshape(rows, items).astype(np.float32)
