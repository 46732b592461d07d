"""Who trains and who validates with which seed of a sweep. The test items are the same for all, and nobody sees them before the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import UsageError
from trainer.label_join import Joined
from trainer.split_options import SplitOptions
from trainer.splits import NAMES, TEST, TRAIN, VALIDATION, Split, split_joined


@dataclass(frozen=True)
class SweepSplit:
    """L items, S seeds: `training` and `validation` [L, S] of 0 and 1. `base` is the split of the first seed.

    resampled: each seed has validation items of its own; False: they are given, and the same for all. few_shots: then the last fit too
    learns from the training items alone.
    """

    base: Split
    training: npt.NDArray[np.float32]
    validation: npt.NDArray[np.float32]
    resampled: bool
    few_shots: bool = False

    @property
    def validation_share(self) -> float | None:
        """Validation / training items, where seeds differ in them."""
        return float(self.validation.sum() / self.training.sum()) if self.resampled else None

    def together(self) -> SweepSplit:
        """For the last fit: one column in which training and validation items train, and none validates."""
        pool = (self.training if self.few_shots else self.training + self.validation)[:, :1]
        return replace(self, training=pool, validation=np.zeros_like(pool))

    def measuring(self, positions: npt.NDArray[np.int64]) -> SweepSplit:
        """For measuring heads on other items, which stand in one column."""
        table = np.zeros((len(self.training), 1), np.float32)
        table[positions] = 1
        return replace(self, validation=table)


def split_for_sweep(items: pa.Table, joined: Joined, options: SplitOptions, seeds: Sequence[int]) -> SweepSplit:
    """The split of `options` for the first seed; the others hold another share of its training and validation items out, by the same
    rule. items: of the set. Raises UsageError if nothing is left to validate on, and as `split_joined`."""
    base = split_joined(items, joined, options)
    if not len(base.positions(VALIDATION)):
        raise UsageError("no item is left to validate on, and a sweep chooses by validation: give a validation split, or a larger share")
    resampled = not (base.given and (joined.given.numbers(NAMES) == NAMES.index(VALIDATION)).any())
    tested = base.positions(TEST)
    others = [split_joined(items, joined, replace(options, seed=seed), tested) if resampled else base for seed in seeds[1:]]
    training, validation = (
        np.stack([split.codes == NAMES.index(name) for split in (base, *others)], axis=1).astype(np.float32) for name in (TRAIN, VALIDATION)
    )
    return SweepSplit(base, training, validation, resampled, options.shots is not None)
