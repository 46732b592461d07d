"""Steps over batches: until the validation loss stops falling, or for so many epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers, Tensor
from trainer.fitting import Curves
from trainer.head_progress import HeadState, Progress
from trainer.head_stack import Arrays
from trainer.softening import Softening

Stream = Callable[[Numbers], tf.data.Dataset]
OnEpoch = Callable[[int], None]
Step = Callable[[Tensor, Tensor], Tensor]  # of a batch (x, y): see `_told`
Logs = dict[str, float]  # by Keras' names of metrics


@dataclass(frozen=True)
class Training:
    """shuffled: batches (x, y) of items without end, in a new order each epoch, from an epoch on; plain: of them once, in order. metrics:
    what curves show beside the loss, by names of METRICS.

    Models are from features to logits, compiled with an optimizer and a loss, as `PlainlyValidated`. The steps are those of `model.fit` on
    a CPU, to the same bits, without Keras' metrics, which were a third of what a step takes to trace, and its AutoGraph: a linear head on
    a few thousand images took 2.7 times as long (docs/benchmarks.md). On a GPU Keras would compile by XLA, too.
    """

    shuffled: Callable[[Numbers, int], tf.data.Dataset]
    plain: Stream
    batch_size: int
    max_epochs: int
    patience: int
    softening: Softening
    metrics: Sequence[str]

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
        return self._over(self._judging(model), data)()["loss"]

    def for_epochs(self, model: keras.Model, numbers: Numbers, epochs: int) -> None:
        for _ in self._epochs(model, numbers, numbers[:0], range(epochs)):
            pass

    def _epochs(self, model: keras.Model, train: Numbers, validation: Numbers, epochs: range) -> Iterator[Logs]:
        """What Keras calls the logs of each of these epochs, once it is over."""
        steps = self._steps(train)
        batches = self.softening.of_training(self.shuffled(train, epochs.start), epochs.start * steps)
        asked = self.softening.of_validation(self.plain(validation)) if len(validation) else None
        model.optimizer.build(model.trainable_variables)  # a graph that makes variables is traced again without
        trained = self._over(self._training(model), batches, steps)
        validated = self._over(self._judging(model), asked) if asked else dict
        for _ in epochs:
            yield {**trained(), **{f"val_{name}": value for name, value in validated().items()}}

    def _steps(self, numbers: Numbers) -> int:
        return -(-len(numbers) // self.batch_size)

    def _training(self, model: keras.Model) -> Step:
        def step(x: Tensor, y: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                logits = model(x, training=True)
                loss = model.compute_loss(x, y, logits, training=True)
            variables = model.trainable_variables
            model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return self._told(loss, y, logits)

        return step

    def _judging(self, model: keras.Model) -> Step:
        def step(x: Tensor, y: Tensor) -> Tensor:
            logits = model(x, training=False)
            return self._told(model.compute_loss(x, y, logits, training=False), y, logits)

        return step

    def _told(self, loss: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Of a batch, float64: its items, and the sums over them of the loss and of each metric."""
        items = tf.cast(tf.shape(logits)[0], tf.float64)
        sums = [tf.reduce_sum(tf.cast(METRICS[name](y, logits), tf.float64)) for name in self.metrics]
        return tf.stack([items, items * tf.cast(loss, tf.float64), *sums])

    def _over(self, step: Step, data: tf.data.Dataset, steps: int | None = None) -> Callable[[], Logs]:
        """A step over so many further batches at each call (None: all of `data`); gives the means over their items."""
        count = int(data.cardinality()) if steps is None else steps
        batches = iter(data.repeat() if steps is None else data)
        compiled = tf.function(lambda batches: step(*next(batches)), autograph=False)

        def go_over() -> Logs:
            items, *sums = np.sum([compiled(batches).numpy() for _ in range(count)], axis=0)
            return {name: float(total / items) for name, total in sorted(zip(("loss", *self.metrics), sums, strict=True))}

        return go_over


def _right(y: Tensor, logits: Tensor) -> Tensor:
    """Whether the most probable class of each item is its own; of shares of all classes, that of the largest."""
    return tf.equal(tf.argmax(logits, 1), tf.argmax(y, 1) if y.shape.rank > 1 else tf.cast(y, tf.int64))


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"accuracy": _right}


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
