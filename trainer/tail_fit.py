"""Fitting a hybrid head: the head alone on what the untrained tail gives, then the tail and the head together.

That order is that of Kumar et al., "Fine-Tuning can Distort Pretrained Features" (ICLR 2022): the gradients of a head that knows nothing
would spoil the tail first. The head's part takes a pass over the features and seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from storage.errors import UsageError
from trainer.adam_by_part import adam
from trainer.arrays import Numbers
from trainer.exact_fits import FitData
from trainer.features import READERS, LabelledFeatures
from trainer.fitting import FirstFit
from trainer.heads import with_activation
from trainer.input_pipeline import batches_of, stream
from trainer.memory import default_batch, require_room
from trainer.plain_validation import PlainlyValidated
from trainer.room import aligned_room
from trainer.rows import StoredRows
from trainer.shuffle_plan import ShufflePlan
from trainer.solver import Solver, softening_of
from trainer.streaming import Streamed
from trainer.tails import Tail
from trainer.training import Training

POOLINGS = {"avg": keras.layers.GlobalAveragePooling1D, "max": keras.layers.GlobalMaxPooling1D}  # in which nothing is learned
ALONE = "head_epochs"
WAY_OUT = "a cut nearer to the network's end"  # beside a smaller batch


@dataclass(frozen=True, eq=False)
class TailFit:
    """`data.options` are those `tail.options`. Features of `labelled` may be none: those of `data.rows` are then read from the store.

    known_ends: the `ends` of another fit on the same items with the same pooling.
    """

    labelled: LabelledFeatures
    data: FitData
    tail: Tail
    known_ends: Any = None

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        """As of other heads. Where no epoch makes the validation loss less than it is at the start, the head on the untrained tail is kept,
        and `epochs` is 0; so it is where no layer of the tail is to train."""
        self.require_room()
        alone = self.head.with_validation(train, validation)
        model = self.compiled(_logits(alone.model), train)
        if self.is_frozen:
            return FirstFit(self.kept(model), {"epochs": 0, ALONE: alone.chosen["epochs"]}, alone.curves)
        with self.in_memory():
            start_loss = self.training.loss(model, validation) if len(validation) else None
            progress, curves = self.training.validated(model, train, validation, start_loss)
        return FirstFit(self.kept(model), {"epochs": progress.kept_epoch, ALONE: alone.chosen["epochs"]}, curves)

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        alone = self.head.refit(numbers, FirstFit(None, {"epochs": first.chosen[ALONE]}))
        model = self.compiled(_logits(alone), numbers)
        if first.chosen["epochs"]:
            with self.in_memory():
                self.training.for_epochs(model, numbers, int(first.chosen["epochs"]))
        return self.kept(model)

    @property
    def is_frozen(self) -> bool:
        """Whether the head alone is trained."""
        return self.data.options.train_last == 0

    def require_room(self) -> None:
        """Raise UsageError where a batch does not fit in memory."""
        require_room(self.tail.fresh(), self._batch_size, WAY_OUT)

    @cached_property
    def head(self) -> Solver:
        """Of the head alone, on the features at the network's end."""
        options = self.data.options
        pooled = replace(options, map="" if options.map in POOLINGS else options.map, batch_size=None)
        return Solver(replace(self.labelled, features=self.ends), self.data.task, pooled)

    @cached_property
    def ends(self) -> Any:
        """[L * V, *end] float32: what the untrained tail gives, pooled if nothing is learned in that."""
        return self._ends() if self.known_ends is None else self.known_ends

    def _ends(self) -> Any:
        rows, views, model = self.data.rows, self.labelled.views, self._pooled(self.tail.fresh())
        out = aligned_room((len(self.labelled.y), views, *model.output_shape[1:]), "float32")
        size = max(1, self._batch_size // views)
        with self.in_memory():
            for part, block in rows.blocks(np.arange(len(out)), every_view=True):
                for start in range(0, len(part), size):
                    x = np.ascontiguousarray(block[start : start + size]).reshape(-1, *rows.shape)
                    out[part[start : start + size]] = model.predict_on_batch(x.astype(np.float32)).reshape(-1, *out.shape[1:])
        return out.reshape(-1, *out.shape[2:])

    def _pooled(self, tail: keras.Model) -> keras.Model:
        inputs = keras.Input(self.tail.shape)
        x = tail(inputs)
        pooling = POOLINGS.get(self.data.options.map)
        return keras.Model(inputs, pooling()(keras.layers.Reshape((-1, x.shape[-1]))(x)) if pooling else x)

    def compiled(self, logits: keras.Model, numbers: Numbers) -> keras.Model:
        """A new tail with its first weights, and a head (which becomes a part of it) from the network's end to logits."""
        options = self.data.options
        tail = self.tail.fresh(options.train_batch_norm, options.train_last)
        pooled = self._pooled(tail)
        head = keras.Model(logits.inputs, logits.outputs[0], name="head")
        model = PlainlyValidated(pooled.input, head(pooled.output))
        assert options.learning_rate is not None
        slow, slow_rate = tail.trainable_variables, options.tail_learning_rate or 0.0
        rates = adam(model, options.learning_rate, options.weight_decay, slow, slow_rate)
        weights = self.data.class_weights(numbers)
        model.compile(rates, self.data.task.loss(weights))
        return model

    def kept(self, model: keras.Model) -> keras.Model:
        """As it is kept, from features to probabilities."""
        return with_activation(model, self.data.task.activation())

    @property
    def training(self) -> Training:
        options = self.data.options
        softening = softening_of(options, len(self.data.classes))
        return Training(
            lambda numbers, first_epoch: self._batches(numbers, options.seed, None, first_epoch),
            lambda numbers: self._batches(numbers, None, 1),
            self._batch_size,
            options.max_epochs,
            options.patience,
            softening,
            self.data.task.metrics,
        )

    @cached_property
    def _batch_size(self) -> int:
        """Of all items at most: no batch can be larger, whatever is asked for."""
        return min(self.data.options.batch_size or default_batch(self.tail.fresh()), len(self.labelled.y))

    def _batches(self, numbers: Numbers, seed: int | None, epochs: int | None, first_epoch: int = 0) -> tf.data.Dataset:
        rows, views, y = self.data.rows, self.labelled.views, self.data.y
        if not isinstance(rows, StoredRows):
            return batches_of(self.labelled.features, y, numbers, self._batch_size, seed, epochs, views, first_epoch)
        plan = ShufflePlan.of(len(numbers), rows.feature_set.embedding_bytes, seed)
        reader = rows.feature_set.row_reader(rows.positions[numbers], READERS)
        return stream(Streamed(reader, plan, self._batch_size, views), y[numbers], plan, self._batch_size, epochs, first_epoch)

    @contextmanager
    def in_memory(self) -> Iterator[None]:
        """What TensorFlow has no memory for is said in words."""
        try:
            yield
        except tf.errors.ResourceExhaustedError:
            raise UsageError(f"a batch of {self._batch_size} does not fit in memory. Choose a smaller --batch-size, or {WAY_OUT}") from None


def _logits(head: keras.Model | None) -> keras.Model:
    """A fitted head without its activation."""
    assert head is not None
    return keras.Model(head.inputs, head.layers[-1].input)
