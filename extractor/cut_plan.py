"""What each cut of a network would cost, from rates measured at a few of them. Pure: nothing is built or read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extractor.cuts import Cut


@dataclass(frozen=True)
class CutRate:
    """Measured at one cut, seconds an image: from its file to its features, and a training step of the tail behind it."""

    cut: Cut
    extract: float
    train: float


@dataclass(frozen=True)
class Budget:
    """None: no limit."""

    bytes: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class CutCost:
    """Of a corpus and so many epochs, in bytes and seconds. from_images: the same epochs without a cache, each from the files on."""

    cut: Cut
    measured: bool
    bytes: int
    extract: float
    epoch: float
    total: float
    from_images: float

    def fits(self, budget: Budget) -> bool:
        return (budget.bytes is None or self.bytes <= budget.bytes) and (budget.seconds is None or self.total <= budget.seconds)


def candidates(cuts: Sequence[Cut], dtype: str) -> list[Cut]:
    """Those that something can be trained behind: of cuts that leave the same to train the cheapest one, of equal ones the last.

    BatchNorm is not trained behind a cut unless it is asked for, so it may as well be before it.
    """
    groups: list[list[Cut]] = []
    for cut in cuts:
        if not cut.trained_behind:
            break
        if groups and _trains_alike(groups[-1][-1], cut):
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return [min(reversed(group), key=lambda cut: cut.bytes(dtype)) for group in groups]


def _trains_alike(cut: Cut, following: Cut) -> bool:
    return cut.trained_behind == following.trained_behind and not following.is_random


def to_measure(found: Sequence[Cut], most: int) -> list[Cut]:
    """So many of them, the first and the last among them, as even as can be by the FLOPs behind them."""
    if len(found) <= most:
        return list(found)
    behind = np.array([cut.flops_behind for cut in found])
    wanted = np.linspace(behind[0], behind[-1], most)
    return [found[i] for i in sorted({int(np.abs(behind - value).argmin()) for value in wanted})]


def plan(found: Sequence[Cut], rates: Sequence[CutRate], images: int, epochs: int, dtype: str) -> list[CutCost]:
    """Costs of the candidates `found`, by FLOPs between the measured ones. An epoch is over all images.

    The cache is read while the step before trains, and from memory after the first epoch, so an epoch is its steps.
    """
    by_front = sorted(rates, key=lambda rate: rate.cut.flops)
    front, extracts = [rate.cut.flops for rate in by_front], [rate.extract for rate in by_front]
    back, trains = [rate.cut.flops_behind for rate in by_front][::-1], [rate.train for rate in by_front][::-1]
    measured = {rate.cut for rate in rates}
    costs = []
    for cut in found:
        extract = images * float(np.interp(cut.flops, front, extracts))
        epoch = images * float(np.interp(cut.flops_behind, back, trains))
        size = images * cut.bytes(dtype)
        total = extract + epochs * epoch
        costs.append(CutCost(cut, cut in measured, size, extract, epoch, total, epochs * (extract + epoch)))
    return costs


def best(costs: Sequence[CutCost], budget: Budget) -> CutCost | None:
    """The one that leaves the most to train of those within the budget, of equal ones the quickest; None: none is within it."""
    within = [cost for cost in costs if cost.fits(budget)]
    return max(within, key=lambda cost: (cost.cut.trained_behind, -cost.total), default=None)
