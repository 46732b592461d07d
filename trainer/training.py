"""Steps over batches: until the validation loss stops falling, or for so many epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.fitting import Curves
from trainer.softening import Softening

Stream = Callable[[Numbers], tf.data.Dataset]


@dataclass(frozen=True)
class Training:
    """shuffled: batches (x, y) of items without end, in a new order each epoch; plain: of them once, in order."""

    shuffled: Stream
    plain: Stream
    batch_size: int
    max_epochs: int
    patience: int
    softening: Softening

    def validated(self, model: keras.Model, train: Numbers, validation: Numbers) -> tuple[int, Curves]:
        """(the epochs that were best, curves); `model`, compiled, then has the weights of the best epoch. Without validation items:
        max_epochs."""
        stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=self.patience, restore_best_weights=True)
        history = self._fit(model, train)(
            epochs=self.max_epochs,
            validation_data=self.softening.of_validation(self.plain(validation)) if len(validation) else None,
            callbacks=[stopping] if len(validation) else [],
        ).history
        curves = {name: [float(value) for value in values] for name, values in history.items()}
        return (int(np.argmin(curves["val_loss"])) + 1 if len(validation) else self.max_epochs), curves

    def loss(self, model: keras.Model, numbers: Numbers) -> float:
        """What `validated` calls the validation loss."""
        return float(model.evaluate(self.softening.of_validation(self.plain(numbers)), verbose=0, return_dict=True)["loss"])

    def for_epochs(self, model: keras.Model, numbers: Numbers, epochs: int) -> None:
        self._fit(model, numbers)(epochs=epochs)

    def _fit(self, model: keras.Model, numbers: Numbers) -> Callable[..., keras.callbacks.History]:
        batches = self.softening.of_training(self.shuffled(numbers))
        steps = -(-len(numbers) // self.batch_size)
        return partial(model.fit, batches, steps_per_epoch=steps, shuffle=False, verbose=0)  # the dataset shuffles
