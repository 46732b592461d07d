"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import storage
from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.evaluate import Evaluation, evaluate
from trainer.features import LabelledFeatures, read_labelled
from trainer.heads import HEADS, HeadInput, with_probabilities
from trainer.input_pipeline import BATCH_SIZE, load
from trainer.labels import LabelSet, labels_of_items, read_labels
from trainer.splits import TEST, TRAIN, VALIDATION, Split, split_items


@dataclass(frozen=True)
class FitOptions:
    """`c` is the inverse L2 strength as in scikit-learn's LogisticRegression; 0.01 suits pooled ImageNet features."""

    head: str = "linear"
    c: float = 0.01
    learning_rate: float = 1e-3
    batch_size: int = BATCH_SIZE
    max_epochs: int = 200
    patience: int = 10  # epochs without a better validation loss before stopping
    test: float = 0.2  # share held out where no splits are given
    validation: float = 0.15  # share of the rest held out where no validation split is given
    seed: int = 0

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise UsageError(f"unknown head {self.head!r}: expected one of {', '.join(HEADS)}")
        for name, low, high in (("c", 1e-9, 1e9), ("learning_rate", 1e-9, 10), ("test", 0, 0.9), ("validation", 0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} must be from {low:g} to {high:g}, got {getattr(self, name)}")
        for name in ("batch_size", "max_epochs", "patience"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed must be from 0 to {2**31 - 1}, got {self.seed}")


@dataclass(frozen=True)
class FittedHead:
    """A fitted head with everything needed to trust it. `model` maps features [N, *shape] to probabilities [N, C]."""

    model: keras.Model
    classes: tuple[str, ...]
    feature_set: FeatureSet
    options: FitOptions
    metrics: dict[str, Evaluation]  # by split; validation as measured before the refit, the others on the kept head
    epochs: int
    history: dict[str, list[float]]
    label_source: str
    label_digest: str | None
    rows: dict[str, int]  # items by split
    unlabelled_items: int
    unmatched_labels: int
    straddling_duplicates: int
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


def fit(uri: str, labels: str | Path | None = None, options: FitOptions | None = None) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    Raises UsageError (labels that fit nothing, one class only, an empty train split), NotFoundError, DamagedError.
    """
    started = time.perf_counter()
    options = options or FitOptions()
    feature_set = storage.open(uri)
    label_set = read_labels(labels) if labels else labels_of_items(feature_set.items, str(feature_set.name))
    data = read_labelled(feature_set, label_set)
    split = split_items(data.digests, data.joined.labels, data.joined.splits, options.test, options.validation, options.seed)
    _require_all_classes(data, split)
    train, validation = split.positions(TRAIN), split.positions(VALIDATION)
    model, epochs, history = _fit_with_validation(data, train, validation, options)
    metrics = {VALIDATION: _measure(model, data, validation)} if validation else {}
    if validation:
        model = _fit_for(data, train + validation, epochs, options)
    kept = with_probabilities(model)
    metrics[TRAIN] = _measure(model, data, train)
    if test := split.positions(TEST):
        metrics[TEST] = _measure(model, data, test)
    return _fitted(kept, feature_set, options, data, split, label_set, metrics, epochs, history, time.perf_counter() - started)


def _fitted(
    model: keras.Model,
    feature_set: FeatureSet,
    options: FitOptions,
    data: LabelledFeatures,
    split: Split,
    label_set: LabelSet,
    metrics: dict[str, Evaluation],
    epochs: int,
    history: dict[str, list[float]],
    seconds: float,
) -> FittedHead:
    return FittedHead(
        model=model,
        classes=data.classes,
        feature_set=feature_set,
        options=options,
        metrics={name: metrics[name] for name in (TRAIN, VALIDATION, TEST) if name in metrics},
        epochs=epochs,
        history=history,
        label_source=label_set.source,
        label_digest=label_set.digest,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        unlabelled_items=data.joined.unlabelled_items,
        unmatched_labels=data.joined.unmatched_labels,
        straddling_duplicates=split.straddling,
        seconds=round(seconds, 3),
        warnings=_warnings(data, split),
    )


def _fit_with_validation(
    data: LabelledFeatures, train: list[int], validation: list[int], options: FitOptions
) -> tuple[keras.Model, int, dict[str, list[float]]]:
    """Fit until validation loss stops falling; returns the best model, its number of epochs, and the learning curves."""
    model = _compiled(data, train, options)
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=options.patience, restore_best_weights=True)
    history = model.fit(
        load(data.features, data.y, train, options.batch_size, options.seed, epochs=None),
        steps_per_epoch=-(-len(train) // options.batch_size),
        epochs=options.max_epochs,
        validation_data=load(data.features, data.y, validation, options.batch_size) if validation else None,
        callbacks=[stopping] if validation else [],
        shuffle=False,  # the dataset does it
        verbose=0,
    ).history
    curves = {name: [float(value) for value in values] for name, values in history.items()}
    best = int(np.argmin(curves["val_loss"])) + 1 if validation else options.max_epochs
    return model, best, curves


def _fit_for(data: LabelledFeatures, positions: list[int], epochs: int, options: FitOptions) -> keras.Model:
    model = _compiled(data, positions, options)
    steps = -(-len(positions) // options.batch_size)
    stream = load(data.features, data.y, positions, options.batch_size, options.seed, epochs=None)
    model.fit(stream, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0)
    return model


def _compiled(data: LabelledFeatures, positions: list[int], options: FitOptions) -> keras.Model:
    keras.config.set_floatx("float32")  # ~/.keras/keras.json may say otherwise
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(options.seed)
    l2 = 1.0 / (2.0 * options.c * len(positions))  # scikit-learn's objective, divided by C and N
    model = HEADS[options.head](HeadInput(data.features[positions], len(data.classes), l2))
    model.compile(
        keras.optimizers.Adam(options.learning_rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def _measure(model: keras.Model, data: LabelledFeatures, positions: list[int]) -> Evaluation:
    logits = model.predict(load(data.features, data.y, positions), verbose=0)
    return evaluate(data.y[positions], np.asarray(keras.ops.softmax(logits)), data.classes)


def _require_all_classes(data: LabelledFeatures, split: Split) -> None:
    trained = {data.joined.labels[i] for i in split.positions(TRAIN)}
    absent = [name for name in data.classes if name not in trained]
    if absent:
        raise UsageError(
            f"the train split has no item of {', '.join(map(repr, absent))}: a head cannot learn a class it never sees. "
            "Move items of it to train, or leave its labels out"
        )


def _warnings(data: LabelledFeatures, split: Split) -> list[str]:
    found = []
    if not split.positions(TEST):
        found.append("no item was left to test on: the numbers above say nothing about new images")
    if not split.positions(VALIDATION):
        found.append("no item was left to validate on: training went on for all of --max-epochs")
    if data.joined.unmatched_labels:
        found.append(f"{data.joined.unmatched_labels} labels fit no item of the set")
    if data.joined.unlabelled_items:
        found.append(f"{data.joined.unlabelled_items} items have no label and were left out")
    if split.straddling:
        found.append(f"{split.straddling} images stand in more than one of the given splits: test numbers are too good")
    if split.given and (missing := sum(name is None for name in data.joined.splits)):
        found.append(f"{missing} labelled items have no split and were trained on")
    return found


def summary(fitted: FittedHead) -> dict[str, Any]:
    """What `head.json` and `--json` say of a fit."""
    return {
        "set": str(fitted.feature_set.name),
        "version": fitted.feature_set.version,
        "space_id": fitted.feature_set.space.id,
        "classes": list(fitted.classes),
        "rows": sum(fitted.rows.values()),
        "rows_by_split": fitted.rows,
        "metrics": {name: evaluation.to_dict() for name, evaluation in fitted.metrics.items()},
        "epochs": fitted.epochs,
        "labels": {
            "source": fitted.label_source,
            "sha256": fitted.label_digest,
            "unmatched": fitted.unmatched_labels,
            "unlabelled_items": fitted.unlabelled_items,
            "straddling_duplicates": fitted.straddling_duplicates,
        },
        "seconds": fitted.seconds,
        "warnings": fitted.warnings,
    }
