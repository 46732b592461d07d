"""What more can be asked of a head that was measured on a set: slices, another head, doubtful labels, near-duplicates, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from storage.errors import UsageError
from trainer.comparison import Comparison
from trainer.drift import Drift
from trainer.evaluate import Evaluation
from trainer.evaluate_set import SetEvaluation
from trainer.label_errors import LabelErrors, label_errors
from trainer.near_duplicates import NearDuplicates, near_duplicates_of
from trainer.slices import Slice, require_column, slices


@dataclass(frozen=True)
class Answers:
    """To what was asked; the rest is empty or None. `comparison`: with the name of the other head."""

    slices: Mapping[str, Sequence[Slice]]
    comparison: tuple[str, Comparison] | None
    errors: LabelErrors | None
    near: NearDuplicates | None
    drift: Drift | None

    def to_dict(self, result: SetEvaluation) -> dict[str, Any]:
        keys = result.keys() if self.errors or self.comparison else []
        found: dict[str, Any] = {"slices": {name: [each.to_dict() for each in found] for name, found in self.slices.items()}}
        if self.comparison:
            found["against"] = {"head": self.comparison[0], **self.comparison[1].to_dict(keys)}
        if self.errors:
            found["label_errors"] = self.errors.to_dict(result.evaluation.classes, keys)
        if self.near:
            found["near_duplicates"] = self.near.to_dict(lambda positions: result.keys(np.array(positions, np.int64)))
        return found | {"drift": self.drift.to_dict() if self.drift else None}


def slices_of(result: SetEvaluation, columns: Sequence[str]) -> dict[str, list[Slice]]:
    """By columns of the items. Raises UsageError for one that is not there."""
    found = {}
    for name in columns:
        require_column(name, result.feature_set.items.column_names)
        column = result.feature_set.columns(name)[name].take(pa.array(result.positions))
        found[name] = slices(column, result.evaluation.right, name)
    return found


def compare(first: SetEvaluation, second: SetEvaluation) -> Comparison:
    """Two heads that were measured with the same labels. Raises UsageError where they do not know the classes of the same items."""
    if not np.array_equal(np.sort(first.positions), np.sort(second.positions)):
        raise UsageError(
            f"the two heads were measured on different items ({len(first.positions)} and {len(second.positions)}): they know "
            "other classes. Leave the labels out that one of them does not know"
        )
    order = np.argsort(second.positions)[np.argsort(np.argsort(first.positions))]
    ours, theirs = first.evaluation, second.evaluation
    return Comparison((ours.right, theirs.right[order]), (ours.losses, theirs.losses[order]))


def label_errors_of(result: SetEvaluation) -> LabelErrors:
    """Raises UsageError where they cannot be told."""
    evaluation = result.evaluation
    if result.is_seen:
        raise UsageError("the head has seen these items, so it agrees with their labels, wrong or not: pass --split test or validation")
    if not isinstance(evaluation, Evaluation) or evaluation.outcomes.probabilities is None:
        raise UsageError("label errors are told of items with one class each, and up to 268 million probabilities: choose fewer items")
    return label_errors(evaluation.outcomes.truth, evaluation.outcomes.probabilities)


def near_duplicates_with_train(result: SetEvaluation, threshold: float) -> NearDuplicates:
    """Between the measured items and those that the labels give to train. Raises UsageError without such."""
    if result.split in (None, "train") or not len(result.trained):
        raise UsageError("near-duplicates are those of a split's items in train: pass --split test, and labels that give items to train")
    return near_duplicates_of(result.feature_set, np.sort(result.positions), result.trained, threshold)
