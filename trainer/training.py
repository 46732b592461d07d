"""Steps over batches: until the validation loss stops falling, or for so many epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
Logs = dict[str, float]  # by Keras' names of metrics


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
        curves: Curves = {}
        for numbers in self._epochs(model, train, validation, range(progress.epoch, until)):
            for name, value in numbers.items():
                curves.setdefault(name, []).append(value)
            better = progress.note(numbers["loss"], numbers.get("val_loss"), self.patience)
            if better and len(validation) and progress.kept_epoch:
                best = values(model)
            on_epoch(progress.epoch)
            if progress.done:
                break
        return best if len(validation) else values(model), curves

    def loss(self, model: keras.Model, numbers: Numbers) -> float:
        """What `validated` calls the validation loss."""
        data = self.softening.of_validation(self.plain(numbers))
        return _over(model, model.test_step, data)()["loss"]

    def for_epochs(self, model: keras.Model, numbers: Numbers, epochs: int) -> None:
        for _ in self._epochs(model, numbers, numbers[:0], range(epochs)):
            pass

    def _epochs(self, model: keras.Model, train: Numbers, validation: Numbers, epochs: range) -> Iterator[Logs]:
        """What Keras calls the logs of each of these epochs, once it is over."""
        steps = self._steps(train)
        batches = self.softening.of_training(self.shuffled(train, epochs.start), epochs.start * steps)
        asked = self.softening.of_validation(self.plain(validation)) if len(validation) else None
        _build(model, batches)
        trained = _over(model, model.train_step, batches, steps)
        validated = _over(model, model.test_step, asked) if asked else dict
        for _ in epochs:
            yield {**trained(), **{f"val_{name}": value for name, value in validated().items()}}

    def _steps(self, numbers: Numbers) -> int:
        return -(-len(numbers) // self.batch_size)


def _over(model: keras.Model, step: Callable[[Any], Any], data: tf.data.Dataset, steps: int | None = None) -> Callable[[], Logs]:
    """One of Keras' steps, over so many further batches at each call (None: all of `data`); gives the metrics of that call.

    On a CPU `model.fit` takes the same steps to the same bits, in 2.7 times the time for a linear head on a few thousand images: it opens
    the validation data anew in each epoch, and converts its loops by AutoGraph (docs/benchmarks.md). On a GPU it would compile by XLA, too.
    """
    count = int(data.cardinality()) if steps is None else steps
    batches = iter(data.repeat() if steps is None else data)
    compiled = tf.function(lambda batch: step(next(batch)), autograph=False)

    def go_over() -> Logs:
        model.reset_metrics()
        for _ in range(count):
            compiled(batches)
        return {name: float(value) for name, value in sorted(model.get_metrics_result().items())}

    return go_over


def _build(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Make the variables of optimizer and metrics beforehand, as `model.fit` does: a graph that makes some is traced again without."""
    model._symbolic_build(data_batch=tuple(tf.zeros((1, *part.shape[1:]), part.dtype) for part in batches.element_spec))


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
