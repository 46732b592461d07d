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
from trainer.features import read_labelled
from trainer.fitted import FittedHead
from trainer.heads import with_activation
from trainer.label_column import Rows
from trainer.labels import labels_for
from trainer.measured import calibrated, digest_of_tested
from trainer.options import FitOptions
from trainer.solver import Solver
from trainer.split_checks import require_all_classes, split_warnings
from trainer.splits import TEST, TRAIN, VALIDATION, split_joined
from trainer.task import task_of


def fit(uri: str | Path, labels: str | Path | None = None, options: FitOptions | None = None) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    Raises UsageError (labels that fit nothing, one class only, an empty train split), NotFoundError, DamagedError.
    """
    started = time.perf_counter()
    feature_set = storage.open(uri)
    options = (options or FitOptions()).for_features(feature_set.shape)
    task = task_of(options.multi_label)
    data = read_labelled(feature_set, labels_for(feature_set, labels, options.multi_label, options.labels), task, options.views)
    split = split_joined(feature_set.items, data.joined, options.split)
    require_all_classes(data.joined, split)
    solver = Solver(data, task, options)
    train, validation, test = split.positions(TRAIN), split.positions(VALIDATION), split.positions(TEST)
    logits, epochs, history = solver.with_validation(train, validation)
    model = with_activation(logits, task.activation())
    metrics = {}
    if len(validation):
        metrics[VALIDATION] = _measure(model, solver, validation)
        del logits, model  # with the optimiser's memory, before that of the next one is needed
        # Of few shots the validation items are not among what the head may learn from.
        learned = train if options.shots else split.positions(TRAIN, VALIDATION)
        model = with_activation(solver.for_epochs(learned, epochs), task.activation())
    metrics |= {name: _measure(model, solver, split.positions(name)) for name in (TRAIN, TEST) if len(split.positions(name))}
    return FittedHead(
        model=model,
        classes=data.classes,
        feature_set=feature_set,
        options=options,
        metrics=calibrated({name: metrics[name] for name in (TRAIN, VALIDATION, TEST) if name in metrics}),
        epochs=epochs,
        history=history,
        labels=data.joined.report,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        straddling_duplicates=split.straddling,
        seconds=round(time.perf_counter() - started, 3),
        warnings=[*split_warnings(data.joined, split), *data.joined.report.warnings()],
        positions={name: data.joined.positions[split.positions(name)] for name in (TRAIN, VALIDATION, TEST)},
        tested=digest_of_tested([data.digests[i] for i in test], data.y[test], data.classes) if len(test) else None,
    )


def _measure(model: keras.Model, solver: Solver, positions: Rows) -> Evaluation | MultiLabelEvaluation:
    probabilities = model.predict(solver.stream(positions), verbose=0)
    if not np.isfinite(probabilities).all():
        raise UsageError("training diverged: the head gives no numbers. Try a smaller learning rate, or class weights nearer to 1")
    return solver.task.evaluate([(solver.data.y[positions], probabilities)], solver.data.classes)
