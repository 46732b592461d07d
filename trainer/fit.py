"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import keras

from storage.asked import checked
from trainer.cross_validation import OnFold, cross_validate
from trainer.fitted import FittedHead
from trainer.fitted_items import told_of_items, warnings_of_items
from trainer.fitting import FirstFit
from trainer.heads import HEADS
from trainer.measured import Measured, calibrated, evenly, measure, measured_by
from trainer.options import FitOptions
from trainer.prepared import Prepared, prepare
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.tails import FEATURE_EXTRACTION, HYBRID, Tail
from trainer.unfinished import warnings_of_training

T = TypeVar("T")

MEASURED_TRAIN = 65536  # items that train numbers are measured on where features are streamed: a pass over all would say no more


@checked(labels="the label file")
def fit(
    uri: str | Path,
    labels: str | Path | None = None,
    options: FitOptions | None = None,
    folds: int | None = None,
    tail: Tail | None = None,
    on_fold: OnFold = lambda done, total: None,
) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    folds: cross-validate on train and validation together with so many, beside the head that is kept; None: not.
    tail: of a hybrid head, trained with it from the features at the cut. on_fold: told how many folds are done, of how many.

    Raises UsageError (labels that fit nothing, one class only, an empty train split, features that are no numbers), DivergedError,
    NotFoundError, DamagedError.
    """
    started, options = time.perf_counter(), FitOptions() if options is None else options
    prepared = prepare(uri, labels, options, tail)
    crossed = cross_validate(prepared, folds, on_fold) if folds is not None else None
    found = _fitted(prepared)
    labelled, split, options, chosen = prepared.labelled, prepared.split, prepared.options, dict(found.first.chosen)
    return FittedHead(
        **told_of_items(prepared.feature_set, labelled, split),
        model=found.model,
        options=options,
        metrics=calibrated({name: each.evaluation for name, each in found.measured.items()}),
        epochs=int(chosen.pop("epochs", 0)),
        history=found.first.curves,
        seconds=round(time.perf_counter() - started, 3),
        warnings=[
            *warnings_of_items(labelled, split, HEADS[options.head].unvalidated),
            *labelled.warnings,
            *warnings_of_training(found.first.curves, options, is_hybrid=tail is not None),
        ],
        positions={name: labelled.joined.positions[each.numbers] for name, each in found.measured.items()},
        chosen=chosen,
        path=found.first.path,
        fit_seconds=round(found.seconds, 3),
        strategy=HYBRID if tail else FEATURE_EXTRACTION,
        frozen=tail.told(options) if tail else {},
        cross_validation=crossed,
    )


@dataclass(frozen=True)
class _Fitted:
    """The head to keep, and the fit before it, which chose what was left open (without its model). measured: by split, in their order;
    seconds: of both fits."""

    model: keras.Model
    first: FirstFit
    measured: dict[str, Measured]
    seconds: float


def _fitted(prepared: Prepared) -> _Fitted:
    data, split, fitting = prepared.data, prepared.split, prepared.fitting()
    train, validation, test = (split.positions(name) for name in (TRAIN, VALIDATION, TEST))
    first, seconds = _timed(lambda: fitting.with_validation(train, validation))
    model, validated, first = first.model, first.validated, replace(first, model=None, validated=None)
    measured: dict[str, Measured] = {}
    if len(validation):
        measured[VALIDATION] = measured_by(validated, data) if validated else measure(model, data, validation)
        model = None  # with the optimiser's memory, before that of the next one is needed
        # Of few shots the validation items are not among what the head may learn from.
        pool = train if prepared.options.shots else split.positions(TRAIN, VALIDATION)
        model, more = _timed(lambda: fitting.refit(pool, first))
        seconds += more
    seen = evenly(train, MEASURED_TRAIN) if prepared.streamed else train
    measured |= {name: measure(model, data, numbers) for name, numbers in ((TRAIN, seen), (TEST, test)) if len(numbers)}
    return _Fitted(model, first, {name: measured[name] for name in (TRAIN, VALIDATION, TEST) if name in measured}, seconds)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started
