"""Images and labels as tf.data: whole batches, in an order and with random changes that (seed, epoch) alone decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.augmentation import Augmentation
from trainer.images import Images, Pixels
from trainer.python_calls import awaited_at_exit
from trainer.softening import Softening
from trainer.task import Targets

MAKERS, WAITING = 2, 2
# The images may come out of a stream of tf.data themselves, whose calls of Python wait for threads of the shared pool: threads of its own
# for the outer one, or on two cores both would wait for ever.
OWN_THREADS = 4


@dataclass
class ImageStream:
    """L labelled items at `positions` [L] (ascending) with targets y [L, ...], in the form that `softening` gives them. `failure`: what
    went wrong while images were read."""

    images: Images
    positions: Numbers
    y: Targets
    softening: Softening
    failure: BaseException | None = field(default=None, init=False)

    def training(self, numbers: Numbers, batch_size: int, seed: int, epoch: int, augmentation: Augmentation) -> tf.data.Dataset:
        """Full batches (uint8 [n, S, S, 3], y [n, ...]) of the items in a new order. The last one is filled up with the first items again:
        equal batches make several devices give what one gives."""
        order = np.random.default_rng([seed, epoch]).permutation(numbers)
        order = np.resize(order, -(-len(order) // batch_size) * batch_size)

        def changed(image: Any, y: Any, draw: Any) -> tuple[Any, Any]:
            return augmentation(image, draw), y

        plain = tf.autograph.experimental.do_not_convert(changed)
        made = self._items(order, batch_size, (seed, epoch)).map(plain, num_parallel_calls=MAKERS, deterministic=True)
        batches = self.softening.of_training(made.batch(batch_size, drop_remainder=True))
        return _finished(batches, len(order) // batch_size)

    def plain(self, numbers: Numbers, batch_size: int) -> tf.data.Dataset:
        """The images as they are."""
        without_draw = tf.autograph.experimental.do_not_convert(lambda image, y, draw: (image, y))
        made = self._items(numbers, batch_size, (0, 0)).map(without_draw)
        return _finished(self.softening.of_validation(made.batch(batch_size)), -(-len(numbers) // batch_size))

    def _items(self, order: Numbers, batch_size: int, seed: tuple[int, int]) -> tf.data.Dataset:
        """(image, y, what its random changes are drawn by) of single items."""
        drawn = np.random.default_rng([*seed, 1]).integers(0, 2**31, (len(order), 2))
        signature = (
            tf.TensorSpec((None, *self.images.shape), tf.uint8),
            tf.TensorSpec((None, *self.y.shape[1:]), self.y.dtype),
            tf.TensorSpec((None, 2), tf.int64),
        )
        return tf.data.Dataset.from_generator(lambda: self._read(order, batch_size, drawn), output_signature=signature).unbatch()

    def _read(self, order: Numbers, batch_size: int, drawn: Numbers) -> Iterator[tuple[Pixels, Targets, Numbers]]:
        batches = self.images.batches(self.positions[order], batch_size)
        take, done = awaited_at_exit(lambda: next(batches, None)), 0
        try:
            while (batch := take()) is not None:
                found, pixels = batch
                yield pixels, self.y[np.searchsorted(self.positions, found)], drawn[done : done + len(found)]
                done += len(found)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - tf.data would tell it as an op's error with a traceback in it
            self.failure = error


def _finished(batches: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """count: of the batches, which a generator hides."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = OWN_THREADS
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(WAITING).with_options(options)
