"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

import storage
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.exact_fits import FitData
from trainer.features import LabelledFeatures, read_labelled
from trainer.fitted import FittedHead
from trainer.fitting import Numbers
from trainer.heads import HEADS
from trainer.input_pipeline import rows_per_batch
from trainer.labels import labels_for
from trainer.options import FitOptions
from trainer.rows import MemoryRows, Rows, StoredRows, require_finite
from trainer.solvers import SOLVERS, STREAMED
from trainer.splits import TEST, TRAIN, VALIDATION, Split, split_items, strata
from trainer.task import Probabilities, Targets, task_of

MAX_ROWS = 1024  # a batch of predictions
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
    labelled = read_labelled(feature_set, labels_for(feature_set, labels, options.multi_label), task, options.views, not streamed)
    joined = labelled.joined
    split = split_items(labelled.digests, strata(joined.labels), joined.splits, options.test, options.validation, options.seed)
    require_all_classes(labelled, split)
    data = FitData(_rows(feature_set, labelled, streamed), labelled.y, labelled.classes, task, options)
    train, validation, test = (np.asarray(split.positions(name), np.int64) for name in (TRAIN, VALIDATION, TEST))
    fitting, fit_seconds = SOLVERS[options.head](labelled, data), -time.perf_counter()
    first = fitting.with_validation(train, validation)
    fit_seconds += time.perf_counter()
    model, chosen = first.model, dict(first.chosen)
    metrics = {}
    if len(validation):
        metrics[VALIDATION] = _measure(model, data, validation)
        first = replace(first, model=None)
        del model  # with the optimiser's memory, before that of the next one is needed
        fit_seconds -= time.perf_counter()
        model = fitting.refit(np.sort(np.concatenate([train, validation])), first)
        fit_seconds += time.perf_counter()
    seen = train if not streamed or len(train) <= MEASURED_TRAIN else train[:: -(-len(train) // MEASURED_TRAIN)]
    metrics |= {name: _measure(model, data, numbers) for name, numbers in ((TRAIN, seen), (TEST, test)) if len(numbers)}
    return FittedHead(
        model=model,
        classes=labelled.classes,
        feature_set=feature_set,
        options=options,
        metrics={name: metrics[name] for name in (TRAIN, VALIDATION, TEST) if name in metrics},
        epochs=int(chosen.pop("epochs", 0)),
        history=first.curves,
        labels=joined.report,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        straddling_duplicates=split.straddling,
        seconds=round(time.perf_counter() - started, 3),
        warnings=warnings_of(labelled, split, options),
        chosen=chosen,
        path=first.path,
        fit_seconds=round(fit_seconds, 3),
    )


def _rows(feature_set: FeatureSet, labelled: LabelledFeatures, streamed: bool) -> Rows:
    positions = np.asarray(labelled.joined.positions, np.int64)
    if streamed:
        return StoredRows(feature_set, positions, len(feature_set.views) if labelled.views > 1 else 1)
    return MemoryRows(labelled.features, labelled.views, feature_set.columns("key")["key"].take(pa.array(positions)))


def _measure(model: keras.Model, data: FitData, numbers: Numbers) -> Evaluation | MultiLabelEvaluation:
    return data.task.evaluate(_predictions(model, data, numbers), data.classes)


def _predictions(model: keras.Model, data: FitData, numbers: Numbers) -> Iterator[tuple[Targets, Probabilities]]:
    size = rows_per_batch(data.rows.shape, MAX_ROWS)
    for part, block in data.rows.blocks(numbers):
        for start in range(0, len(part), size):
            x = tf.cast(tf.constant(block[start : start + size, 0]), tf.float32)
            probabilities = np.asarray(model.predict_on_batch(x), np.float32)
            if not np.isfinite(probabilities).all():
                require_finite(data.rows, numbers)
                raise UsageError("training diverged: the head gives no numbers. Try a smaller learning rate, or class weights nearer to 1")
            yield data.y[part[start : start + size]], probabilities


def require_all_classes(data: LabelledFeatures, split: Split) -> None:
    trained = {name for i in split.positions(TRAIN) for name in data.joined.labels[i]}
    absent = [name for name in data.classes if name not in trained]
    if absent:
        raise UsageError(
            f"the train split has no item of {', '.join(map(repr, absent))}: a head cannot learn a class it never sees. "
            "Move items of it to train, or leave its labels out"
        )


def warnings_of(data: LabelledFeatures, split: Split, options: FitOptions) -> list[str]:
    found = []
    if not split.positions(TEST):
        found.append("no item was left to test on: the numbers above say nothing about new images")
    if not split.positions(VALIDATION):
        found.append("no item was left to validate on: " + HEADS[options.head].unvalidated)
    found += data.joined.report.warnings()
    if split.straddling:
        found.append(f"{split.straddling} images stand in more than one of the given splits: test numbers are too good")
    if split.given and (missing := sum(name is None for name in data.joined.splits)):
        found.append(f"{missing} labelled items have no split and were trained on")
    return found
