"""Features and labels as tf.data: whole batches gathered from memory, shuffled by (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

BATCH_SIZE = 256
BATCH_BYTES = 16 << 20  # 16 MiB of float32 features: fewer rows a batch where maps are large


def rows_per_batch(shape: Sequence[int], limit: int = BATCH_SIZE) -> int:
    """Rows of float32 features `shape` that fit a batch of BATCH_BYTES, from 1 to `limit`."""
    return max(1, min(limit, BATCH_BYTES // (4 * int(np.prod(shape)))))


def load(
    features: npt.NDArray[np.generic],
    y: npt.NDArray[np.generic],
    positions: Sequence[int],
    batch_size: int = BATCH_SIZE,
    seed: int | None = None,
    epochs: int | None = 1,
    views: int = 1,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches (float32 [n, *shape], y [n, ...]) of the chosen positions, `epochs` times over (None: without end) from `first_epoch` on.

    features: [N * views, *shape], the views of an item together; y: [N, ...].

    seed: None keeps the given order and takes view 0; else the order of epoch e and the view of each item in it are drawn by (seed, e)
    alone, so that equal calls give equal streams. Rows are gathered a batch at a time out of NumPy's memory: tf.constant would copy all
    of it, and a Python call a row would cost more than the training step.
    """
    order = tf.constant(np.asarray(positions, np.int64))

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        rows = order * views
        if seed is not None and views > 1:
            # Another seed than the shuffle's: the same bits would tie an item's view to its place in the epoch.
            rows += tf.random.stateless_uniform(tf.shape(order), tf.stack([tf.cast(seed, tf.int64), -1 - epoch]), 0, views, tf.int64)
        if seed is not None:
            rows = tf.random.experimental.stateless_shuffle(rows, seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    def take(rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
        return features[rows], y[rows // views]

    def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, labels = tf.numpy_function(take, [rows], (features.dtype, y.dtype), stateful=False)
        x.set_shape((None, *features.shape[1:]))
        labels.set_shape((None, *y.shape[1:]))
        return tf.cast(x, tf.float32), labels

    plain = tf.autograph.experimental.do_not_convert  # nothing to convert
    numbers = tf.data.Dataset.counter(first_epoch) if epochs is None else tf.data.Dataset.range(first_epoch, first_epoch + epochs)
    # flat_map hides how long the stream is, and Keras then warns when it ends.
    batches = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * -(-len(positions) // batch_size)
    stream = numbers.flat_map(plain(one_epoch)).apply(tf.data.experimental.assert_cardinality(batches))
    return stream.map(plain(gather), num_parallel_calls=2).prefetch(2)
