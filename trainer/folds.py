"""k folds of items, each of which is held out once. No image and no group straddles two."""

from __future__ import annotations

import heapq

import numpy as np

from storage.errors import UsageError
from trainer.hold_out import strata_of_units
from trainer.label_column import LabelColumn, Rows
from trainer.units import Units

PURPOSE = "folds"


def k_folds(units: Units, labels: LabelColumn, k: int, seed: int) -> Rows:
    """The fold of each of L items [L], from 0 to k - 1: images by class, groups by size.

    Within a class (groups of several classes are one more), units go to the fold that has least of the class so far, then least of all;
    the largest first, those of one size by their draws. Raises UsageError unless 2 <= k <= units.
    """
    _check(k, len(units))
    everything = np.arange(len(labels))
    strata, weights = strata_of_units(units, labels, everything), units.weights(everything)
    order = np.lexsort((units.draws(seed, PURPOSE), -weights, strata))
    fold_of_unit = np.empty(len(units), np.int64)
    totals = [0] * k
    for members in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1):
        loads = [(0, totals[fold], fold) for fold in range(k)]
        heapq.heapify(loads)
        sizes = weights[members].tolist()
        folds = []
        for size in sizes:
            own, total, fold = loads[0]
            heapq.heapreplace(loads, (own + size, total + size, fold))
            folds.append(fold)
        for _, total, fold in loads:
            totals[fold] = total
        fold_of_unit[members] = folds
    return fold_of_unit[units.of_item]


def k_folds_by_hash(units: Units, k: int, seed: int) -> Rows:
    """The same by draws alone: what other items there are does not matter, and folds are even in the long run only."""
    _check(k, k)
    return (units.draws(seed, PURPOSE) // np.uint64(2**64 // k + 1)).astype(np.int64)[units.of_item]


def require_folds(k: int) -> None:
    """Raise UsageError unless it is a number of folds."""
    if type(k) is not int or k < 2:
        raise UsageError(f"folds must be a whole number from 2, got {k!r}")


def _check(k: int, units: int) -> None:
    require_folds(k)
    if k > units:
        raise UsageError(f"{units} images (or groups) cannot be divided into {k} folds: take fewer")
