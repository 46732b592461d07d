"""Which rows of which shard are read, in which order, and where they go: index arithmetic only.

N items point at shards by a code (0 .. S-1) and at a row in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ShardRead:
    """Rows to read from one shard, ascending, and the item each belongs to. Duplicates of one image repeat a row."""

    shard: int
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    @property
    def span(self) -> tuple[int, int]:
        """First row (inclusive) and last row (exclusive) to read."""
        return int(self.rows[0]), int(self.rows[-1]) + 1


def by_shard(shards: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> list[ShardRead]:
    """Group N items by shard, rows ascending within each; every position occurs exactly once. Ties keep item order."""
    order = np.lexsort((np.arange(len(rows)), rows, shards))
    borders = np.flatnonzero(np.diff(shards[order])) + 1
    return [ShardRead(int(shards[part[0]]), rows[part], part) for part in np.split(order, borders) if len(part)]


def in_batches(reads: list[ShardRead], size: int) -> Iterator[list[ShardRead]]:
    """Cut reads into batches of exactly `size` items (the last may be smaller), in order, across shard borders."""
    batch: list[ShardRead] = []
    room = size
    for read in reads:
        start = 0
        while start < len(read.rows):
            stop = min(start + room, len(read.rows))
            batch.append(ShardRead(read.shard, read.rows[start:stop], read.positions[start:stop]))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def runs(rows: npt.NDArray[np.int64], gap: int) -> list[tuple[int, int]]:
    """Cut ascending rows where more than `gap` of them are left out: (first, last exclusive) index of each run."""
    borders = [0, *(np.flatnonzero(np.diff(rows) > gap + 1) + 1).tolist(), len(rows)]
    return list(pairwise(borders)) if len(rows) else []


@dataclass(frozen=True)
class FileRuns:
    """Rows first .. last (exclusive) of the output lie side by side in the file of a shard, from byte `offset` on; [r] each."""

    shard: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]

    def parts(self, count: int) -> list[FileRuns]:
        """Cut between runs into at most `count` of about as many rows."""
        rows = int(self.last[-1]) if len(self.last) else 0
        borders = np.unique(np.searchsorted(self.last, [rows * i // count for i in range(1, count)]))
        cut = [np.split(values, borders) for values in (self.shard, self.first, self.last, self.offset)]
        return [FileRuns(*part) for part in zip(*cut, strict=True) if len(part[0])]


def file_runs(shards: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], width: int) -> FileRuns:
    """Runs of n output rows of `width` bytes, each at a byte of the file of its shard."""
    if not len(shards):
        return FileRuns(*[np.zeros(0, np.int64)] * 4)
    starts = np.concatenate([[0], np.flatnonzero((np.diff(shards) != 0) | (np.diff(offsets) != width)) + 1])
    return FileRuns(shards[starts], starts, np.append(starts[1:], len(shards)), offsets[starts])
