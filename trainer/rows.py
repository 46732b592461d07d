"""Features a block at a time, from memory or from the store: what exact heads pass over, again and again.

L labelled items by number, V rows each (their views together); shape is that of one feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from storage.errors import DivergedError, UsageError
from storage.feature_set import FeatureSet
from storage.row_reader import RowReader
from trainer.arrays import Array, Numbers, Tensor
from trainer.room import Rooms, as_tensor

BLOCK_BYTES = 64 << 20  # 64 MiB of float32: matrix products are at full speed from about 4,000 rows of 2,048
READERS = 2  # threads that read a block
EXAMPLES = 5
# Features are squared, and the squares summed, in float32, which ends at 3e38 and begins at 1e-38. float16 cannot leave this range.
LARGEST, SMALLEST = 1e15, 1e-15


class Rows(Protocol):
    """blocks: (numbers of items [m], their features [m, V, *shape] in the stored dtype), all those asked for, each once; the order is the
    source's own, and always the same."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def views(self) -> int: ...

    def blocks(self, numbers: Numbers, every_view: bool = False) -> Iterator[tuple[Numbers, Array]]: ...

    def names(self, numbers: Numbers) -> list[str]: ...


@dataclass(frozen=True)
class MemoryRows:
    """features [L * views, *shape], an array or a memory map; keys: a column [L] that names the items."""

    features: Array
    views: int = 1
    keys: pa.ChunkedArray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.features.shape[1:]

    def blocks(self, numbers: Numbers, every_view: bool = False) -> Iterator[tuple[Numbers, Array]]:
        by_item = self.features.reshape(-1, self.views, *self.shape)
        taken = self.views if every_view else 1
        size = _items_per_block(self.shape, taken, BLOCK_BYTES)
        for start in range(0, len(numbers), size):
            part = numbers[start : start + size]
            first, last = int(part[0]), int(part[-1])
            is_range = last - first + 1 == len(part)  # a view costs nothing, picked rows are copied
            yield part, (by_item[first : last + 1] if is_range else by_item[part])[:, :taken]

    def names(self, numbers: Numbers) -> list[str]:
        return [f"item {number}" if self.keys is None else self.keys[number].as_py() for number in numbers.tolist()]


@dataclass(frozen=True)
class StoredRows:
    """Those of a set, read from its shards in each pass; positions [L] of the labelled items in its table, ascending."""

    feature_set: FeatureSet
    positions: Numbers
    views: int = 1
    block_bytes: int = BLOCK_BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        return self.feature_set.shape

    def blocks(self, numbers: Numbers, every_view: bool = False) -> Iterator[tuple[Numbers, Array]]:
        """A block is read while the one before it is used, into memory that is used again: fresh pages for each, which the kernel fills
        with zeros first, take a pass over a million float16 vectors of 2,048 from 0.7 to 1.9 s."""
        views = np.arange(self.views if every_view else 1)
        size = _items_per_block(self.shape, len(views), self.block_bytes)
        rooms = Rooms((min(size, len(numbers)) * len(views), *self.shape), self.feature_set.description.dtype)
        ordered = self._reader.in_shard_order(numbers)

        def read(start: int) -> tuple[Numbers, Array]:
            part, room = ordered[start : start + size], rooms.take()
            places = self._reader.read(np.repeat(part, len(views)), np.tile(views, len(part)), room)
            # Views of items that share an embedding come between each other.
            found = room[: len(places)] if (np.diff(places) == 1).all() else room[places]
            return part, found.reshape(len(part), len(views), *self.shape)

        with ThreadPoolExecutor(1, thread_name_prefix="permafrost-block") as ahead:
            waiting = None
            for start in range(0, len(ordered), size):
                waiting, done = ahead.submit(read, start), waiting
                if done is not None:
                    yield done.result()
            if waiting is not None:
                yield waiting.result()

    @cached_property
    def _reader(self) -> RowReader:
        return self.feature_set.row_reader(self.positions, READERS)

    def names(self, numbers: Numbers) -> list[str]:
        keys = self.feature_set.columns("key")["key"]
        return [keys[int(position)].as_py() for position in self.positions[numbers]]


