"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

import storage
from storage.feature_set import FeatureSet
from trainer.exact_fits import FitData
from trainer.features import LabelledFeatures, read_labelled
from trainer.fitted import FittedHead
from trainer.fitting import Numbers
from trainer.fold_sums import folds_for
from trainer.heads import HEADS
from trainer.labels import labels_for
from trainer.measured import Measured, calibrated, digest_of_tested, measure
from trainer.options import FitOptions
from trainer.ridge import FeatureSums
from trainer.rows import MemoryRows, Rows, StoredRows
from trainer.solvers import SOLVERS, STREAMED
from trainer.split_checks import require_all_classes, split_warnings
from trainer.splits import TEST, TRAIN, VALIDATION, split_joined
from trainer.task import task_of

STREAMED_BYTES = 2 << 30  # 2 GiB of features: those of larger sets are read from the store in each pass, by the heads that can
MEASURED_TRAIN = 65536  # items that train numbers are measured on where features are streamed: a pass over all would say no more


def fit(uri: str | Path, labels: str | Path | None = None, options: FitOptions | None = None) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    Raises UsageError (labels that fit nothing, one class only, an empty train split, features that are no numbers), NotFoundError,
    DamagedError.
    """
    started = time.perf_counter()
    feature_set = storage.open(uri)
    options = (options or FitOptions()).for_features(feature_set.shape)
    task = task_of(options.multi_label)
    streamed = options.head in STREAMED and feature_set.rows * len(feature_set.views) * feature_set.embedding_bytes > STREAMED_BYTES
    label_set = labels_for(feature_set, labels, options.multi_label, options.labels)
    labelled = read_labelled(feature_set, label_set, task, options.views, in_memory=not streamed)
    joined = labelled.joined
    split = split_joined(feature_set.items, joined, options.split)
    require_all_classes(joined, split)
    known = _known_sums(feature_set, labelled, options) if streamed else None
    data = FitData(_rows(feature_set, labelled, streamed), labelled.y, labelled.classes, task, options, known)
    train, validation, test = (split.positions(name) for name in (TRAIN, VALIDATION, TEST))
    fitting, fit_seconds = SOLVERS[options.head](labelled, data), -time.perf_counter()
    first = fitting.with_validation(train, validation)
    fit_seconds += time.perf_counter()
    model, chosen = first.model, dict(first.chosen)
    measured: dict[str, Measured] = {}
    if len(validation):
        measured[VALIDATION] = measure(model, data, validation)
        first = replace(first, model=None)
        del model  # with the optimiser's memory, before that of the next one is needed
        fit_seconds -= time.perf_counter()
        # Of few shots the validation items are not among what the head may learn from.
        model = fitting.refit(train if options.shots else split.positions(TRAIN, VALIDATION), first)
        fit_seconds += time.perf_counter()
    seen = train if not streamed or len(train) <= MEASURED_TRAIN else train[:: -(-len(train) // MEASURED_TRAIN)]
    measured |= {name: measure(model, data, numbers) for name, numbers in ((TRAIN, seen), (TEST, test)) if len(numbers)}
    measured = {name: measured[name] for name in (TRAIN, VALIDATION, TEST) if name in measured}
    return FittedHead(
        model=model,
        classes=labelled.classes,
        feature_set=feature_set,
        options=options,
        metrics=calibrated({name: each.evaluation for name, each in measured.items()}),
        epochs=int(chosen.pop("epochs", 0)),
        history=first.curves,
        labels=joined.report,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        straddling_duplicates=split.straddling,
        seconds=round(time.perf_counter() - started, 3),
        warnings=[*split_warnings(joined, split, HEADS[options.head].unvalidated), *joined.report.warnings()],
        positions={name: joined.positions[each.numbers] for name, each in measured.items()},
        tested=digest_of_tested([labelled.digests[i] for i in test], labelled.y[test], labelled.classes) if len(test) else None,
        chosen=chosen,
        path=first.path,
        fit_seconds=round(fit_seconds, 3),
    )


def _known_sums(feature_set: FeatureSet, labelled: LabelledFeatures, options: FitOptions) -> Callable[[Numbers], FeatureSums] | None:
    """From what is kept beside the set: worth it for a head that needs nothing else of the features, and of their plain view."""
    if options.head != "ridge" or labelled.views > 1 or options.class_weights is not None:
        return None
    folds = folds_for(feature_set)
    return None if folds is None else lambda numbers: folds.features(labelled.joined.positions[numbers])


def _rows(feature_set: FeatureSet, labelled: LabelledFeatures, streamed: bool) -> Rows:
    positions = labelled.joined.positions
    if streamed:
        return StoredRows(feature_set, positions, len(feature_set.views) if labelled.views > 1 else 1)
    return MemoryRows(labelled.features, labelled.views, feature_set.columns("key")["key"].take(pa.array(positions)))
