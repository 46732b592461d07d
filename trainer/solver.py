"""How a head's weights are found: Adam, stopped early by the validation loss."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.adam_by_part import adam
from trainer.arrays import Numbers
from trainer.features import LabelledFeatures
from trainer.fitting import FirstFit
from trainer.heads import HeadInput, build_head, with_activation
from trainer.input_pipeline import batches_of, rows_per_batch
from trainer.options import FitOptions
from trainer.softening import Softening
from trainer.task import Task
from trainer.training import Training


@dataclass(frozen=True)
class Solver:
    """Fits heads on chosen positions of labelled features.

    `options` are those `for_features` of their shape.
    """

    data: LabelledFeatures
    task: Task
    options: FitOptions

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        """Fit until validation loss stops falling, and keep the best epoch's model; without validation items, for max_epochs."""
        model = self.compiled(train)
        progress, curves = self._training.validated(model, train, validation)
        return FirstFit(with_activation(model, self.task.activation()), {"epochs": progress.best_epoch}, curves)

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        model = self.compiled(numbers)
        self._training.for_epochs(model, numbers, int(first.chosen["epochs"]))
        return with_activation(model, self.task.activation())

    def stream(self, positions: Numbers) -> tf.data.Dataset:
        """Batches (view 0 of the features, y) in the given order."""
        return self._load(positions)

    def _shuffled(self, positions: Numbers, first_epoch: int) -> tf.data.Dataset:
        return self._load(positions, self.options.seed, None, first_epoch)

    def _load(self, positions: Numbers, seed: int | None = None, epochs: int | None = 1, first_epoch: int = 0) -> tf.data.Dataset:
        return batches_of(self.data.features, self.data.y, positions, self._batch_size, seed, epochs, self.data.views, first_epoch)

    @property
    def _training(self) -> Training:
        options = self.options
        softening = softening_of(options, len(self.data.classes))
        return Training(self._shuffled, self.stream, self._batch_size, options.max_epochs, options.patience, softening, self.task.metrics)

    @property
    def _batch_size(self) -> int:
        return self.options.batch_size or rows_per_batch(self.data.features.shape[1:])

    def compiled(self, positions: Numbers) -> keras.Model:
        """The head as it is before its training on these items: from features to logits."""
        keras.config.set_floatx("float32")  # ~/.keras/keras.json may say otherwise
        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(self.options.seed)
        views = self.data.views
        rows = np.add.outer(np.asarray(positions) * views, np.arange(views)).reshape(-1)
        model = build_head(self.options, HeadInput(self.data.features, rows, len(positions), len(self.data.classes)))
        weights = self.task.weights(self.options.class_weights, self.data.y[positions], self.data.classes)
        assert self.options.learning_rate, "these options are not yet those for_features"
        rates = adam(model, self.options.learning_rate, self.options.weight_decay)
        model.compile(rates, self.task.loss(weights))
        return model


def softening_of(options: FitOptions, classes: int) -> Softening:
    return Softening(classes, options.label_smoothing, options.mixup, options.seed)
