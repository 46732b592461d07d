"""The k nearest training items: a head that is its training features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from storage.errors import UsageError
from trainer.arrays import Numbers, Tensor
from trainer.exact_fits import FitData
from trainer.fitting import FirstFit
from trainer.map_pooling import MAP_POOLINGS
from trainer.rows import pooled, require_finite

TRIED = (1, 2, 5, 10, 20, 50, 100)  # k, where none is asked for
DEFAULT_K = 5
BLOCK_SCORES = 64 << 20  # scores of a batch against a block of the bank: 256 MiB of float32


@keras.saving.register_keras_serializable("permafrost")
class NearestNeighbours(keras.layers.Layer):  # type: ignore[misc]
    """x [N, D] to the share of the k nearest of M kept vectors that have each class [N, C]. Exact: all M are looked at, by products of
    blocks; in float32, whatever the kept ones are stored in. Equally near ones: the first.
    """

    def __init__(self, kept: int, width: int, classes: int, k: int, metric: str, stored: str, **options: Any) -> None:
        super().__init__(**{"trainable": False, **options})
        self.kept, self.width, self.classes, self.k, self.metric, self.stored = kept, width, classes, k, metric, stored
        self.bank = self.add_weight(shape=(kept, width), dtype=stored, trainable=False, autocast=False, name="bank")
        self.has = self.add_weight(shape=(kept, classes), dtype="uint8", trainable=False, autocast=False, name="has")
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        return keras.ops.mean(keras.ops.cast(keras.ops.take(self.has, self.nearest(x, self.k), axis=0), "float32"), axis=1)

    def nearest(self, x: Tensor, k: int) -> Tensor:
        """Numbers of the k nearest kept vectors [N, k], the nearest first."""
        x = self._prepared(keras.ops.cast(x, "float32"))
        best, where = None, None
        size = max(1, BLOCK_SCORES // BATCH)
        for start in range(0, self.kept, size):
            block = self._prepared(keras.ops.cast(self.bank[start : start + size], "float32"))
            scores = keras.ops.matmul(x, keras.ops.transpose(block))
            if self.metric == "euclid":
                scores = scores - keras.ops.sum(block * block, axis=1) / 2
            found, numbers = keras.ops.top_k(scores, min(k, block.shape[0]))
            numbers = numbers + start
            if best is not None:
                found, numbers = keras.ops.concatenate([best, found], 1), keras.ops.concatenate([where, numbers], 1)
                found, chosen = keras.ops.top_k(found, min(k, found.shape[1]))
                numbers = keras.ops.take_along_axis(numbers, chosen, axis=1)
            best, where = found, numbers
        return where

    def _prepared(self, x: Tensor) -> Tensor:
        """Of length 1, where only the angle counts."""
        return x if self.metric == "euclid" else x / keras.ops.maximum(keras.ops.norm(x, axis=1, keepdims=True), 1e-30)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        names = ("kept", "width", "classes", "k", "metric", "stored")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


BATCH = 1024  # rows at a time, as heads predict


@dataclass(frozen=True)
class NeighboursFit:
    """k None: the one of most right validation items (of least Brier score where an item has any number of classes).

    Features as they are, not standardised."""

    data: FitData

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        options = self.data.options
        if options.k and options.k > len(train):
            raise UsageError(f"k must be at most the number of training items, {len(train)}; got {options.k}")
        ks = [options.k] if options.k else [k for k in TRIED if k <= len(train)] if len(validation) else [min(DEFAULT_K, len(train))]
        if len(ks) == 1:
            return FirstFit(self._model(train, ks[0]), {"k": ks[0]})
        layer = self._layer(train, max(ks))
        nearest = [layer.nearest(x, max(ks)).numpy() for x in self._vectors(validation)]
        has = layer.has.numpy()[np.concatenate(nearest)]
        wrong = [self._wrong(has[:, :k].mean(axis=1), validation) for k in ks]
        k = ks[int(np.argmin(wrong))]
        return FirstFit(self._model(train, k), {"k": k}, path={"k": [float(each) for each in ks], "val_error": wrong})

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        return self._model(numbers, int(first.chosen["k"]))

    def _wrong(self, shares: npt.NDArray[np.float64], numbers: Numbers) -> float:
        y = self.data.y[numbers]
        if self.data.task.multi_label:
            return float(((shares - y.astype(np.float64)) ** 2).mean())
        return float((shares.argmax(axis=1) != y).mean())

    def _vectors(self, numbers: Numbers) -> list[Tensor]:
        parts = self.data.rows.blocks(numbers)
        return [
            tf.cast(pooled(tf.constant(block[start : start + BATCH, 0]), self.data.pooling), tf.float32)
            for _, block in parts
            for start in range(0, len(block), BATCH)
        ]

    def _layer(self, numbers: Numbers, k: int) -> NearestNeighbours:
        """The views of an item are neighbours of their own."""
        rows, y = self.data.rows, self.data.y
        order, parts = [], []
        for part, block in rows.blocks(numbers, every_view=True):
            order.append(np.repeat(part, rows.views))
            parts.append(pooled(tf.constant(block.reshape(-1, *rows.shape)), self.data.pooling).numpy())
        bank = np.concatenate(parts)
        if not np.isfinite(bank).all():
            require_finite(rows, numbers)
        codes = y[np.concatenate(order)]
        has = codes if self.data.task.multi_label else np.eye(len(self.data.classes), dtype=np.uint8)[codes.astype(np.int64)]
        layer = NearestNeighbours(
            len(bank), bank.shape[1], has.shape[1], k, self.data.options.metric, str(bank.dtype), name="probabilities"
        )
        layer.set_weights([bank, has])
        return layer

    def _model(self, numbers: Numbers, k: int) -> keras.Model:
        layer = self._layer(numbers, k)
        inputs = keras.Input(self.data.rows.shape)
        kind = MAP_POOLINGS[self.data.pooling or "flatten"]
        return keras.Model(inputs, layer(kind.build(inputs, lambda x: x, keras.regularizers.L2(0.0))))
