"""What more can be asked of a head that was measured on a set: slices, another head, doubtful labels, near-duplicates, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import UsageError
from trainer.comparison import NO, PERHAPS, YES, Comparison
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
        found: dict[str, Any] = {"slices": {name: [each.to_dict() for each in found] for name, found in self.slices.items()}}
        if self.comparison:
            name, comparison = self.comparison
            found["against"] = {"head": name, **comparison.to_dict(result.keys(comparison.positions))}
        if self.errors:
            found["label_errors"] = self.errors.to_dict(result.evaluation.classes, result.keys())
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
    """Two heads that were measured with the same labels: on one set, or on two sets (of two spaces, say) by the images of equal key and
    content that both hold.

    Raises UsageError where they do not know the classes of the same items of one set, share no item, or have other labels for one.
    """
    ours, theirs = first.evaluation, second.evaluation
    if isinstance(ours, Evaluation) != isinstance(theirs, Evaluation):
        raise UsageError("one head gives an item one class, the other any number of them: they do not answer the same question")
    numbers, others = _common(first, second)
    if isinstance(ours, Evaluation) and isinstance(theirs, Evaluation):
        names, other_names = np.array(ours.classes, object), np.array(theirs.classes, object)
        if not np.array_equal(names[ours.outcomes.truth[numbers]], other_names[theirs.outcomes.truth[others]]):
            raise UsageError("the two heads were measured with different labels for the same items: pass the same --labels FILE for both")
    return Comparison(
        right=(ours.right[numbers], theirs.right[others]),
        losses=(ours.losses[numbers], theirs.losses[others]),
        positions=first.positions[numbers],
        seen=(_seen(first), _seen(second)),
    )


def _seen(result: SetEvaluation) -> str:
    return YES if result.is_seen else PERHAPS if result.may_be_seen else NO


def _common(first: SetEvaluation, second: SetEvaluation) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers [n] of the items that both were measured on, among those of either."""
    if (first.feature_set.name.folder, first.feature_set.version) != (second.feature_set.name.folder, second.feature_set.version):
        found = pc.index_in(_identities(first), value_set=_identities(second))
        numbers = np.flatnonzero(np.asarray(found.is_valid()))
        if not len(numbers):
            raise UsageError(f"{first.feature_set.name} and {second.feature_set.name} share no image of equal key and content")
        return numbers, np.asarray(found.drop_null(), np.int64)
    _, numbers, others = np.intersect1d(first.positions, second.positions, assume_unique=True, return_indices=True)
    if not len(numbers) == len(first.positions) == len(second.positions):
        raise UsageError(
            f"the two heads were measured on different items ({len(first.positions)} and {len(second.positions)}): they know "
            "other classes. Leave the labels out that one of them does not know"
        )
    return numbers, others


def _identities(result: SetEvaluation) -> pa.Array:
    """Digest and key of each measured item, as one value [N]."""
    table = result.feature_set.columns("digest", "key").take(pa.array(result.positions))
    parts = [column.combine_chunks().cast(pa.binary()) for column in table.columns]
    return pc.binary_join_element_wise(*parts, b"/")


def label_errors_of(result: SetEvaluation) -> LabelErrors:
    """Raises UsageError where they cannot be told."""
    evaluation = result.evaluation
    if result.is_seen:
        raise UsageError(
            "the head has seen these items, so it agrees with their labels, wrong or not: pass --split test (validation, of a head of few "
            "shots), or train with --folds and --report, which looks among all items but the test"
        )
    if not isinstance(evaluation, Evaluation):
        raise UsageError("label errors are told of items with one class each, and this head gives an item any number of them")
    if evaluation.outcomes.probabilities is None:
        raise UsageError(
            f"label errors need the probabilities of all {evaluation.rows} items and {len(evaluation.classes)} classes, which are kept up "
            "to 256 MiB (67 million): choose fewer items, with --split or a shorter label file"
        )
    return label_errors(evaluation.outcomes.truth, evaluation.outcomes.probabilities)


def near_duplicates_with_train(result: SetEvaluation, threshold: float) -> NearDuplicates:
    """Between the measured items and those that the labels give to train. Raises UsageError without such."""
    if result.split in (None, "train") or not len(result.trained):
        raise UsageError("near-duplicates are those of a split's items in train: pass --split test, and labels that give items to train")
    return near_duplicates_of(result.feature_set, np.sort(result.positions), result.trained, threshold)
