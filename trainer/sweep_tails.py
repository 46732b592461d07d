"""Hybrid heads in a sweep: each candidate is a tail and a head that are trained alone, as `tail_fit` does, and wait between the rungs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

import keras
import numpy as np

from trainer.arrays import Numbers
from trainer.features import LabelledFeatures
from trainer.fitting import Curves, FirstFit
from trainer.head_progress import HeadState, Progress, mean_epochs
from trainer.head_stack import Arrays
from trainer.measured import AnyEvaluation, predictions
from trainer.options import FitOptions
from trainer.sweep_options import HYBRID_GRID, HYBRID_RANGES, SweepOptions
from trainer.sweep_plan import Trial
from trainer.sweep_split import SweepSplit
from trainer.sweep_work import OnEpoch
from trainer.tail_fit import ALONE, TailFit
from trainer.tails import HYBRID, Tail
from trainer.task import Task
from trainer.training import assign, values


@dataclass(frozen=True)
class HeadAlone:
    """What is trained before its tail, by which a head starts: its values, epochs and curves."""

    arrays: Arrays
    epochs: int
    curves: Curves


@dataclass(frozen=True, eq=False)
class TailWork:
    """`base`: a fit with the options that all candidates share; its ends serve them all. `alone`: heads that are known, by their options
    and seed: that of candidates that differ in the tail is the same."""

    base: TailFit
    split: SweepSplit
    candidates: Sequence[FitOptions]
    seeds: Sequence[int]
    alone: dict[str, HeadAlone] = field(default_factory=dict)

    by_seed = True  # the order of the batches

    @property
    def data(self) -> LabelledFeatures:
        return self.base.labelled

    @property
    def task(self) -> Task:
        return self.base.data.task

    def kind(self, trial: Trial) -> str:
        return f"{trial.candidate}-{trial.seed}"

    def bytes_of(self, trial: Trial) -> int:
        return 0  # nothing trains with it

    def on(self, split: SweepSplit) -> TailWork:
        return replace(self, split=split, alone={})

    def fit(self, trials: Sequence[Trial], states: Sequence[HeadState | None], until: int, on_epoch: OnEpoch) -> list[HeadState]:
        return [self._fit(trial, state, until, on_epoch) for trial, state in zip(trials, states, strict=True)]

    def _fit(self, trial: Trial, state: HeadState | None, until: int, on_epoch: OnEpoch) -> HeadState:
        fit, train, validation = self._fit_of(trial), self._train(trial), np.flatnonzero(self.split.validation[:, trial.seed])
        model = self._unfitted(fit, train)
        with fit.in_memory():
            begun = state or self._start(fit, model, train, validation)
            return begun if begun.progress.done else fit.training.further(model, train, validation, begun, until, on_epoch)

    def _start(self, fit: TailFit, model: keras.Model, train: Numbers, validation: Numbers) -> HeadState:
        """Of the head alone, before the tail's first step; done, if there is to be none."""
        known = self._alone_of(fit, train, validation)
        assign(model.get_layer("head"), known.arrays)
        progress = Progress(start_loss=fit.training.loss(model, validation), head_epochs=known.epochs)
        if fit.is_frozen or not isfinite(progress.start_loss or 0.0):
            progress.done = True
            progress.history = {name: known.curves[name] for name in progress.history}
        start = values(model)
        return HeadState(start, [], [], start, progress)

    def _alone_of(self, fit: TailFit, train: Numbers, validation: Numbers) -> HeadAlone:
        options = replace(fit.data.options, train_last=None, tail_learning_rate=None, train_batch_norm=False)
        key = json.dumps(asdict(options), sort_keys=True)
        if key not in self.alone:
            first = fit.head.with_validation(train, validation)
            assert first.model is not None
            self.alone[key] = HeadAlone(values(first.model), int(first.chosen["epochs"]), first.curves)
        return self.alone[key]

    def refit(self, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
        first = FirstFit(None, {"epochs": mean_epochs(seeds), ALONE: _mean_head_epochs(seeds)})
        return values(self._fit_of(trial).refit(self._train(trial), first))

    def measure(self, trials: Sequence[Trial], heads: Sequence[Arrays]) -> list[AnyEvaluation | None]:
        return [self._measured(trial, head) for trial, head in zip(trials, heads, strict=True)]

    def _measured(self, trial: Trial, weights: Arrays) -> AnyEvaluation | None:
        if not all(np.isfinite(array).all() for array in weights):
            return None
        order: list[Numbers] = []
        numbers, model = np.flatnonzero(self.split.validation[:, trial.seed]), self.model(trial, weights)
        said = np.concatenate([part for _, part in predictions(model, self.base.data, numbers, order)])
        said = said[np.argsort(np.concatenate(order))]  # of features in the store they come as these are read
        return self.task.evaluate([(self.data.y[numbers], said)], self.data.classes)

    def model(self, trial: Trial, weights: Arrays) -> keras.Model:
        fit = self._fit_of(trial)
        model = self._unfitted(fit, self._train(trial))
        assign(model, weights)
        return fit.kept(model)

    def told(self, options: FitOptions, seeds: Sequence[Progress]) -> Mapping[str, Any]:
        return {"strategy": HYBRID, "frozen": self.base.tail.told(options), "chosen": {ALONE: _mean_head_epochs(seeds)}}

    def _fit_of(self, trial: Trial) -> TailFit:
        options = replace(self.candidates[trial.candidate], seed=self.seeds[trial.seed])
        return replace(self.base, data=replace(self.base.data, options=options), known_ends=self.base.ends)

    def _train(self, trial: Trial) -> Numbers:
        return np.flatnonzero(self.split.training[:, trial.seed])

    def _unfitted(self, fit: TailFit, train: Numbers) -> keras.Model:
        return fit.compiled(fit.head.compiled(train), train)


def _mean_head_epochs(seeds: Sequence[Progress]) -> int:
    return max(1, round(sum(one.head_epochs for one in seeds) / len(seeds)))


def hybrid_axes(options: SweepOptions, tail: Tail, tell: Callable[[str], None]) -> SweepOptions:
    """The same with what is tried where nothing is said, and each number of layers that trains others than those before it.

    tell: told which numbers were left out. Raises UsageError for a number of which none, or not all, can be trained.
    """
    axes = dict(options.axes)
    if axes.keys() <= {"head"}:
        axes = {**axes, "train_last": tail.spread(options.base.train_batch_norm), **(HYBRID_RANGES if options.budget else HYBRID_GRID)}
    values, distinct = axes.get("train_last"), dict[tuple[str, ...], int | None]()
    if not isinstance(values, (tuple, list)):
        return options
    for last in values:
        trains_norm = options.base.train_batch_norm and last != 0
        one = tail.options(replace(options.base, train_last=last, train_batch_norm=trains_norm, tail_learning_rate=None))
        if distinct.setdefault(tail.trained(one), last) != last:
            tell(f"the last {last} layers have no more to train than the last {distinct[tail.trained(one)]}: {last} is left out")
    return replace(options, axes={**axes, "train_last": tuple(distinct.values())})
