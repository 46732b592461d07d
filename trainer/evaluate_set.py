"""Measuring a kept head on a feature set of its space: another corpus, a later version, other labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import storage
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.head_folder import Head
from trainer.images import Images
from trainer.labels import Joined, Label, LabelOptions, LabelReport, join, labels_for
from trainer.splits import TRAIN, normal_split
from trainer.task import Probabilities, Targets

ShowProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class SetEvaluation:
    """A head's numbers on a set. `unknown`: labels by class that the head does not know.

    An item whose one class is unknown cannot be predicted right and is no part of `evaluation`; `unknown_rows` counts them. With any
    number of classes an item stays, without its unknown ones, and `unknown_rows` is 0. `is_seen`: whether the head may have been fitted on
    these items.
    """

    feature_set: FeatureSet
    split: str | None
    evaluation: Evaluation | MultiLabelEvaluation
    positions: npt.NDArray[np.int64]  # of the measured items in the items table, in the order of their outcomes
    unknown: dict[str, int]
    unknown_rows: int
    labels: LabelReport
    warnings: list[str]
    is_seen: bool
    trained: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # positions of items that the labels give to train

    def keys(self, positions: npt.NDArray[np.int64] | None = None) -> list[str]:
        """Of items at these positions in the items table; None for all that were measured."""
        chosen = self.positions if positions is None else positions
        return list(self.feature_set.columns("key")["key"].take(pa.array(chosen)).to_pylist())

    def to_dict(self) -> dict[str, Any]:
        return {
            "set": str(self.feature_set.name),
            "version": self.feature_set.version,
            "split": self.split,
            "metrics": self.evaluation.to_dict(),
            "unknown_classes": self.unknown,
            "unknown_rows": self.unknown_rows,
            "labels": self.labels.to_dict(),
            "warnings": self.warnings,
        }


def evaluate_head(
    head: Head,
    uri: str | Path,
    labels: str | Path | None = None,
    split: str | None = None,
    show: ShowProgress = lambda done, total: None,
    label_options: LabelOptions | None = None,
    images: Images | None = None,
) -> SetEvaluation:
    """Measure a head on the labelled items of the set `uri` (of one given split only, if named), in memory for a batch.

    images: those of the set, for a fine-tuned head, which reads these and not the features; the set may be of any space then.

    Raises SpaceMismatchError for a set of another space, and UsageError if no item is left or no label is a class of the head.
    """
    feature_set, split = storage.open(uri), normal_split(split) if split else None
    if not images:
        head.require_space_of(feature_set)
    joined = join(feature_set.items, labels_for(feature_set, labels, head.task.multi_label, label_options))
    chosen = _of_split(joined, split) if split else dict(zip(joined.positions.tolist(), joined.labels, strict=True))
    unknown = Counter(name for label in chosen.values() for name in label if name not in head.classes)
    known = {position: label for position, label in chosen.items() if head.task.multi_label or label[0] in head.classes}
    if not known or (unknown and sum(unknown.values()) == sum(map(len, chosen.values()))):
        raise UsageError(
            f"none of the labels in {joined.report.source} is a class of the head {head.folder}: the labels are like "
            f"{_some(unknown)}, the head knows {_some(head.classes)}"
        )
    order: list[npt.NDArray[np.int64]] = []
    evaluation = head.task.evaluate(
        _predictions(head, read(feature_set, sorted(known), images), known, order, show), head.classes, head.temperature
    )
    return SetEvaluation(
        feature_set=feature_set,
        split=split,
        evaluation=evaluation,
        positions=np.concatenate(order),
        unknown=dict(sorted(unknown.items())),
        unknown_rows=len(chosen) - len(known),
        labels=joined.report,
        warnings=_warnings(head, feature_set, joined.report, split, unknown),
        is_seen=is_own(head, feature_set) and split in (None, TRAIN),
        trained=np.array([i for i, name in zip(joined.positions, joined.splits, strict=True) if name and normal_split(name) == TRAIN], int),
    )


def _of_split(joined: Joined, split: str) -> dict[int, Label]:
    splits = [normal_split(name) if name else "none" for name in joined.splits]
    rows = zip(joined.positions, joined.labels, splits, strict=True)
    if not (chosen := {position: label for position, label, name in rows if name == split}):
        there = ", ".join(f"{n} {name}" for name, n in sorted(Counter(splits).items()))
        raise UsageError(
            f"{joined.report.source} gives no item the split {split!r} (splits: {there}); a split that `train` chose itself is not kept"
        )
    return chosen


def read(
    feature_set: FeatureSet, positions: Sequence[int], images: Images | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.generic]]]:
    """(positions [n], what a head reads of these items [n, *shape]): the features, in storage order, or the images."""
    if images:
        yield from images.batches(np.asarray(positions, np.int64))
        return
    for batch in feature_set.batches(positions=positions):
        yield batch.positions, batch.embeddings


def _predictions(
    head: Head,
    batches: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.generic]]],
    labels: dict[int, Label],
    order: list[npt.NDArray[np.int64]],
    show: ShowProgress,
) -> Iterator[tuple[Targets, Probabilities]]:
    """Batches in the order in which they are read; the positions of their items are appended to `order`."""
    classes, done = set(head.classes), 0
    show(0, len(labels))
    for positions, features in batches:
        known = [tuple(name for name in labels[int(i)] if name in classes) for i in positions]
        if not known:
            continue
        order.append(positions)
        yield head.task.encode(known, head.classes), head.predict(features)
        done += len(known)
        show(done, len(labels))


def _warnings(head: Head, feature_set: FeatureSet, report: LabelReport, split: str | None, unknown: Counter[str]) -> list[str]:
    found = report.warnings()
    if unknown:
        left = "left out of these items' labels" if head.task.multi_label else "their items are left out of the numbers"
        found.append(f"the head does not know {sum(unknown.values())} labels of {len(unknown)} classes ({_some(unknown)}): {left}")
    if not split and is_own(head, feature_set):
        found.append("the head was fitted on items of this very set: the numbers are too good unless --split names what it has not seen")
    return found


def is_own(head: Head, feature_set: FeatureSet) -> bool:
    """Whether the head was fitted on a version of this set."""
    return head.fitted_on.partition("@")[0] == str(feature_set.name).partition("@")[0]


def _some(names: Counter[str] | tuple[str, ...]) -> str:
    shown = list(names)[:5]
    return ", ".join(map(repr, shown)) + (" ..." if len(names) > len(shown) else "")
