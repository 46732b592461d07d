"""Features and labels as tf.data: whole batches in the order of a shuffle plan, gathered from memory or from what is read of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer.arrays import Array, Numbers
from trainer.python_calls import awaited_at_exit
from trainer.room import aligned
from trainer.shuffle_plan import ShufflePlan

BATCH_SIZE = 256
BATCH_BYTES = 16 << 20  # 16 MiB of float32 features: fewer rows a batch where maps are large
# Batches that are made at a time, and that wait to be used: two cores cast one while the next one is gathered.
MAKERS, WAITING = 2, 2


def rows_per_batch(shape: Sequence[int], limit: int = BATCH_SIZE) -> int:
    """Rows of float32 features `shape` that fit a batch of BATCH_BYTES, from 1 to `limit`."""
    return max(1, min(limit, BATCH_BYTES // (4 * int(np.prod(shape)))))


class Source(Protocol):
    """Where embeddings of numbered items come from: `shape` of one, its `dtype`, and the number of `views` of an item."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    @property
    def views(self) -> int: ...

    def take(self, items: Numbers, views: Numbers) -> tuple[Array, Numbers]:
        """(embeddings [m, *shape] at 64-byte borders, where in it those of these n items are, each in its view [n])."""
        ...


@dataclass(frozen=True)
class InMemory:
    """features: [N * views, *shape], the views of an item together; `items`: those that are numbered 0, 1, ... here."""

    features: Array
    items: Numbers
    views: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return self.features.shape[1:]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.features.dtype

    def take(self, items: Numbers, views: Numbers) -> tuple[Array, Numbers]:
        return self.features, self.items[items] * self.views + views


def batches_of(
    features: Array,
    y: Array,
    positions: Sequence[int] | Numbers,
    batch_size: int = BATCH_SIZE,
    seed: int | None = None,
    epochs: int | None = 1,
    views: int = 1,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches (float32 [n, *shape], y [n, ...]) of the chosen positions, `epochs` times over (None: without end) from `first_epoch` on.

    features: [N * views, *shape], the views of an item together; y: [N, ...]. Features at a 64-byte border (`aligned_room`; memory maps)
    are not copied.

    seed: None keeps the given order and takes view 0; else the order of epoch e and the view of each item in it are drawn by (seed, e)
    alone, so that equal calls give equal streams.
    """
    chosen = np.asarray(positions, np.int64)
    source = InMemory(aligned(features), chosen, views)
    plan = ShufflePlan.of(len(chosen), max(1, features[:1].nbytes), seed)
    return stream(source, y[chosen], plan, batch_size, None if epochs is None else first_epoch + epochs, first_epoch)


def stream(
    source: Source, y: Array, plan: ShufflePlan, batch_size: int, epochs: int | None, epoch: int = 0, batch: int = 0
) -> tf.data.Dataset:
    """Batches (float32 [n, *shape], y [n, ...]) from this batch of this epoch on, to the end of `epochs` (None: without end).

    y: by number of the item. A Python call a segment, that is a window of the plan, tells what is in it; TensorFlow does the rest.
    """
    borders = plan.segments(batch_size)
    batches, segments = int(borders[-1]), len(borders) - 1
    begun = int(np.searchsorted(borders, batch, side="right")) - 1
    first = epoch * segments + begun

    @awaited_at_exit
    def segment(number: int) -> tuple[Array, Numbers, Array]:
        of_epoch, part = divmod(int(number), segments)
        start = batch if number == first else borders[part]
        items = plan.order(of_epoch, start * batch_size, min(borders[part + 1] * batch_size, plan.size))
        return *source.take(items, plan.views(of_epoch, items, source.views)), y[items]

    def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rows, places, labels = tf.numpy_function(segment, [number], (source.dtype, tf.int64, y.dtype), stateful=False)
        rows.set_shape((None, *source.shape))
        places.set_shape((None,))
        labels.set_shape((None, *y.shape[1:]))
        return rows, places, labels

    def in_batches(rows: tf.Tensor, places: tf.Tensor, labels: tf.Tensor) -> tf.data.Dataset:
        starts = tf.data.Dataset.range(0, tf.size(places, tf.int64), batch_size)
        # Not from_tensor_slices(...).batch(...), which handles each row apart: a tenth of the whole time.
        return starts.map(lambda i: (rows, places[i : i + batch_size], labels[i : i + batch_size]))

    def gather(rows: tf.Tensor, places: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Cast by TensorFlow: NumPy's cast from float16 is as slow as the rest together.
        return tf.cast(tf.gather(rows, places), tf.float32), labels

    plain = tf.autograph.experimental.do_not_convert  # nothing to convert
    endless = epochs is None and segments
    numbers = tf.data.Dataset.counter(first) if endless else tf.data.Dataset.range(first, max(first, (epochs or 0) * segments))
    left = tf.data.INFINITE_CARDINALITY if endless else max(0, (epochs or 0) - epoch) * batches - (batch if segments else 0)
    flat = numbers.map(plain(read)).prefetch(1).flat_map(plain(in_batches))
    # flat_map hides how long the stream is, and Keras then warns when it ends.
    made = flat.apply(tf.data.experimental.assert_cardinality(left))
    return made.map(plain(gather), num_parallel_calls=MAKERS, deterministic=True).prefetch(WAITING)
