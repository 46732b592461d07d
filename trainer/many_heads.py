"""Many linear and MLP heads trained in one pass over the data: each step reads a batch once, for all of them.

A head gets what it would get alone with the same batches: its own learning rate, L2, class weights, share of the rows, and early stopping
by its own validation loss with the best weights kept. Heads that are done leave the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.head_progress import HeadState
from trainer.head_stack import Architecture, Arrays, HeadSpec, by_head, compiled, correction, kept, of_head, stack
from trainer.task import Targets

LEAST_LEAVING = 1 / 4  # share of a stack that is done before it is copied without them: a copy costs about as much as a step

Table = npt.NDArray[np.float32]
Batch = tuple[Any, Any, Any]  # vectors [n, D], targets [n, ...], rows of the table of who trains or validates [n, S]
# (positions, epochs): batches (x [n, *shape], positions [n]), shuffled, of each of these epochs; None: once, in the given order.
Stream = Callable[[npt.NDArray[np.int64], range | None], tf.data.Dataset]


@dataclass(frozen=True)
class TrainingData:
    """L items: targets y [L, ...]; who trains and who validates, as tables [L, S] of 0 and 1 in which each head has a column.

    `frontend` makes the features of a batch [n, *shape] the standardised vectors [n, D] that heads read. `seed`: of dropped units.
    """

    y: Targets
    training: Table
    validation: Table
    stream: Stream
    frontend: Callable[[Any], Any]
    seed: int = 0

    def training_batches(self, epochs: range) -> Iterator[Iterator[Batch]]:
        """The batches of each epoch."""
        found = self.stream(members(self.training), epochs)
        batches = self._batches(found, self.training)
        return (islice(batches, int(found.cardinality()) // len(epochs)) for _ in epochs)

    def validation_batches(self) -> Callable[[], Iterator[Batch]]:
        """What goes through the batches once at each call."""
        found = self.stream(members(self.validation), None) if self.validation.any() else ()
        return lambda: self._batches(found, self.validation)

    def _batches(self, found: Iterable[tuple[Any, Any]], table: Table) -> Iterator[Batch]:
        y, who = tf.constant(self.y), tf.constant(table)
        return ((self.frontend(x), tf.gather(y, positions), tf.gather(who, positions)) for x, positions in found)


def members(table: Table) -> npt.NDArray[np.int64]:
    """The items that some column of a table [L, S] names."""
    return np.flatnonzero(table.any(axis=1))


class Stack:
    """Heads of one architecture that have come equally far, at work. What their states hold is brought up to date when they leave."""

    def __init__(self, architecture: Architecture, specs: Sequence[HeadSpec], states: Sequence[HeadState]) -> None:
        self._specs, self._states = list(specs), list(states)
        self.epoch, self._steps = states[0].progress.epoch, states[0].progress.steps
        self._architecture, self._functions = architecture, compiled(architecture)
        self._training = [stack([getattr(state, part) for state in states]) for part in ("weights", "means", "squares")]
        self._best = stack([state.best for state in states])
        self._losses: list[Any] = []
        self._sums: list[Any] = []
        self._set()

    def _set(self) -> None:
        columns = {"rate": "learning_rate", "l2": "l2", "dropout": "dropout", "class_weights": "class_weights"}
        self._columns = [spec.column for spec in self._specs]
        self._setting = {
            name: tf.constant(np.array([getattr(spec, source) for spec in self._specs], np.float32)) for name, source in columns.items()
        }

    @property
    def busy(self) -> bool:
        return not all(state.progress.done for state in self._states)

    def step(self, x: Any, y: Any, training: Any, seed: int) -> None:
        self._steps += 1
        weights = tf.gather(training, self._columns, axis=1)
        key, scale = tf.constant((seed, self._steps), tf.int64), tf.constant(correction(self._steps))
        self._training, losses = self._functions.step(self._training, x, y, weights, self._setting, key, scale)
        self._losses.append(losses)

    def validate(self, x: Any, y: Any, validation: Any) -> None:
        weights = tf.gather(validation, self._columns, axis=1)
        self._sums.append(self._functions.losses(self._training[0], x, y, weights, self._setting))

    def settle(self, patience: int) -> None:
        """End an epoch: keep the weights of heads that got better, retire those that have not for `patience` epochs."""
        penalty = self._architecture.penalty(self._training[0], self._setting["l2"]).numpy()
        losses, validation = np.mean(self._losses, axis=0) + penalty, self._validation_losses()
        better = [
            not state.progress.done
            and state.progress.note(float(losses[i]), None if validation is None else float(validation[i]), patience)
            for i, state in enumerate(self._states)
        ]
        pairs = zip(self._training[0], self._best, strict=True)
        self._best = [tf.where(by_head(better, new, i), new, old) for i, (new, old) in enumerate(pairs)]
        self._losses, self._sums, self.epoch = [], [], self.epoch + 1
        leaving = [i for i, state in enumerate(self._states) if state.progress.done]
        if leaving and self.busy and len(leaving) >= LEAST_LEAVING * len(self._states):
            self._leave(leaving)

    def _validation_losses(self) -> npt.NDArray[np.float32] | None:
        """The mean over the validation rows, without the penalty (`trainer.plain_validation`). None where there are no such rows."""
        if not self._sums:
            return None
        losses, weights = (tf.add_n(column).numpy() for column in zip(*self._sums, strict=True))
        return np.asarray(losses / np.maximum(weights, 1))

    def _leave(self, leaving: list[int]) -> None:
        self._write(leaving)
        staying = [i for i in range(len(self._states)) if i not in leaving]
        self._specs, self._states = [self._specs[i] for i in staying], [self._states[i] for i in staying]
        self._training, self._best = [kept(part, staying) for part in self._training], kept(self._best, staying)
        self._set()

    def _write(self, heads: list[int]) -> None:
        parts = [[tensor.numpy() for tensor in kept(part, heads)] for part in (*self._training, self._best)]
        for place, head in enumerate(heads):
            state = self._states[head]
            state.weights, state.means, state.squares, state.best = (of_head(part, place) for part in parts)
            state.progress.steps = self._steps

    def close(self) -> None:
        """Bring the states of all heads that are still here up to date."""
        self._write(list(range(len(self._states))))


def train(data: TrainingData, stacks: Sequence[Stack], until: int, patience: int, on_epoch: Callable[[int], None]) -> None:
    """Train stacks that have come equally far, in one pass an epoch, up to the epoch `until` or until every head is done.

    on_epoch: told the number of each epoch at its end.
    """
    epochs = range(stacks[0].epoch, until)
    validation_batches = data.validation_batches()
    for epoch, batches in zip(epochs, data.training_batches(epochs), strict=True):
        busy = [one for one in stacks if one.busy]
        if not busy:
            break
        for x, y, training in batches:
            for one in busy:
                one.step(x, y, training, data.seed)
        for x, y, validation in validation_batches():
            for one in busy:
                one.validate(x, y, validation)
        for one in busy:
            one.settle(patience)
        on_epoch(epoch + 1)
    for one in stacks:
        one.close()


def probabilities(data: TrainingData, architecture: Architecture, heads: Sequence[Arrays]) -> tuple[npt.NDArray[np.int64], Table]:
    """Of the items that validate in some column: their positions [n] and what each head says [n, H, C]."""
    logits, stacked = compiled(architecture).logits, stack(heads)
    activation = tf.nn.sigmoid if architecture.multi_label else tf.nn.softmax
    parts = [activation(logits(stacked, x)).numpy() for x, _, _ in data.validation_batches()()]
    return members(data.validation), np.concatenate(parts)
