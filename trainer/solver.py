"""How a head's weights are found: Adam, stopped early by the validation loss."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.features import LabelledFeatures
from trainer.fitting import FirstFit
from trainer.heads import HeadInput, build_head, with_activation
from trainer.input_pipeline import batches_of, rows_per_batch
from trainer.options import FitOptions
from trainer.task import Task


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
        epochs = int(np.argmin(curves["val_loss"])) + 1 if len(validation) else self.options.max_epochs
        return FirstFit(with_activation(model, self.task.activation()), {"epochs": epochs}, curves)

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        model, epochs = self._compiled(numbers), int(first.chosen["epochs"])
        model.fit(self._shuffled(numbers), steps_per_epoch=self._steps(numbers), epochs=epochs, shuffle=False, verbose=0)
        return with_activation(model, self.task.activation())

    def stream(self, positions: Numbers) -> tf.data.Dataset:
        """Batches (view 0 of the features, y) in the given order."""
        return self._load(positions)

    def _shuffled(self, positions: Numbers) -> tf.data.Dataset:
        return self._load(positions, self.options.seed, epochs=None)

    def _load(self, positions: Numbers, seed: int | None = None, epochs: int | None = 1) -> tf.data.Dataset:
        return batches_of(self.data.features, self.data.y, positions, self._batch_size, seed, epochs, self.data.views)

    def _steps(self, positions: Numbers) -> int:
        return -(-len(positions) // self._batch_size)

    @property
    def _batch_size(self) -> int:
        return self.options.batch_size or rows_per_batch(self.data.features.shape[1:])

    def _compiled(self, positions: Numbers) -> keras.Model:
        keras.config.set_floatx("float32")  # ~/.keras/keras.json may say otherwise
        keras.config.set_dtype_policy("float32")
        keras.utils.set_random_seed(self.options.seed)
        views = self.data.views
        rows = np.add.outer(np.asarray(positions) * views, np.arange(views)).reshape(-1)
        model = build_head(self.options, HeadInput(self.data.features, rows, len(positions), len(self.data.classes)))
        weights = self.task.weights(self.options.class_weights, self.data.y[positions], self.data.classes)
        model.compile(keras.optimizers.Adam(self.options.learning_rate), self.task.loss(weights), metrics=self.task.metrics)
        return model
