"""Measuring a kept head on a feature set of its space: another corpus, a later version, other labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import storage
from storage.asked import checked
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.arrays import Numbers
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.given_splits import TEST, VALIDATION
from trainer.head_folder import Head
from trainer.images import Images
from trainer.label_column import LabelColumn
from trainer.labels import Joined, LabelOptions, LabelReport, join, labels_for
from trainer.seen_items import seen_items
from trainer.splits import TRAIN, normal_split
from trainer.task import Probabilities, Targets

ShowProgress = Callable[[int, int], None]
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class SetEvaluation:
    """A head's numbers on a set. `unknown`: labels by class that the head does not know.

    An item whose one class is unknown cannot be predicted right and is no part of `evaluation`; `unknown_rows` counts them. With any
    number of classes an item stays, without its unknown ones, and `unknown_rows` is 0. `is_seen`: whether the head was fitted on these
    items, or some of them; `may_be_seen`: that it may have been, which nothing tells.
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
    may_be_seen: bool = False

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


@checked(head="the head (trainer.load_head gives one of a folder)", labels="the label file")
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

    label_options: where they choose and merge no classes, that is done as for the head, with those of its names that occur.
    images: those of the set, for a fine-tuned head, which reads these and not the features; the set may be of any space then.

    Raises SpaceMismatchError for a set of another space, and UsageError if no item is left or no label is a class of the head.
    """
    feature_set, split = storage.open(uri), None if split is None else normal_split(split)
    if not images:
        head.require_space_of(feature_set)
    options = (label_options or LabelOptions()).or_names_of(head.label_options)
    joined = join(feature_set.items, labels_for(feature_set, labels, head.task.multi_label, options))
    splits = joined.given.numbers(SPLITS)
    chosen = _of_split(joined, splits, split) if split else np.arange(len(joined.positions))
    column = joined.column.take(chosen)
    unknown = {name: n for name, n in column.counted().items() if name not in set(head.classes)}
    known = np.arange(len(chosen)) if head.task.multi_label else np.flatnonzero(column.only(head.classes).sizes)
    column, rows = column.take(known), chosen[known]
    if not len(rows) or (unknown and column.only(head.classes).sizes.sum() == 0):
        raise UsageError(
            f"none of the labels in {joined.report.source} is a class of the head {head.folder}: the labels are like "
            f"{_some(unknown)}, the head knows {_some(head.classes)}"
        )
    order: list[Numbers] = []
    labelled = (joined.positions[rows], column)
    batches = read(feature_set, labelled[0], images)
    evaluation = head.task.evaluate(_predictions(head, batches, labelled, order, show), head.classes, head.temperature)
    seen = seen_items(head, feature_set, joined, splits, rows, split)
    noted = [*_names_used(options), *_warnings(head, joined.report, unknown), *filter(None, [seen.note])]
    return SetEvaluation(
        feature_set=feature_set,
        split=split,
        evaluation=evaluation,
        positions=np.concatenate(order),
        unknown=unknown,
        unknown_rows=len(chosen) - len(rows),
        labels=joined.report,
        warnings=noted,
        is_seen=seen.sure,
        may_be_seen=bool(seen.note) and not seen.sure,
        trained=joined.positions[splits == SPLITS.index(TRAIN)],
    )


def _of_split(joined: Joined, splits: Numbers, split: str) -> Numbers:
    """Numbers of the labelled items of this split."""
    chosen = np.flatnonzero(splits == SPLITS.index(split))
    if not len(chosen):
        counts = np.bincount(splits + 1, minlength=1 + len(SPLITS)).tolist()
        there = ", ".join(f"{n} {name}" for name, n in sorted(zip(("none", *SPLITS), counts, strict=True)) if n)
        raise UsageError(
            f"no item gets the split {split!r} from {joined.report.source} (splits: {there}); a split that `train` chose itself is not "
            "kept: give the splits in a column `split` of --labels FILE, to `train` and here, or leave out --split"
        )
    return chosen


def read(feature_set: FeatureSet, positions: Numbers, images: Images | None = None) -> Iterator[tuple[Numbers, npt.NDArray[np.generic]]]:
    """(positions [n], what a head reads of these items [n, *shape]): the features, in storage order, or the images."""
    if images:
        yield from images.batches(positions)
        return
    for batch in feature_set.batches(positions=positions):
        yield batch.positions, batch.embeddings


def _predictions(
    head: Head,
    batches: Iterable[tuple[Numbers, npt.NDArray[np.generic]]],
    labelled: tuple[Numbers, LabelColumn],
    order: list[Numbers],
    show: ShowProgress,
) -> Iterator[tuple[Targets, Probabilities]]:
    """Predictions of the items at these positions (ascending), which have these labels; `order` is told the positions as they come."""
    positions, column = labelled
    done = 0
    show(0, len(positions))
    for found, features in batches:
        if not len(found):
            continue
        labels = column.take(np.searchsorted(positions, found))
        order.append(found)
        yield labels.targets(head.task.multi_label, head.classes), head.predict(features)
        done += len(labels)
        show(done, len(positions))


def _names_used(options: LabelOptions) -> list[str]:
    """Where classes and merges are those of the head: which."""
    told = [f"--merge {new}={','.join(old)}" for new, old in options.merge.items()]
    told += [f"--classes {','.join(options.classes)}"] if options.classes else []
    return [f"labels are merged and chosen as for the head ({' '.join(told)})"] if told and options.lenient else []


def _warnings(head: Head, report: LabelReport, unknown: Mapping[str, int]) -> list[str]:
    found = report.warnings()
    if unknown:
        left = "left out of these items' labels" if head.task.multi_label else "their items are left out of the numbers"
        found.append(f"the head does not know {sum(unknown.values())} labels of {len(unknown)} classes ({_some(unknown)}): {left}")
    return found


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(map(repr, shown[:5])) + (" ..." if len(shown) > 5 else "")
