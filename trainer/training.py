"""Steps over batches: until the validation loss stops falling, or for so many epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.fitting import Curves
from trainer.head_progress import HeadState, Progress
from trainer.head_stack import Arrays
from trainer.softening import Softening

Stream = Callable[[Numbers], tf.data.Dataset]
OnEpoch = Callable[[int], None]


@dataclass(frozen=True)
class Training:
    """shuffled: batches (x, y) of items without end, in a new order each epoch, from an epoch on; plain: of them once, in order."""

    shuffled: Callable[[Numbers, int], tf.data.Dataset]
    plain: Stream
    batch_size: int
    max_epochs: int
    patience: int
    softening: Softening

    def validated(
        self, model: keras.Model, train: Numbers, validation: Numbers, start_loss: float | None = None
    ) -> tuple[Progress, Curves]:
        """`model`, compiled, then has the weights of the best epoch; without validation items those of the last. With `start_loss`, of the
        validation items before the first epoch, it keeps its first weights where no epoch is better."""
        progress = Progress(start_loss=start_loss)
        best, curves = self._further(model, train, validation, progress, values(model), self.max_epochs, lambda epoch: None)
        if progress.start_loss is not None or progress.best_epoch:
            assign(model, best)
        return progress, curves

    def further(
        self, model: keras.Model, train: Numbers, validation: Numbers, state: HeadState, until: int, on_epoch: OnEpoch
    ) -> HeadState:
        """As `validated`, from where the state is, to the end of the epoch `until` or of the training; as if it had never stopped.

        model: as that of the state, compiled, with whatever weights. on_epoch: told the number of each epoch at its end.
        """
        progress = state.progress
        assign(model, state.weights)
        model.optimizer.go_on(model.trainable_variables, progress.steps, state.means, state.squares)
        best, _ = self._further(model, train, validation, progress, state.best, until, on_epoch)
        progress.steps = progress.epoch * self._steps(train)
        means, squares = model.optimizer.moments
        return HeadState(values(model), means, squares, best, progress)

    def _further(
        self, model: keras.Model, train: Numbers, validation: Numbers, progress: Progress, best: Arrays, until: int, on_epoch: OnEpoch
    ) -> tuple[Arrays, Curves]:
        """(the best weights, curves of these epochs)."""
        stopping = _Stopping(progress, self.patience, best, on_epoch)
        history = self._fit(model, train, progress.epoch)(
            epochs=until,
            validation_data=self.softening.of_validation(self.plain(validation)) if len(validation) else None,
            callbacks=[stopping],
        ).history
        best = stopping.best if len(validation) else values(model)
        return best, {name: [float(value) for value in found] for name, found in history.items()}

    def loss(self, model: keras.Model, numbers: Numbers) -> float:
        """What `validated` calls the validation loss."""
        return float(model.evaluate(self.softening.of_validation(self.plain(numbers)), verbose=0, return_dict=True)["loss"])

    def for_epochs(self, model: keras.Model, numbers: Numbers, epochs: int) -> None:
        self._fit(model, numbers)(epochs=epochs)

    def _fit(self, model: keras.Model, numbers: Numbers, done: int = 0) -> Callable[..., keras.callbacks.History]:
        """After so many epochs that are done."""
        steps = self._steps(numbers)
        batches = self.softening.of_training(self.shuffled(numbers, done), done * steps)
        # The dataset shuffles.
        return partial(model.fit, batches, initial_epoch=done, steps_per_epoch=steps, shuffle=False, verbose=0)

    def _steps(self, numbers: Numbers) -> int:
        return -(-len(numbers) // self.batch_size)


def values(model: keras.Model) -> Arrays:
    """Of all that training may change, the states of its random layers too."""
    return [np.array(variable.numpy()) for variable in _changing(model)]


def assign(model: keras.Model, arrays: Arrays) -> None:
    """Give a model the values of another that was built and frozen alike."""
    for variable, array in zip(_changing(model), arrays, strict=True):
        variable.assign(array)


def _changing(model: keras.Model) -> list[keras.Variable]:
    frozen = {id(variable) for layer in model._flatten_layers() if not layer.trainable for variable in layer.weights}
    return [variable for variable in model.variables if id(variable) not in frozen]


class _Stopping(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best weights by the validation loss and stops after `patience` epochs without better ones. Keras' EarlyStopping does so
    too, but begins anew with each call of `fit` (keras/src/callbacks/early_stopping.py, 3.15: on_train_begin)."""

    def __init__(self, progress: Progress, patience: int, best: Arrays, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.best, self._progress, self._patience, self._on_epoch = best, progress, patience, on_epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        better = self._progress.note(float(logs["loss"]), logs.get("val_loss"), self._patience)
        if better and "val_loss" in logs and self._progress.kept_epoch:
            self.best = values(self.model)
        self.model.stop_training = self._progress.done
        self._on_epoch(epoch + 1)
