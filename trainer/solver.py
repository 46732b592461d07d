"""How a head's weights are found: Adam, stopped early by the validation loss."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.features import LabelledFeatures
from trainer.heads import HeadInput, build_head
from trainer.input_pipeline import batches_of, rows_per_batch
from trainer.label_column import Rows
from trainer.options import FitOptions
from trainer.task import Task

Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Solver:
    """Fits heads on chosen positions of labelled features. Models map features [N, *shape] to logits [N, C].

    `options` are those `for_features` of their shape.
    """

    data: LabelledFeatures
    task: Task
    options: FitOptions

    def with_validation(self, train: Rows, validation: Rows) -> tuple[keras.Model, int, Curves]:
        """Fit until validation loss stops falling; returns the best model, its number of epochs, and the learning curves.

        Without validation items: fit for max_epochs.
        """
        stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=self.options.patience, restore_best_weights=True)
        model = self._compiled(train)
        history = model.fit(
            self._shuffled(train),
            steps_per_epoch=self._steps(train),
            epochs=self.options.max_epochs,
            validation_data=self.stream(validation) if len(validation) else None,
            callbacks=[stopping] if len(validation) else [],
            shuffle=False,  # the dataset does it
            verbose=0,
        ).history
        curves = {name: [float(value) for value in values] for name, values in history.items()}
        best = int(np.argmin(curves["val_loss"])) + 1 if len(validation) else self.options.max_epochs
        return model, best, curves

    def for_epochs(self, positions: Rows, epochs: int) -> keras.Model:
        model = self._compiled(positions)
        model.fit(self._shuffled(positions), steps_per_epoch=self._steps(positions), epochs=epochs, shuffle=False, verbose=0)
        return model

    def stream(self, positions: Rows) -> tf.data.Dataset:
        """Batches (view 0 of the features, y) in the given order."""
        return self._load(positions)

    def _shuffled(self, positions: Rows) -> tf.data.Dataset:
        return self._load(positions, self.options.seed, epochs=None)

    def _load(self, positions: Rows, seed: int | None = None, epochs: int | None = 1) -> tf.data.Dataset:
        return batches_of(self.data.features, self.data.y, positions, self._batch_size, seed, epochs, self.data.views)

    def _steps(self, positions: Rows) -> int:
        return -(-len(positions) // self._batch_size)

    @property
    def _batch_size(self) -> int:
        return self.options.batch_size or rows_per_batch(self.data.features.shape[1:])

    def _compiled(self, positions: Rows) -> keras.Model:
        keras.config.set_floatx("float32")  # ~/.keras/keras.json may say otherwise
        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(self.options.seed)
        views = self.data.views
        rows = np.add.outer(positions * views, np.arange(views)).reshape(-1)
        model = build_head(self.options, HeadInput(self.data.features, rows, len(positions), len(self.data.classes)))
        weights = self.task.weights(self.options.class_weights, self.data.y[positions], self.data.classes)
        model.compile(keras.optimizers.Adam(self.options.learning_rate), self.task.loss(weights), metrics=self.task.metrics)
        return model
