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
from trainer.arrays import Array, Matrix, Numbers, Tensor
from trainer.exact_fits import FitData
from trainer.fitting import FirstFit
from trainer.map_pooling import MAP_POOLINGS
from trainer.rows import pooled, require_finite
from trainer.standardise import moments

TRIED = (1, 2, 5, 10, 20, 50, 100)  # k, where none is asked for
DEFAULT_K = 5
BLOCK_SCORES = 64 << 20  # scores of a batch against a block of the bank: 256 MiB of float32


@keras.saving.register_keras_serializable("permafrost")
class NearestNeighbours(keras.layers.Layer):  # type: ignore[misc]
    """x [N, D] to the share of the k nearest of M kept vectors that have each class [N, C]. Exact: all M are looked at, by products of
    blocks; in float32, whatever the kept ones are stored in. Equally near ones: the first.

    centred: what is compared is taken about a centre, as products of vectors far off zero are all but equal in float32. Heads that were
    kept before there was one have none, and answer as they did.
    """

    def __init__(
        self, kept: int, width: int, classes: int, k: int, metric: str, stored: str, centred: bool = False, **options: Any
    ) -> None:
        super().__init__(**{"trainable": False, **options})
        self.kept, self.width, self.classes, self.k, self.metric, self.stored = kept, width, classes, k, metric, stored
        self.centred = centred
        self.bank = self.add_weight(shape=(kept, width), dtype=stored, trainable=False, autocast=False, name="bank")
        self.has = self.add_weight(shape=(kept, classes), dtype="uint8", trainable=False, autocast=False, name="has")
        if centred:
            self.centre = self.add_weight(shape=(width,), dtype="float32", trainable=False, autocast=False, name="centre")
            self.handicaps = self.add_weight(shape=(kept,), dtype="float32", trainable=False, autocast=False, name="handicaps")
        self.built = True

    def keep(self, bank: Array, has: Array, centre: npt.NDArray[np.float32]) -> None:
        """Vectors [M, D], which of the classes each has [M, C] of 0 and 1, and what they are to be compared about [D]."""
        self.set_weights([bank, has, centre, np.zeros(self.kept, np.float32)])
        self.handicaps.assign(keras.ops.concatenate([self._handicaps(self._kept(rows)) for rows in self._blocks()]))

    def call(self, x: Tensor) -> Tensor:
        return keras.ops.mean(keras.ops.cast(keras.ops.take(self.has, self.nearest(x, self.k), axis=0), "float32"), axis=1)

    def nearest(self, x: Tensor, k: int) -> Tensor:
        """Numbers of the k nearest kept vectors [N, k], the nearest first."""
        x = self._compared(keras.ops.cast(x, "float32"))
        best, where = None, None
        for rows in self._blocks():
            block = self._compared(self._kept(rows))
            scores = keras.ops.matmul(x, keras.ops.transpose(block))
            if self.centred:
                scores = scores - self.handicaps[rows]
            elif self.metric == "euclid":
                scores = scores - keras.ops.sum(block * block, axis=1) / 2
            found, numbers = keras.ops.top_k(scores, min(k, block.shape[0]))
            numbers = numbers + rows.start
            if best is not None:
                found, numbers = keras.ops.concatenate([best, found], 1), keras.ops.concatenate([where, numbers], 1)
                found, chosen = keras.ops.top_k(found, min(k, found.shape[1]))
                numbers = keras.ops.take_along_axis(numbers, chosen, axis=1)
            best, where = found, numbers
        return where

    def _blocks(self) -> list[slice]:
        size = max(1, BLOCK_SCORES // BATCH)
        return [slice(start, min(start + size, self.kept)) for start in range(0, self.kept, size)]

    def _kept(self, rows: slice) -> Tensor:
        return keras.ops.cast(self.bank[rows], "float32")

    def _compared(self, x: Tensor) -> Tensor:
        """Of length 1 where only the angle counts: the order of angles is then that of distances."""
        if self.metric != "euclid":
            x = x / keras.ops.maximum(keras.ops.norm(x, axis=1, keepdims=True), 1e-30)
        return x - self.centre if self.centred else x

    def _handicaps(self, kept: Tensor) -> Tensor:
        """What is taken from the products with them [n], so that the largest are those of the nearest."""
        x = self._compared(kept)
        halves = keras.ops.sum(x * x, axis=1) / 2
        if self.metric == "euclid":
            return halves
        at_right_angles = keras.ops.all(kept == 0, axis=1)  # to all others, as it has length 0 and not 1
        return halves + keras.ops.cast(at_right_angles, "float32") / 2

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        names = ("kept", "width", "classes", "k", "metric", "stored", "centred")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


BATCH = 1024  # rows at a time, as heads predict


@dataclass(frozen=True)
class NeighboursFit:
    """k None: the one of most right validation items, of equal ones that of the least Brier score (which alone counts where an item has any
    number of classes).

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
        shares = [has[:, :k].mean(axis=1) for k in ks]
        wrong = [self._wrong(each, validation) for each in shares]
        _, _, k = min(zip(wrong, (self._brier(each, validation) for each in shares), ks, strict=True))
        return FirstFit(self._model(train, k), {"k": k}, path={"k": [float(each) for each in ks], "val_error": wrong})

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        return self._model(numbers, int(first.chosen["k"]))

    def _wrong(self, shares: npt.NDArray[np.float64], numbers: Numbers) -> float:
        if self.data.task.multi_label:
            return self._brier(shares, numbers)
        return float((shares.argmax(axis=1) != self.data.y[numbers]).mean())

    def _brier(self, shares: npt.NDArray[np.float64], numbers: Numbers) -> float:
        y = self.data.y[numbers]
        has = y.astype(np.float64) if self.data.task.multi_label else np.eye(len(self.data.classes))[y.astype(np.int64)]
        return float(((shares - has) ** 2).mean())

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
        metric = self.data.options.metric
        layer = NearestNeighbours(len(bank), bank.shape[1], has.shape[1], k, metric, str(bank.dtype), centred=True, name="probabilities")
        layer.keep(bank, has, _centre(bank, metric))
        return layer

    def _model(self, numbers: Numbers, k: int) -> keras.Model:
        layer = self._layer(numbers, k)
        inputs = keras.Input(self.data.rows.shape)
        kind = MAP_POOLINGS[self.data.pooling or "flatten"]
        return keras.Model(inputs, layer(kind.build(inputs, lambda x: x, keras.regularizers.L2(0.0))))


def _centre(bank: Array, metric: str) -> npt.NDArray[np.float32]:
    """The mean of what is compared, to the power of two below its spread: whole numbers stay so, and equal distances equal."""
    found = moments(bank, np.arange(len(bank)), _directions if metric != "euclid" else lambda x: x)
    spread = float(np.sqrt(found.variance.mean()))
    step = 2.0 ** np.floor(np.log2(spread)) if spread else 1.0
    return np.asarray(np.round(found.mean / step) * step, np.float32)


def _directions(x: Matrix) -> Matrix:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30))
