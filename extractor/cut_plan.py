"""What each cut of a network would cost, from rates measured at a few of them. Pure: nothing is built or read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extractor.cuts import Cut


@dataclass(frozen=True)
class CutRate:
    """Measured at one cut, seconds an image: from its file to its features, a training step of the tail behind it, and the tail alone."""

    cut: Cut
    extract: float
    train: float
    forward: float


@dataclass(frozen=True)
class HybridWork:
    """What `train --strategy hybrid` does with so many images at most, if `--patience` leaves out no epoch: two fits of so many epochs,
    one of `train` images that is validated, one of these and the `validation` ones together. Counted in images.
    """

    images: int
    train: int
    validation: int
    epochs: int

    @classmethod
    def of(cls, images: int, test: float, validation: float, epochs: int) -> HybridWork:
        """test: share of all that is held out; validation: that of the rest."""
        tested = round(images * test)
        validated = round((images - tested) * validation)
        return cls(images, images - tested - validated, validated, epochs)

    @property
    def trained(self) -> int:
        """That go through training steps of tail and head; as many vectors go through those of the head alone before."""
        again = self.train + self.validation if self.validation else 0
        return self.epochs * (self.train + again)

    @property
    def forward(self) -> int:
        """That go through the tail alone: all for the head that is fitted first, and all to be measured; the validation ones before the
        first epoch and after each one."""
        return 2 * self.images + (self.epochs + 1) * self.validation


@dataclass(frozen=True)
class Budget:
    """None: no limit."""

    bytes: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class CutCost:
    """In bytes and seconds. epoch: of the first fit, with its validation; train: all of the work; total: with extraction. from_images: the
    same without a cache, each image from its file on whenever the tail sees it.
    """

    cut: Cut
    measured: bool
    bytes: int
    extract: float
    epoch: float
    train: float
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


def plan(found: Sequence[Cut], rates: Sequence[CutRate], head: float, work: HybridWork, dtype: str) -> list[CutCost]:
    """Costs of the candidates `found`, by FLOPs between the measured ones. head: seconds of a vector in a training step of the head alone.

    The cache is read while the step before trains, and from memory after the first epoch, so an epoch is its steps.
    """
    by_front = sorted(rates, key=lambda rate: rate.cut.flops)
    by_back = by_front[::-1]
    front, back = [rate.cut.flops for rate in by_front], [rate.cut.flops_behind for rate in by_back]
    measured = {rate.cut for rate in rates}
    costs = []
    for cut in found:
        extract = float(np.interp(cut.flops, front, [rate.extract for rate in by_front]))
        step = float(np.interp(cut.flops_behind, back, [rate.train for rate in by_back]))
        forward = float(np.interp(cut.flops_behind, back, [rate.forward for rate in by_back]))
        epoch = work.train * step + work.validation * forward
        train = work.trained * (step + head) + work.forward * forward
        again = (work.trained + work.forward) * extract
        once = work.images * extract
        costs.append(CutCost(cut, cut in measured, work.images * cut.bytes(dtype), once, epoch, train, once + train, again + train))
    return costs


def best(costs: Sequence[CutCost], budget: Budget) -> CutCost | None:
    """The one that leaves the most to train of those within the budget, of equal ones the quickest; None: none is within it."""
    within = [cost for cost in costs if cost.fits(budget)]
    return max(within, key=lambda cost: (cost.cut.trained_behind, -cost.total), default=None)
