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
    """`data.options` are those `tail.options`. Features of `labelled` may be none: those of `data.rows` are then read from the store."""

    labelled: LabelledFeatures
    data: FitData
    tail: Tail

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        """As of other heads. Where no epoch makes the validation loss less than it is at the start, the head on the untrained tail is kept,
        and `epochs` is 0."""
        require_room(self.tail.fresh(), self._batch_size, WAY_OUT)
        alone = self._head.with_validation(train, validation)
        model, training = self._compiled(alone.model, train), self._training
        with self._in_memory():
            start = model.get_weights()
            least = training.loss(model, validation) if len(validation) else None
            epochs, curves = training.validated(model, train, validation)
        if least is not None and min(curves["val_loss"]) >= least:
            model.set_weights(start)
            epochs = 0
        return FirstFit(self._kept(model), {"epochs": epochs, ALONE: alone.chosen["epochs"]}, curves)

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        alone = self._head.refit(numbers, FirstFit(None, {"epochs": first.chosen[ALONE]}))
        model = self._compiled(alone, numbers)
        if first.chosen["epochs"]:
            with self._in_memory():
                self._training.for_epochs(model, numbers, int(first.chosen["epochs"]))
        return self._kept(model)

    @cached_property
    def _head(self) -> Solver:
        """Of the head alone, on the features at the network's end."""
        options = self.data.options
        pooled = replace(options, map="" if options.map in POOLINGS else options.map, batch_size=None)
        return Solver(replace(self.labelled, features=self._ends()), self.data.task, pooled)

    def _ends(self) -> Any:
        """[L * V, *end] float32, pooled if nothing is learned in that."""
        rows, views, model = self.data.rows, self.labelled.views, self._pooled(self.tail.fresh())
        out = aligned_room((len(self.labelled.y), views, *model.output_shape[1:]), "float32")
        size = max(1, self._batch_size // views)
        with self._in_memory():
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

    def _compiled(self, alone: keras.Model | None, numbers: Numbers) -> keras.Model:
        """A new tail with its first weights, and a fitted head without its activation."""
        assert alone is not None
        options = self.data.options
        tail = self.tail.fresh(options.train_batch_norm)
        pooled = self._pooled(tail)
        head = keras.Model(alone.inputs, alone.layers[-1].input, name="head")
        model = keras.Model(pooled.input, head(pooled.output))
        assert options.learning_rate is not None
        assert options.tail_learning_rate is not None
        rates = adam(model, options.learning_rate, options.weight_decay, tail.trainable_variables, options.tail_learning_rate)
        weights = self.data.class_weights(numbers)
        model.compile(rates, self.data.task.loss(weights), metrics=self.data.task.metrics)
        return model

    def _kept(self, model: keras.Model) -> keras.Model:
        return with_activation(model, self.data.task.activation())

    @property
    def _training(self) -> Training:
        options = self.data.options
        softening = softening_of(options, len(self.data.classes))
        seed = options.seed
        return Training(
            lambda numbers: self._batches(numbers, seed, None),
            lambda numbers: self._batches(numbers, None, 1),
            self._batch_size,
            options.max_epochs,
            options.patience,
            softening,
        )

    @cached_property
    def _batch_size(self) -> int:
        return self.data.options.batch_size or default_batch(self.tail.fresh())

    def _batches(self, numbers: Numbers, seed: int | None, epochs: int | None) -> tf.data.Dataset:
        rows, views, y = self.data.rows, self.labelled.views, self.data.y
        if not isinstance(rows, StoredRows):
            return batches_of(self.labelled.features, y, numbers, self._batch_size, seed, epochs, views)
        plan = ShufflePlan.of(len(numbers), rows.feature_set.embedding_bytes, seed)
        reader = rows.feature_set.row_reader(rows.positions[numbers], READERS)
        return stream(Streamed(reader, plan, self._batch_size, views), y[numbers], plan, self._batch_size, epochs)

    @contextmanager
    def _in_memory(self) -> Iterator[None]:
        """What TensorFlow has no memory for is said in words."""
        try:
            yield
        except tf.errors.ResourceExhaustedError:
            raise UsageError(f"a batch of {self._batch_size} does not fit in memory. Choose a smaller --batch-size, or {WAY_OUT}") from None
