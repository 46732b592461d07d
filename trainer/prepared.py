"""What a fit starts from: a set joined with labels, its features where the head will read them, and who trains, validates and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import storage
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.exact_fits import FitData, KnownSums
from trainer.features import LabelledFeatures, read_labelled
from trainer.fitting import Fitting
from trainer.fold_sums import folds_for
from trainer.labels import labels_for
from trainer.options import FitOptions
from trainer.rows import MemoryRows, Rows, StoredRows
from trainer.solvers import SOLVERS, STREAMED
from trainer.split_checks import require_all_classes
from trainer.splits import Split, split_joined
from trainer.tail_fit import TailFit
from trainer.tails import Tail
from trainer.task import task_of

STREAMED_BYTES = 2 << 30  # 2 GiB of labelled features: heads that can read more from the store in each pass


@dataclass(frozen=True)
class Prepared:
    """L labelled items; `data.options` are those for the features of the set."""

    feature_set: FeatureSet
    labelled: LabelledFeatures
    data: FitData
    split: Split
    tail: Tail | None = None

    @property
    def options(self) -> FitOptions:
        return self.data.options

    @property
    def streamed(self) -> bool:
        return self.labelled.streamed

    def fitting(self) -> Fitting:
        return TailFit(self.labelled, self.data, self.tail) if self.tail else SOLVERS[self.options.head](self.labelled, self.data)


def prepare(uri: str | Path, labels: str | Path | None, options: FitOptions, tail: Tail | None = None) -> Prepared:
    """tail: of a hybrid head.

    Raises UsageError (labels that fit nothing, one class only, a class without an item to train on), NotFoundError, DamagedError."""
    feature_set = storage.open(uri)
    if tail:
        tail.require_features(feature_set.shape, str(feature_set.name))
    elif options.tail_learning_rate or options.train_batch_norm or options.train_last is not None:
        raise UsageError("the tail's learning rate, its BatchNorm and its layers are options of the strategy hybrid, which has a tail")
    options = tail.options(options) if tail else options.for_features(feature_set.shape)
    task = task_of(options.multi_label)
    can_stream = tail is not None or options.head in STREAMED
    label_set = labels_for(feature_set, labels, options.multi_label, options.labels)
    labelled = read_labelled(feature_set, label_set, task, options.views, STREAMED_BYTES if can_stream else None)
    split = split_joined(feature_set.items, labelled.joined, options.split)
    require_all_classes(labelled.joined, split)
    known = _known_sums(feature_set, labelled, options) if labelled.streamed else None
    data = FitData(_rows(feature_set, labelled), labelled.y, labelled.classes, task, options, known)
    return Prepared(feature_set, labelled, data, split, tail)


def _known_sums(feature_set: FeatureSet, labelled: LabelledFeatures, options: FitOptions) -> KnownSums | None:
    """From what is kept beside the set: worth it for a head that needs nothing else of the features, and of their plain view."""
    if options.head != "ridge" or labelled.views > 1 or options.class_weights is not None:
        return None
    folds = folds_for(feature_set)
    positions = labelled.joined.positions
    return None if folds is None else lambda parts: folds.features([positions[numbers] for numbers in parts])


def _rows(feature_set: FeatureSet, labelled: LabelledFeatures) -> Rows:
    positions = labelled.joined.positions
    if labelled.streamed:
        return StoredRows(feature_set, positions, len(feature_set.views) if labelled.views > 1 else 1)
    return MemoryRows(labelled.features, labelled.views, feature_set.columns("key")["key"].take(pa.array(positions)))
