"""What a sweep asks of its heads; what those on features work on, and what a way to fit a group of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from storage.errors import UsageError
from trainer.features import LabelledFeatures
from trainer.head_progress import HeadState, Progress
from trainer.head_stack import Architecture, Arrays, HeadSpec
from trainer.heads import HEADS
from trainer.input_pipeline import batches_of, rows_per_batch
from trainer.many_heads import TrainingData, probabilities
from trainer.map_pooling import MAP_POOLINGS
from trainer.measured import AnyEvaluation
from trainer.options import FitOptions
from trainer.standardise import Moments, moments, standardised
from trainer.sweep_plan import Trial
from trainer.sweep_split import SweepSplit
from trainer.task import Task

PREDICTION_BYTES = 256 << 20  # of probabilities held at a time while heads are measured
COPIES = 6  # of a head's weights while it trains: weights, Adam's means and squares, best, gradient, what is being computed

OnEpoch = Callable[[int], None]


class SweepWork(Protocol):
    """What a sweep asks of the heads that it tries, however they are trained."""

    @property
    def data(self) -> LabelledFeatures: ...

    @property
    def task(self) -> Task: ...

    @property
    def split(self) -> SweepSplit: ...

    @property
    def candidates(self) -> Sequence[FitOptions]: ...

    @property
    def seeds(self) -> Sequence[int]: ...

    @property
    def by_seed(self) -> bool:
        """Whether what a seed decides matters to every head."""
        ...

    def kind(self, trial: Trial) -> str:
        """Trials of different kinds are fitted apart."""
        ...

    def bytes_of(self, trial: Trial) -> int:
        """That a head takes while it trains with others."""
        ...

    def fit(self, trials: Sequence[Trial], states: Sequence[HeadState | None], until: int, on_epoch: OnEpoch) -> list[HeadState]:
        """Bring the states of a group (None: it begins) to the epoch `until`."""
        ...

    def refit(self, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
        """The best weights on all items of a work without validation, from how far the seeds of the trial came."""
        ...

    def measure(self, trials: Sequence[Trial], heads: Sequence[Arrays]) -> list[AnyEvaluation | None]:
        """Each head on the validation items of its seed; None for one that gives no numbers."""
        ...

    def on(self, split: SweepSplit) -> Self:
        """The same on other items."""
        ...

    def model(self, trial: Trial, weights: Arrays) -> keras.Model:
        """The head as a Keras model from features [N, *shape] to probabilities [N, C]."""
        ...

    def told(self, options: FitOptions, seeds: Sequence[Progress]) -> Mapping[str, Any]:
        """What a `FittedHead` of this work says of itself beside what all do."""
        ...


@dataclass(frozen=True)
class Work:
    """Heads on features. `candidates` are those `for_features`; `base` has the options that are the same for all. `frontend` is the model
    from features [N, *shape] to standardised vectors [N, D], and `moments` are what it standardises by. ways: by the name of the head."""

    data: LabelledFeatures
    task: Task
    split: SweepSplit
    frontend: keras.Model
    moments: Moments
    base: FitOptions
    candidates: Sequence[FitOptions]
    seeds: Sequence[int]
    ways: Mapping[str, Way]

    @property
    def by_seed(self) -> bool:
        return self.split.resampled

    def options(self, trial: Trial) -> FitOptions:
        return self.candidates[trial.candidate]

    def way(self, trial: Trial) -> Way:
        return self.ways[self.options(trial).head]

    def kind(self, trial: Trial) -> str:
        return self.way(trial).kind(self.options(trial), trial)

    def fit(self, trials: Sequence[Trial], states: Sequence[HeadState | None], until: int, on_epoch: OnEpoch) -> list[HeadState]:
        return self.way(trials[0]).fit(self, trials, states, until, on_epoch)

    def refit(self, trial: Trial, seeds: Sequence[Progress]) -> Arrays:
        return self.way(trial).refit(self, trial, seeds)

    def told(self, options: FitOptions, seeds: Sequence[Progress]) -> Mapping[str, Any]:
        return {}

    def architecture(self, trial: Trial) -> Architecture:
        inputs, classes = self.frontend.output.shape[-1], len(self.data.classes)
        return Architecture(inputs, self.options(trial).hidden, classes, self.task.multi_label)

    def bytes_of(self, trial: Trial) -> int:
        return 4 * COPIES * self.architecture(trial).parameters

    def spec(self, trial: Trial) -> HeadSpec:
        """Class weights and strength go by the items that train with the trial's seed, as for a head that is fitted alone."""
        options, training = self.options(trial), self.split.training[:, trial.seed] > 0
        weights = self.task.weights(options.class_weights, self.data.y[training], self.data.classes)
        shape = (2, len(self.data.classes)) if self.task.multi_label else (len(self.data.classes),)
        assert options.learning_rate is not None, "candidates are those for_features"
        return HeadSpec(
            learning_rate=options.learning_rate,
            l2=options.l2(int(training.sum())),
            class_weights=(np.ones(shape) if weights is None else weights).astype(np.float32),
            dropout=options.dropout,
            column=trial.seed,
        )

    @cached_property
    def training_data(self) -> TrainingData:
        frontend = self.frontend
        return TrainingData(
            y=self.data.y,
            training=self.split.training,
            validation=self.split.validation,
            stream=self._stream,
            frontend=tf.function(lambda x: frontend(x, training=False), input_signature=[tf.TensorSpec(frontend.input_shape)]),
            seed=self.base.seed,
        )

    def _stream(self, positions: npt.NDArray[np.int64], epochs: range | None) -> tf.data.Dataset:
        data, one = self.data, self.base
        numbers = np.arange(len(data.y))
        size = one.batch_size or rows_per_batch(data.features.shape[1:])
        if epochs is None:
            return batches_of(data.features, numbers, positions, size, views=data.views)
        return batches_of(data.features, numbers, positions, size, one.seed, len(epochs), data.views, epochs.start)

    def on(self, split: SweepSplit) -> Work:
        return replace(self, split=split)

    def measure(self, trials: Sequence[Trial], heads: Sequence[Arrays]) -> list[AnyEvaluation | None]:
        by_architecture: dict[Architecture, list[int]] = {}
        for i, trial in enumerate(trials):
            by_architecture.setdefault(self.architecture(trial), []).append(i)
        found: dict[int, AnyEvaluation | None] = {}
        for members in by_architecture.values():
            found |= zip(members, self._measured([trials[i] for i in members], [heads[i] for i in members]), strict=True)
        return [found[i] for i in range(len(trials))]

    def _measured(self, trials: Sequence[Trial], heads: Sequence[Arrays]) -> list[AnyEvaluation | None]:
        """Heads of one architecture."""
        architecture = self.architecture(trials[0])
        found: list[AnyEvaluation | None] = []
        held_out = int(self.split.validation.any(axis=1).sum())
        at_once = max(1, PREDICTION_BYTES // (4 * held_out * architecture.outputs))
        for start in range(0, len(trials), at_once):
            positions, said = probabilities(self.training_data, architecture, heads[start : start + at_once])
            for place, trial in enumerate(trials[start : start + at_once]):
                own = self.split.validation[positions, trial.seed] > 0
                own_said = said[own, place]
                finite = np.isfinite(own_said).all()
                found.append(self.task.evaluate([(self.data.y[positions[own]], own_said)], self.data.classes) if finite else None)
        return found

    def model(self, trial: Trial, weights: Arrays) -> keras.Model:
        options = self.options(trial)
        kind = HEADS["mlp" if options.hidden else "linear"]  # whatever way found the weights
        assert kind.build is not None, "Keras trains both"
        logits = kind.build(self.frontend.output, options, len(self.data.classes), keras.regularizers.L2(0.0))
        model = keras.Model(self.frontend.input, self.task.activation()(logits))
        for variable, values in zip(model.trainable_variables, weights, strict=True):
            variable.assign(values)
        return model


def frontend_of(data: LabelledFeatures, options: FitOptions, positions: npt.NDArray[np.int64]) -> tuple[keras.Model, Moments]:
    """Pooling and standardising of the features, by mean and spread of the items at `positions`. Raises UsageError for attention."""
    if options.map == "attention":
        raise UsageError("attention pooling is learned with its head, so heads cannot share it: sweep with --map flatten, avg or max")
    pooling = MAP_POOLINGS[options.map or "flatten"]
    rows = np.add.outer(positions * data.views, np.arange(data.views)).reshape(-1)
    found = moments(data.features, rows, pooling.statistics)
    inputs = keras.Input(data.features.shape[1:])
    vectors = pooling.build(inputs, lambda pooled: standardised(pooled, found), keras.regularizers.L2(0.0))
    return keras.Model(inputs, vectors), found


@dataclass(frozen=True)
class Way:
    """How to fit a group of trials.

    fit(work, trials, states, until, on_epoch): bring the states of the trials (None: it begins) to the epoch `until`. What knows no
    epochs does all of it at once, says that this was one, and is `done`.
    refit(work, trial, seeds): the best weights on all items of a work without validation, from how far the seeds of the trial came.
    kind: trials of different kinds are fitted apart.
    """

    fit: Callable[[Work, Sequence[Trial], Sequence[HeadState | None], int, Callable[[int], None]], list[HeadState]]
    refit: Callable[[Work, Trial, Sequence[Progress]], Arrays]
    kind: Callable[[FitOptions, Trial], str]
