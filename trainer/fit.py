"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np

import storage
from storage.errors import UsageError
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.features import LabelledFeatures, read_labelled
from trainer.fitted import FittedHead
from trainer.heads import with_activation
from trainer.labels import labels_for
from trainer.options import FitOptions
from trainer.solver import Solver
from trainer.splits import TEST, TRAIN, VALIDATION, Split, split_items, strata
from trainer.task import task_of


def fit(uri: str | Path, labels: str | Path | None = None, options: FitOptions | None = None) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    Raises UsageError (labels that fit nothing, one class only, an empty train split), NotFoundError, DamagedError.
    """
    started = time.perf_counter()
    feature_set = storage.open(uri)
    options = (options or FitOptions()).for_features(feature_set.shape)
    task = task_of(options.multi_label)
    data = read_labelled(feature_set, labels_for(feature_set, labels, options.multi_label), task, options.views)
    split = split_items(data.digests, strata(data.joined.labels), data.joined.splits, options.test, options.validation, options.seed)
    require_all_classes(data, split)
    solver = Solver(data, task, options)
    train, validation = split.positions(TRAIN), split.positions(VALIDATION)
    logits, epochs, history = solver.with_validation(train, validation)
    model = with_activation(logits, task.activation())
    metrics = {}
    if validation:
        metrics[VALIDATION] = _measure(model, solver, validation)
        del logits, model  # with the optimiser's memory, before that of the next one is needed
        model = with_activation(solver.for_epochs(train + validation, epochs), task.activation())
    metrics |= {name: _measure(model, solver, split.positions(name)) for name in (TRAIN, TEST) if split.positions(name)}
    return FittedHead(
        model=model,
        classes=data.classes,
        feature_set=feature_set,
        options=options,
        metrics={name: metrics[name] for name in (TRAIN, VALIDATION, TEST) if name in metrics},
        epochs=epochs,
        history=history,
        labels=data.joined.report,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        straddling_duplicates=split.straddling,
        seconds=round(time.perf_counter() - started, 3),
        warnings=warnings_of(data, split),
    )


def _measure(model: keras.Model, solver: Solver, positions: list[int]) -> Evaluation | MultiLabelEvaluation:
    probabilities = model.predict(solver.stream(positions), verbose=0)
    if not np.isfinite(probabilities).all():
        raise UsageError("training diverged: the head gives no numbers. Try a smaller learning rate, or class weights nearer to 1")
    return solver.task.evaluate([(solver.data.y[positions], probabilities)], solver.data.classes)


def require_all_classes(data: LabelledFeatures, split: Split) -> None:
    trained = {name for i in split.positions(TRAIN) for name in data.joined.labels[i]}
    absent = [name for name in data.classes if name not in trained]
    if absent:
        raise UsageError(
            f"the train split has no item of {', '.join(map(repr, absent))}: a head cannot learn a class it never sees. "
            "Move items of it to train, or leave its labels out"
        )


def warnings_of(data: LabelledFeatures, split: Split) -> list[str]:
    found = []
    if not split.positions(TEST):
        found.append("no item was left to test on: the numbers above say nothing about new images")
    if not split.positions(VALIDATION):
        found.append("no item was left to validate on: training went on for all of --max-epochs")
    found += data.joined.report.warnings()
    if split.straddling:
        found.append(f"{split.straddling} images stand in more than one of the given splits: test numbers are too good")
    if split.given and (missing := sum(name is None for name in data.joined.splits)):
        found.append(f"{missing} labelled items have no split and were trained on")
    return found
