"""Fitting a head: once with validation to learn when to stop, once more on train and validation together to keep."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from trainer.asked import require_a
from trainer.cross_validation import cross_validate
from trainer.fitted import FittedHead
from trainer.heads import HEADS
from trainer.measured import Measured, calibrated, digest_of_tested, evenly, measure
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.split_checks import split_warnings
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.tails import FEATURE_EXTRACTION, HYBRID, Tail

MEASURED_TRAIN = 65536  # items that train numbers are measured on where features are streamed: a pass over all would say no more


def fit(
    uri: str | Path,
    labels: str | Path | None = None,
    options: FitOptions | None = None,
    folds: int | None = None,
    tail: Tail | None = None,
) -> FittedHead:
    """Fit a head on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    folds: cross-validate on train and validation together with so many, beside the head that is kept; None: not.
    tail: of a hybrid head, trained with it from the features at the cut.

    Raises UsageError (labels that fit nothing, one class only, an empty train split, features that are no numbers), NotFoundError,
    DamagedError.
    """
    started, options = time.perf_counter(), FitOptions() if options is None else options
    require_a(FitOptions, options, "options")
    prepared = prepare(uri, labels, options, tail)
    labelled, data, split, options = prepared.labelled, prepared.data, prepared.split, prepared.options
    joined = labelled.joined
    crossed = cross_validate(prepared, folds) if folds is not None else None
    train, validation, test = (split.positions(name) for name in (TRAIN, VALIDATION, TEST))
    fitting, fit_seconds = prepared.fitting(), -time.perf_counter()
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
    seen = evenly(train, MEASURED_TRAIN) if prepared.streamed else train
    measured |= {name: measure(model, data, numbers) for name, numbers in ((TRAIN, seen), (TEST, test)) if len(numbers)}
    measured = {name: measured[name] for name in (TRAIN, VALIDATION, TEST) if name in measured}
    return FittedHead(
        model=model,
        classes=labelled.classes,
        feature_set=prepared.feature_set,
        options=options,
        metrics=calibrated({name: each.evaluation for name, each in measured.items()}),
        epochs=int(chosen.pop("epochs", 0)),
        history=first.curves,
        labels=joined.report,
        rows={name: len(split.positions(name)) for name in (TRAIN, VALIDATION, TEST)},
        straddling_duplicates=split.straddling,
        seconds=round(time.perf_counter() - started, 3),
        warnings=[*split_warnings(joined, split, HEADS[options.head].unvalidated), *joined.report.warnings(), *labelled.warnings],
        positions={name: joined.positions[each.numbers] for name, each in measured.items()},
        tested=digest_of_tested(labelled.digests[test], labelled.y[test], labelled.classes) if len(test) else None,
        chosen=chosen,
        path=first.path,
        fit_seconds=round(fit_seconds, 3),
        strategy=HYBRID if tail else FEATURE_EXTRACTION,
        frozen=tail.told(options) if tail else {},
        cross_validation=crossed,
    )
