"""Features a block at a time, from memory or from the store: what exact heads pass over, again and again.

L labelled items by number, V rows each (their views together); shape is that of one feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import pyarrow as pa
import tensorflow as tf

from storage.errors import UsageError
from storage.feature_set import FeatureSet
from trainer.arrays import Array, Numbers, Tensor

BLOCK_BYTES = 64 << 20  # 64 MiB of float32: matrix products are at full speed from about 4,000 rows of 2,048
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
        view = None if every_view and self.views > 1 else 0
        size = _items_per_block(self.shape, self.views if view is None else 1, self.block_bytes)
        for batch in self.feature_set.batches(size, self.positions[np.sort(numbers)], view, threads=2):
            yield np.searchsorted(self.positions, batch.positions), batch.embeddings.reshape(len(batch.positions), -1, *self.shape)

    def names(self, numbers: Numbers) -> list[str]:
        keys = self.feature_set.columns("key")["key"]
        return [keys[int(position)].as_py() for position in self.positions[numbers]]


def _items_per_block(shape: tuple[int, ...], views: int, block_bytes: int) -> int:
    return max(1, block_bytes // (4 * views * prod(shape)))


def vectors(rows: Rows, numbers: Numbers, pooling: str = "", every_view: bool = False) -> Iterator[tuple[Numbers, Tensor]]:
    """(numbers [m], float32 vectors [m * V, D]): pooled if they are maps, by a pooling that nothing is learned in."""
    for part, block in rows.blocks(numbers, every_view):
        # Cast in TensorFlow: NumPy has no vector code from float16 (0.28 s for 32,768 x 2,048, and 0.04 s here, on 2 cores).
        x = tf.cast(tf.convert_to_tensor(np.ascontiguousarray(block).reshape(-1, *rows.shape)), tf.float32)
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


def require_sizes(rows: MemoryRows) -> None:
    """Raise UsageError for features that are too large, or all too small, to be squared in float32."""
    if rows.features.dtype == np.float16 or not rows.features.size:
        return
    size = max(float(rows.features.max()), -float(rows.features.min()))  # NaN and infinity have their place where they are met
    if LARGEST < size < np.inf:
        require_finite(rows, np.arange(len(rows.features) // rows.views))
    if 0 < size < SMALLEST:
        raise UsageError(
            f"no feature is larger than {size:.1g}, and the squares of such are nothing in float32: embed the items again, multiplied by "
            f"what brings their features above {SMALLEST:g}"
        )


def _some(rows: Rows, numbers: list[int]) -> str:
    names = ", ".join(rows.names(np.array(sorted(numbers)[:EXAMPLES])))
    return names + (f" and {len(numbers) - EXAMPLES} more" if len(numbers) > EXAMPLES else "")
