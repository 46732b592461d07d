"""Sweeps: many candidates on training items, chosen by validation, the winner fitted on both and measured once on test."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import storage
from storage.asked import checked
from storage.errors import DivergedError, UsageError
from storage.feature_set import FeatureSet
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.features import read_labelled
from trainer.fitted import FittedHead
from trainer.fitted_items import told_of_items, warnings_of_items
from trainer.heads import HEADS
from trainer.labels import labels_for
from trainer.measured import calibrated
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.split_checks import require_all_classes
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.sweep_climb import Climb, OnProgress
from trainer.sweep_options import SweepOptions
from trainer.sweep_plan import Trial, candidates, rungs
from trainer.sweep_result import CandidateResult, SweepResult
from trainer.sweep_split import split_for_sweep
from trainer.sweep_state import SweepState
from trainer.sweep_tails import TailWork, hybrid_axes
from trainer.sweep_ways import WAYS
from trainer.sweep_work import SweepWork, Work, frontend_of
from trainer.tail_fit import TailFit
from trainer.tails import Tail
from trainer.task import task_of
from trainer.unfinished import warnings_of_training


@checked(labels="the label file", state="the folder of the state")
def sweep(
    uri: str | Path,
    labels: str | Path | None = None,
    options: SweepOptions | None = None,
    state: str | Path | None = None,
    on_progress: OnProgress = lambda done, total: None,
    tell: Callable[[str], None] = lambda note: None,
    tail: Tail | None = None,
) -> SweepResult:
    """Sweep on the feature set `ROOT/TEAM/SET[@VERSION|@TAG]`, with labels from a file or (None) from the items.

    state: a folder that keeps what is done, so that the same call goes on after it was stopped; None: nothing is kept. on_progress: told
    how many epochs of how many there are for all heads together (heads that stop early leave some out), or how many heads, if all are
    exact. tell: told at once what the user should know. tail: of hybrid heads, for `options.strategy` hybrid. Raises UsageError (as `fit`;
    no validation items), DivergedError (with every candidate), NotFoundError, DamagedError.
    """
    started, options = time.perf_counter(), SweepOptions() if options is None else options
    if options.is_hybrid != (tail is not None):
        raise UsageError("a sweep of the strategy hybrid needs a tail, and others have none: see SweepOptions.strategy")
    feature_set = storage.open(uri)
    options = hybrid_axes(options, tail, tell) if tail else options
    work = _of_tails(uri, labels, options, tail) if tail else _of_features(feature_set, labels, options)
    with _state(state, lambda: _identity(feature_set, work, options, tail)) as kept:
        if kept.note:
            tell(kept.note)
        plan = rungs(len(work.candidates), options.base.max_epochs, options.eta if options.budget else None, options.staying)
        results = Climb(work, options, plan, kept, on_progress).run()
        fitted = _refit(work, results[0], kept, feature_set)
    fitted = replace(fitted, seconds=round(time.perf_counter() - started, 3))
    return SweepResult(fitted, results, options, work.seeds, plan, work.split.resampled)


def candidates_of(options: SweepOptions) -> list[FitOptions]:
    """Those of heads that train together. Raises UsageError for heads and values that cannot be tried."""
    if alien := [head for head in options.heads if head not in WAYS]:
        raise UsageError(f"the head {alien[0]!r} cannot be swept: expected one of {', '.join(WAYS)}")
    return candidates(options)


def _of_features(feature_set: FeatureSet, labels: str | Path | None, options: SweepOptions) -> SweepWork:
    asked = candidates_of(options)
    base = options.base.for_features(feature_set.shape)
    task = task_of(base.multi_label)
    data = read_labelled(feature_set, labels_for(feature_set, labels, base.multi_label, base.labels), task, base.views)
    split = split_for_sweep(feature_set.items, data.joined, base.split, _seeds(options))
    require_all_classes(data.joined, split.base)
    found = [candidate.for_features(feature_set.shape) for candidate in asked]
    frontend, moments = frontend_of(data, base, split.base.positions(TRAIN, VALIDATION))
    return Work(data, task, split, frontend, moments, base, found, _seeds(options), WAYS)


def _of_tails(uri: str | Path, labels: str | Path | None, options: SweepOptions, tail: Tail) -> SweepWork:
    found = [tail.options(candidate) for candidate in candidates(options)]
    prepared = prepare(uri, labels, found[0], tail)  # what they differ in is that of each fit
    split = split_for_sweep(prepared.feature_set.items, prepared.labelled.joined, options.base.split, _seeds(options))
    fit = TailFit(prepared.labelled, prepared.data, tail)
    fit.require_room()
    return TailWork(fit, split, found, _seeds(options))


def _seeds(options: SweepOptions) -> list[int]:
    return [options.base.seed + i for i in range(options.seeds)]


@contextmanager
def _state(folder: str | Path | None, identity: Callable[[], Mapping[str, Any]]) -> Iterator[SweepState]:
    if folder is not None:
        yield SweepState(Path(folder), identity())
        return
    with tempfile.TemporaryDirectory(prefix="permafrost-") as temporary:
        yield SweepState(Path(temporary), {})


def _identity(feature_set: FeatureSet, work: SweepWork, options: SweepOptions, tail: Tail | None) -> dict[str, Any]:
    """What decides the numbers of a sweep."""
    data, tables = work.data, (work.split.training, work.split.validation)
    return {
        "set": [feature_set.name.team, feature_set.name.name, feature_set.space.id],
        "version": feature_set.version,
        "labels": [data.classes, _digest(data.y), _digest(data.digests)],
        "splits": [_digest(table) for table in tables],
        "options": asdict(options),
        "candidates": [asdict(candidate) for candidate in work.candidates],
        **({"tail": dict(tail.about)} if tail else {}),
    }


def _refit(work: SweepWork, winner: CandidateResult, kept: SweepState, feature_set: FeatureSet) -> FittedHead:
    """The winner on training and validation items together, for the epochs that were best, and its numbers."""
    trial, options, split, joined = Trial(winner.number, 0), winner.options, work.split.base, work.data.joined
    progress = [outcome.progress for outcome in winner.outcomes]
    together = work.on(work.split.together())
    weights = together.refit(trial, progress)
    metrics: dict[str, Evaluation | MultiLabelEvaluation] = {}
    for name in (TRAIN, TEST):
        if len(positions := split.positions(name)):
            metrics[name] = _finite(together.on(together.split.measuring(positions)).measure([trial], [weights]))
    metrics[VALIDATION] = _finite(work.measure([trial], [kept.weights_of(winner.outcomes[0]).best]))
    return FittedHead(
        **told_of_items(feature_set, work.data, split),
        model=together.model(trial, weights),
        options=options,
        metrics=calibrated({name: metrics[name] for name in (TRAIN, VALIDATION, TEST) if name in metrics}),
        epochs=winner.epochs,
        history=winner.outcomes[0].progress.history,
        warnings=[
            *warnings_of_items(work.data, split, HEADS[options.head].unvalidated),
            *work.data.warnings,
            *warnings_of_training(progress[0].history, options, is_hybrid=isinstance(work, TailWork)),
        ],
        positions={name: joined.positions[split.positions(name)] for name in metrics},
        **work.told(options, progress),
    )


def _finite(found: Sequence[Evaluation | MultiLabelEvaluation | None]) -> Evaluation | MultiLabelEvaluation:
    if found[0] is None:
        raise DivergedError("training diverged when the winner was fitted on all items: leave its learning rate out of the sweep")
    return found[0]


def _digest(array: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
