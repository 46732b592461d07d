"""Encoded images to batches of pixels in `tf.data`: C++ threads decode, and one iterator serves one unit after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from extractor import image_policy
from extractor.input_kind import InputKind

BATCHES_AT_ONCE = 8  # of the network: what is decoded ahead, four times over, is memory

Piece = tuple[npt.NDArray[Any], ...]  # of some images, stacked: what `signature` says


class _Feed:
    """What an iterator asks for images. Not the iterator's owner: a cycle would keep one that is left, and its threads."""

    pieces: Callable[[], Iterator[Piece]]  # of the unit that is to begin


@dataclass(frozen=True)
class _Lane:
    """An iterator for one unit after the other; between two of them nothing runs."""

    feed: _Feed
    iterator: Iterator[tuple[tf.Tensor, ...]]


class DecodeStream:
    """Images of `kinds`, decoded on so many threads, in batches of `images_at_once` for a network that takes `batch_size`.

    To make a tf.data iterator of these steps costs 0.14 s of CPU and up to half a second by the clock, as much as 50 photographs of
    500x375, because TensorFlow makes and optimizes its graphs anew. To begin a unit on one that is there costs 0.005 s. There are as many
    as there were units under way at once.
    """

    def __init__(self, kinds: Sequence[InputKind], batch_size: int, threads: int, max_pixels: int) -> None:
        self._kinds = tuple(kinds)
        views = max(kind.views.count for kind in kinds)
        # So many that their views fill whole batches of the network, or nearly, where that would be too many of these.
        self.images_at_once = min(batch_size // math.gcd(batch_size, views), max(1, BATCHES_AT_ONCE * batch_size // views))
        self._threads = threads
        self._decode = _decoder(self._kinds, max_pixels)
        self._idle: list[_Lane] = []

    def batches(self, pieces: Callable[[], Iterator[Piece]]) -> Iterator[tuple[tf.Tensor, ...]]:
        """Yield positions int64 [n], when each decode began and ended float64 [n], and of each kind uint8 [n, V, size, size, 3].

        In the order of the pieces; images that cannot be decoded are left out.
        """
        # One left in the middle of a unit is not taken up again: whoever left it may still hold it.
        try:
            lane = self._idle.pop()
        except IndexError:
            lane = self._new_lane()
        lane.feed.pieces = pieces
        for batch in lane.iterator:
            if not batch[0].shape[0]:
                self._idle.append(lane)
                return
            yield batch

    def _new_lane(self) -> _Lane:
        """All its units one after the other, an empty batch behind each. A unit begins when its first batch is asked for, not before."""
        feed = _Feed()
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        # Nothing for AutoGraph to convert, and it leaves files in TMPDIR when an actor is killed.
        unit = tf.autograph.experimental.do_not_convert(lambda _: self._unit(feed))
        return _Lane(feed, iter(tf.data.Dataset.counter().flat_map(unit).with_options(options)))

    def _unit(self, feed: _Feed) -> tf.data.Dataset:
        of_pieces = [tf.TensorSpec((None, *spec.shape), spec.dtype) for spec in signature(self._kinds)]
        stream = tf.data.Dataset.from_generator(lambda: feed.pieces(), output_signature=tuple(of_pieces)).unbatch()
        decode = tf.autograph.experimental.do_not_convert(lambda *tensors: self._decode(*tensors))
        # An op error drops its own element only; the pipeline decodes what is missing again, one by one, to learn why.
        stream = stream.map(decode, num_parallel_calls=self._threads, deterministic=True).ignore_errors()
        stream = stream.batch(self.images_at_once).prefetch(2)
        empty = [tf.zeros((0, kind.views.count, kind.size, kind.size, 3), tf.uint8) for kind in self._kinds]
        times = tf.zeros(0, tf.float64)
        return stream.concatenate(tf.data.Dataset.from_tensors((tf.zeros(0, tf.int64), times, times, *empty)))


def signature(kinds: Sequence[InputKind]) -> tuple[tf.TensorSpec, ...]:
    """Position, encoded bytes, and a packed header for each kind."""
    headers = (tf.TensorSpec((image_policy.packed_length(kind.views),), tf.int32) for kind in kinds)
    return (tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.string), *headers)


def stacked(rows: Sequence[tuple[Any, ...]], kinds: Sequence[InputKind]) -> Piece:
    """Rows of what `signature` says."""
    dtypes = [spec.dtype.as_numpy_dtype for spec in signature(kinds)]
    return tuple(np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), dtypes, strict=True))


@lru_cache(maxsize=8)
def _decoder(kinds: tuple[InputKind, ...], max_pixels: int) -> Callable[..., tuple[tf.Tensor, ...]]:
    """From what `signature` says to position, two timestamps, and of each kind the views. Traced once a process: TRACED."""

    def decode(position: tf.Tensor, encoded: tf.Tensor, *headers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # The two timestamps cost 5 us of 2.4 ms CPU time an image (median of 15, side by side): not to be seen in the wall time.
        started = tf.timestamp()
        with tf.control_dependencies([started]):
            encoded = tf.identity(encoded)
        images = [
            image_policy.decode_in_graph(encoded, image_policy.unpacked(header), kind.size, kind.policy, max_pixels, kind.views)
            for kind, header in zip(kinds, headers, strict=True)
        ]
        with tf.control_dependencies(images):
            return position, started, tf.timestamp(), *images

    traced: Callable[..., tuple[tf.Tensor, ...]] = tf.function(decode, signature(kinds), autograph=False).get_concrete_function()
    return traced