def _items_per_block(shape: tuple[int, ...], views: int, block_bytes: int) -> int:
    return max(1, block_bytes // (4 * views * prod(shape)))


def vectors(rows: Rows, numbers: Numbers, pooling: str = "", every_view: bool = False) -> Iterator[tuple[Numbers, Tensor]]:
    """(numbers [m], float32 vectors [m * V, D]): pooled if they are maps, by a pooling that nothing is learned in."""
    for part, block in rows.blocks(numbers, every_view):
        # Cast in TensorFlow: NumPy has no vector code from float16 (0.28 s for 32,768 x 2,048, and 0.04 s here, on 2 cores).
        x = tf.cast(as_tensor(block.reshape(-1, *rows.shape)), tf.float32)
        yield part, pooled(x, pooling)


def pooled(x: Tensor, pooling: str) -> Tensor:
    """Vectors [n, D] of features [n, *shape]."""
    if pooling in ("avg", "max"):
        sequence = tf.reshape(x, (len(x), -1, x.shape[-1]))
        return tf.reduce_mean(sequence, 1) if pooling == "avg" else tf.reduce_max(sequence, 1)
    return tf.reshape(x, (len(x), -1))


def require_finite(rows: Rows, numbers: Numbers) -> None:
    """Raise UsageError that names items with NaN or infinity among their features, or with numbers too large to be squared. A pass over all
    of them: for when something is amiss."""
    bad, large, size = list[int](), list[int](), 0.0
    for part, block in rows.blocks(numbers, every_view=True):
        largest = np.abs(block.reshape(len(part), -1)).max(axis=1, initial=0).astype(np.float64)
        bad += part[~np.isfinite(largest)].tolist()
        large += part[np.isfinite(largest) & (largest > LARGEST)].tolist()
        size = max(size, float(largest[np.isfinite(largest)].max(initial=0)))
    if bad:
        raise UsageError(
            f"{len(bad)} items have features that are NaN or infinite: {_some(rows, bad)}. Leave their labels out, or embed them again "
            "(float16 ends at 65,504: extract with --dtype float32)"
        )
    if large:
        raise UsageError(
            f"{len(large)} items have features of up to {size:.1g}: {_some(rows, large)}. Their squares exceed float32: numbers of at most "
            f"{LARGEST:g} can be trained on. Leave their labels out, or embed them again, divided by what makes them so large"
        )


def require_numbers(given: npt.NDArray[np.floating[Any]], rows: Rows, numbers: Numbers) -> None:
    """Raise what says why a head gives other than numbers: UsageError of the features of these items, or DivergedError."""
    if not np.isfinite(given).all():
        require_finite(rows, numbers)
        raise DivergedError("training diverged: the head gives no numbers. Try a smaller learning rate, or class weights nearer to 1")


def require_sizes(rows: MemoryRows) -> None:
    """Raise UsageError for features that are too large, or all too small, to be squared in float32."""
    if rows.features.dtype == np.float16 or not rows.features.size:
        return
    size = max(float(rows.features.max()), -float(rows.features.min()))  # NaN and infinity have their place where they are met
    if LARGEST < size < np.inf:
        require_finite(rows, np.arange(len(rows.features) // rows.views))
    if 0 < size < SMALLEST:
        raise UsageError(
            f"no feature is larger than {size:.1g}, and the squares of such are nothing in float32. Deep networks of random weights give "
            "such features: extract with trained --weights, or at an earlier --layer. Features made elsewhere: multiply them by what "
            f"brings them above {SMALLEST:g}"
        )


def _some(rows: Rows, numbers: list[int]) -> str:
    names = ", ".join(rows.names(np.array(sorted(numbers)[:EXAMPLES])))
    return names + (f" and {len(numbers) - EXAMPLES} more" if len(numbers) > EXAMPLES else "")
