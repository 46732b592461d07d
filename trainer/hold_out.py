"""Choosing units to hold out: a share of each class, of groups, or by hash. Pure functions of arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainer.label_column import LabelColumn, Rows
from trainer.units import Units, ordered


def hold_out(units: Units, labels: LabelColumn, candidates: Rows, share: float, seed: int, purpose: str) -> Rows:
    """About `share` of the candidates (items, ascending) of each class, whole units at a time, in the order of their draws.

    A class always keeps at least one unit. A share of images counts images, a share of groups items; groups of several classes are
    shared out together, and one that is more than twice the share is never held out.
    """
    strata = strata_of_units(units, labels, candidates)
    there = np.flatnonzero(strata >= 0)
    weights = units.weights(candidates)
    protected = _last_of_each_class(units, labels, candidates, draws := units.draws(seed, purpose))
    totals = np.bincount(strata[there], weights[there], minlength=strata.max(initial=-1) + 1)
    eligible = there[~protected[there] & (weights[there] <= np.maximum(2 * share * totals[strata[there]], 1))]
    order = eligible[ordered(strata[eligible], draws[eligible])]
    middles = _cumulated(weights[order], strata[order]) - weights[order] / 2
    chosen = np.zeros(len(units), bool)
    chosen[order[middles <= share * totals[strata[order]]]] = True
    return candidates[chosen[units.of_item[candidates]]]


def hold_out_by_hash(units: Units, candidates: Rows, share: float, seed: int, from_below: bool) -> Rows:
    """The candidates whose unit stands in the lowest, or the highest, `share` of all places: what other items there are does not matter."""
    places = units.places(seed)
    chosen = places < np.uint64(share * 2**64) if from_below else places > np.uint64((1 - share) * (2**64 - 2**11))
    return candidates[chosen[units.of_item[candidates]]]


def strata(labels: LabelColumn) -> npt.NDArray[np.int64]:
    """The class by which each item is held out [n]: its only one, or the rarest of several, which are the hardest to share out evenly;
    -1 for an item without classes.

    Iterative stratification (Sechidis et al. 2011) is evener, but there an added item moves others.
    """
    rank = np.empty(len(labels.names), np.int64)
    order = np.argsort(labels.counts(), kind="stable")
    rank[order] = np.arange(len(order))
    found = np.full(len(labels), -1, np.int64)
    some = np.flatnonzero(labels.sizes)
    if len(some):
        found[some] = order[np.minimum.reduceat(rank[labels.codes], labels.offsets[some])]
    return found


def strata_of_units(units: Units, labels: LabelColumn, items: Rows) -> Rows:
    """The stratum of each unit [U], from 0, by these items alone: the class of an image's first item, or of a group of one class;
    one number more for groups of several classes, another for items without; -1 for a unit without items."""
    classes = len(labels.names)
    of_item = strata(labels)[items]
    of_item = np.where(of_item < 0, classes, of_item)
    at = units.of_item[items]
    found = np.full(len(units), -1, np.int64)
    found[at[::-1]] = of_item[::-1]  # the last write stays: that of the first item
    if units.grouped:
        found[at[of_item != found[at]]] = classes + 1
    return found


def _last_of_each_class(units: Units, labels: LabelColumn, items: Rows, draws: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Units that are not held out, so that each class keeps one: the one with the greatest draw of those that have it."""
    chosen = labels.take(items)
    at, codes = units.of_item[items][chosen.rows], chosen.codes
    order = ordered(codes, draws[at])
    last = np.flatnonzero(np.diff(codes[order], append=-1))
    protected = np.zeros(len(units), bool)
    protected[at[order[last]]] = True
    return protected


def _cumulated(weights: Rows, strata_in_order: Rows) -> Rows:
    """Running totals that begin anew with each stratum."""
    total = np.cumsum(weights)
    starts = np.flatnonzero(np.diff(strata_in_order, prepend=-1))
    before = np.zeros(len(weights), np.int64)
    before[starts] = np.diff(total[starts] - weights[starts], prepend=0)
    return np.asarray(total - np.cumsum(before))
