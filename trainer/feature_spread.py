"""What is said of features that hardly differ between the items, before anything is fitted on them."""

from __future__ import annotations

import numpy as np

from trainer.arrays import Array
from trainer.standardise import LEAST_VARIANCE, Moments, spread

BLOCK = 4096  # rows compared at a time: where features differ, the first block shows it
SUSPECT = 1e-10  # a range that, beside spreads near 1, may be too small to be squared


def spread_warnings(features: Array) -> list[str]:
    """Of features [N, *shape], all of which are in memory."""
    if len(features) > 1 and not _differ(features):
        return ["no feature differs between the items: a head can only learn how frequent the classes are"]
    if features.ndim != 2 or features.dtype == np.float16 or not len(features):  # float16 ends where its squares still are float32 numbers
        return []
    lost = _lost(features)
    if not lost:
        return []
    what = "1 feature spreads" if lost == 1 else f"{lost} features spread"
    return [
        f"{what} by less than {LEAST_VARIANCE**0.5:g} beside others that do not, and all heads but knn take such for constant: "
        "multiply them by a power of two before they are imported, and they count as others do"
    ]


def _differ(features: Array) -> bool:
    starts = range(0, len(features), BLOCK)
    return any((features[start : start + BLOCK] != features[0]).any() for start in starts)


def _lost(features: Array) -> int:
    """How many features [N, D] differ, but by so little that they are taken for constant."""
    with np.errstate(invalid="ignore", over="ignore"):
        ranges = features.max(axis=0).astype(np.float64) - features.min(axis=0)
    largest = ranges.max(initial=0.0)
    if not np.isfinite(largest) or not largest:
        return 0
    suspects = np.flatnonzero((ranges > 0) & (ranges < SUSPECT * max(1.0, largest)))
    if not len(suspects):
        return 0
    suspects = np.append(suspects, ranges.argmax())  # by which all are scaled
    rows = features[:, suspects].astype(np.float64)
    found = Moments(rows.mean(axis=0), rows.var(axis=0))
    constant_beside_its_mean = found.variance <= 1e-14 * found.mean**2  # as for scikit-learn
    return int(((spread(found) ** 2 > 2 * found.variance) & ~constant_beside_its_mean).sum())
