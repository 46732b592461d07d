"""Who trains and who validates with which seed of a sweep. The test items are the same for all, and nobody sees them before the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError
from trainer.features import LabelledFeatures
from trainer.options import FitOptions
from trainer.splits import TEST, TRAIN, VALIDATION, Split, normal_split, split_items, strata


@dataclass(frozen=True)
class SweepSplit:
    """L items, S seeds: `training` and `validation` [L, S] of 0 and 1. `base` is the split of the first seed.

    resampled: each seed has validation items of its own; False: they are given, and the same for all.
    """

    base: Split
    training: npt.NDArray[np.float32]
    validation: npt.NDArray[np.float32]
    resampled: bool

    @property
    def validation_share(self) -> float | None:
        """Validation / training items, where seeds differ in them."""
        return float(self.validation.sum() / self.training.sum()) if self.resampled else None

    def together(self) -> SweepSplit:
        """For the last fit: one column in which training and validation items train, and none validates."""
        pool = (self.training + self.validation)[:, :1]
        return replace(self, training=pool, validation=np.zeros_like(pool))


def split_for_sweep(data: LabelledFeatures, options: FitOptions, seeds: Sequence[int]) -> SweepSplit:
    """The split of `options` for the first seed; the others hold another share of its training and validation items out, by the same
    rule. Raises UsageError if nothing is left to validate on."""
    labels = strata(data.joined.labels)

    def split(given: Sequence[str | None], seed: int) -> Split:
        return split_items(data.digests, labels, given, options.test, options.validation, seed)

    base = split(data.joined.splits, options.seed)
    resampled = VALIDATION not in {normal_split(name) for name in data.joined.splits if name}
    if not base.positions(VALIDATION):
        raise UsageError("no item is left to validate on, and a sweep chooses by validation: give a validation split, or a larger share")
    tested = [TEST if name == TEST else None for name in base.names]
    columns = [base.names, *(split(tested, seed).names if resampled else base.names for seed in seeds[1:])]
    table = np.array(columns).T
    return SweepSplit(base, (table == TRAIN).astype(np.float32), (table == VALIDATION).astype(np.float32), resampled)
