"""Standardised training rows in float32, and the two products with them that every linear fit is made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.arrays import Matrix, Numbers, Tensor
from trainer.rows import LARGEST, Rows, require_finite, vectors
from trainer.standardise import Moments, spread

CACHED_BYTES = 4 << 30  # 4 GiB of float32 rows stay in memory; more are read, cast and standardised anew in each pass


class Design:
    """N rows X [N, D] of the items `order`, V rows each (every view of an item), in the order of the source.

    Raises UsageError for features that are no numbers.
    """

    def __init__(self, rows: Rows, numbers: Numbers, pooling: str = "", cached_bytes: int = CACHED_BYTES) -> None:
        self._rows, self._numbers, self._pooling = rows, numbers, pooling
        self.views = rows.views
        parts: list[Numbers] = []
        self.moments = self._moments(parts)
        self.order = np.concatenate(parts)
        self.count, self.width = len(self.order) * self.views, len(self.moments.mean)
        self._mean = tf.constant(self.moments.mean, tf.float32)
        self._scale = tf.constant(1 / spread(self.moments), tf.float32)
        self._kept = list(self._made()) if 4 * self.count * self.width <= cached_bytes else None

    def _moments(self, parts: list[Numbers]) -> Moments:
        """Of all rows in one pass: those of each block, put together without cancellation (Chan, Golub and LeVeque 1983)."""
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for part, block in vectors(self._rows, self._numbers, self._pooling, every_view=True):
            parts.append(part)
            # In float32, about a mean that is nearly theirs; what that misses is added. In float64 this took twice as long, two steps of a
            # fit of 100 classes.
            near = tf.reduce_mean(block, 0)
            x = block - near
            missed = tf.cast(tf.reduce_mean(x, 0), tf.float64).numpy()
            own = near.numpy().astype(np.float64) + missed
            own_squares = np.maximum(tf.cast(tf.reduce_sum(tf.square(x), 0), tf.float64).numpy() - len(block) * missed**2, 0)
            off, total = own - mean, count + len(block)
            squares = squares + own_squares + off**2 * (count * len(block) / total)
            mean, count = mean + off * (len(block) / total), total
        if not squares.max(initial=0) <= count * LARGEST**2:
            require_finite(self._rows, self._numbers)
        return Moments(mean, squares / count)

    def _made(self) -> Iterator[Tensor]:
        for _, block in vectors(self._rows, self._numbers, self._pooling, every_view=True):
            yield (block - self._mean) * self._scale

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """(which rows, X of them [m, D]) in order."""
        start = 0
        for block in self._kept if self._kept is not None else self._made():
            yield slice(start, start + len(block)), block
            start += len(block)

    def times(self, kernel: Matrix) -> Tensor:
        """X kernel [N, K] in float32, of a kernel [D, K]."""
        k = tf.constant(kernel, tf.float32)
        return tf.concat([tf.matmul(block, k) for _, block in self.blocks()], 0)

    def transposed_times(self, values: Tensor) -> Matrix:
        """X^T values [D, K], of values [N, K] float32. Products in float32 within a block, their sum in float64.

        As the transpose of values^T X, which takes 0.57 to 0.64 of the time of X^T values (10 to 100 classes, TensorFlow 2.21).
        """
        out = np.zeros((values.shape[1], self.width))
        for rows, block in self.blocks():
            of_block = values if len(block) == self.count else values[rows]  # a slice takes a third of the product of a small fit
            out += tf.matmul(of_block, block, transpose_a=True).numpy()
        return out.T

    def sample(self, count: int, weights: npt.NDArray[np.float32], seed: int = 0) -> Tensor:
        """`count` rows drawn without replacement (all, if there are no more), each times the root of its weight: [n, D]."""
        chosen = np.sort(np.random.default_rng(seed).permutation(self.count)[:count])
        parts = []
        for rows, block in self.blocks():
            mine = chosen[np.searchsorted(chosen, rows.start) : np.searchsorted(chosen, rows.stop)]
            parts.append(tf.gather(block, mine - rows.start) * tf.constant(np.sqrt(weights[mine, None])))
        return tf.concat(parts, 0)

    def of_items(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """values [L, ...] by item, as one a row [N, ...]."""
        return np.repeat(values[self.order], self.views, axis=0)
