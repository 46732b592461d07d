"""Features and labels as tf.data: whole batches gathered from memory, shuffled by (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

BATCH_SIZE = 256


def load(
    features: npt.NDArray[np.generic],
    y: npt.NDArray[np.int64],
    positions: Sequence[int],
    batch_size: int = BATCH_SIZE,
    seed: int | None = None,
    epochs: int | None = 1,
) -> tf.data.Dataset:
    """Batches (float32 [n, *shape], int64 [n]) of the chosen positions, `epochs` times over (None: without end).

    seed: None keeps the given order; else epoch e is shuffled by (seed, e) alone, so that equal calls give equal streams. Rows are
    gathered a batch at a time by one op; a Python call a row would cost more than the training step.
    """
    x_all, y_all = tf.constant(features), tf.constant(y)
    order = tf.constant(np.asarray(positions, np.int64))

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = (
            order if seed is None else tf.random.experimental.stateless_shuffle(order, seed=tf.stack([tf.cast(seed, tf.int64), epoch]))
        )
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(batch_size)

    def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(x_all, rows), tf.float32), tf.gather(y_all, rows)

    plain = tf.autograph.experimental.do_not_convert  # nothing to convert
    numbers = tf.data.Dataset.counter() if epochs is None else tf.data.Dataset.range(epochs)
    # flat_map hides how long the stream is, and Keras then warns when it ends.
    batches = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * -(-len(positions) // batch_size)
    stream = numbers.flat_map(plain(one_epoch)).apply(tf.data.experimental.assert_cardinality(batches))
    return stream.map(plain(gather), num_parallel_calls=2).prefetch(2)
