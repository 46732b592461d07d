"""Cross-validation: each item that is no test item, predicted by a head that was fitted without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.digests import to_words
from storage.errors import UsageError
from trainer.arrays import Numbers
from trainer.folds import k_folds, k_folds_by_hash
from trainer.measured import AnyEvaluation, predictions
from trainer.outcomes import Probabilities
from trainer.prepared import Prepared
from trainer.split_checks import require_all_classes
from trainer.split_options import HASH
from trainer.splits import NAMES, TEST, TRAIN, UNUSED, VALIDATION, Split, groups_of, split_joined
from trainer.sweep_interval import SeedInterval, over_seeds
from trainer.task import Targets
from trainer.units import units_of_groups, units_of_images

OnFold = Callable[[int, int], None]  # told how many folds are done, of how many


@dataclass(frozen=True)
class CrossValidation:
    """`evaluation`: of all items together, each by the head of its fold. `by_fold`: accuracy (or mAP) of each fold. `positions`: of the
    items in the set's table, in the order of the outcomes. `interval`: 95% t interval over the folds, with Nadeau and Bengio's variance."""

    folds: int
    evaluation: AnyEvaluation
    by_fold: tuple[float, ...]
    positions: Numbers

    @property
    def interval(self) -> SeedInterval:
        return over_seeds(self.by_fold, 1 / (self.folds - 1))

    def to_dict(self) -> dict[str, Any]:
        mean, half = self.interval.mean, self.interval.half_width
        return {
            "folds": self.folds,
            "by_fold": list(self.by_fold),
            "mean": mean,
            "half_width": half,
            "metrics": self.evaluation.to_dict(),
        }


def cross_validate(prepared: Prepared, folds: int, on_fold: OnFold = lambda done, total: None) -> CrossValidation:
    """Fit a head for each of so many folds of the train and validation items: on the other folds, a share of which says when to stop, as
    for a head that is kept. No image and no group straddles two folds. The test items are left alone.

    Raises UsageError: too few images, or a class that is in one fold alone.
    """
    if prepared.options.shots:
        raise UsageError("few shots and folds do not go together: folds train on all items but their own")
    joined, order, parts, scores = prepared.labelled.joined, list[Numbers](), list[tuple[Targets, Probabilities]](), []
    for done, split in enumerate(splits_of(prepared, folds)):
        require_all_classes(joined, split)
        on_fold(done, folds)
        fitting = prepared.fitting()
        first = fitting.with_validation(split.positions(TRAIN), split.positions(VALIDATION))
        model = fitting.refit(split.positions(TRAIN, VALIDATION), first) if len(split.positions(VALIDATION)) else first.model
        told = list(predictions(model, prepared.data, split.positions(TEST), order))
        scores.append(prepared.data.task.evaluate(told, joined.classes).leading)
        parts += told
    on_fold(folds, folds)
    evaluation = prepared.data.task.evaluate(parts, joined.classes)
    return CrossValidation(folds, evaluation, tuple(scores), joined.positions[np.concatenate(order)])


def splits_of(prepared: Prepared, folds: int) -> Iterator[Split]:
    """For each fold the split in which it is tested; what the kept head is tested on is unused in all of them."""
    items, joined, options = prepared.feature_set.items, prepared.labelled.joined, prepared.options.split
    tested = prepared.split.positions(TEST)
    pool = np.setdiff1d(np.arange(len(joined.positions)), tested)
    images = to_words(items["digest"])[joined.positions[pool]]
    units = units_of_groups(images, groups_of(items, joined, options.group_by).take(pool)) if options.group_by else units_of_images(images)
    labels = joined.column.take(pool)
    fold = k_folds_by_hash(units, folds, options.seed) if options.how == HASH else k_folds(units, labels, folds, options.seed)
    for number in range(folds):
        split = split_joined(items, joined, options, np.concatenate([tested, pool[fold == number]]))
        codes = split.codes.copy()
        codes[tested] = NAMES.index(UNUSED)
        yield Split(codes, split.given)
