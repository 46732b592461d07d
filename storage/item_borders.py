"""Where one item file ends and the next begins: at borders that follow from the keys, not from positions.

A row whose key has a certain hash begins a file. So what is inserted, removed or changed rewrites the file that it stands in, and its
neighbours keep their content and thus their names; where files begin at every n-th row, one row more makes all later files new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MIN_ROWS = 1 << 14  # keys that all have the hash make no files of one row
MEAN_ROWS = 1 << 16  # 3 to 6 MB; ten million items are 150 files
MAX_ROWS = 1 << 18  # what writing holds in memory; less than one file in a hundred would be longer
BLOCK_BYTES = 1 << 20  # of keys hashed at a time
_BASE, _MIX = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93  # odd
Hashes = npt.NDArray[np.uint64]


def in_files(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in one table a file, none of them empty. tables: sorted by their column `key`; where they end does not matter."""
    waiting: list[pa.Table] = []
    held = 0  # rows in them
    for table in tables:
        may_begin = np.flatnonzero(key_hashes(table["key"]) < _threshold())
        start = 0
        while (stop := _end_of_file(may_begin, start - held, table.num_rows)) is not None:
            yield pa.concat_tables([*waiting, table.slice(start, stop - start)])
            waiting, held, start = [], 0, stop
        waiting.append(table.slice(start))
        held += table.num_rows - start
    if held:
        yield pa.concat_tables(waiting)


def _threshold() -> np.uint64:
    return np.uint64(2**64 // (MEAN_ROWS - MIN_ROWS))


def _end_of_file(may_begin: npt.NDArray[np.intp], begin: int, rows: int) -> int | None:
    """Where the file that began at row `begin` of a table ends, not inclusive; None: after the table's `rows`. It may have begun before."""
    nth = int(np.searchsorted(may_begin, begin + MIN_ROWS))
    stop = min(int(may_begin[nth]) if nth < len(may_begin) else rows, begin + MAX_ROWS)
    return stop if stop < rows else None


def key_hashes(keys: pa.ChunkedArray) -> Hashes:
    """A hash of each key's UTF-8 bytes [n]. It is part of the format: with another one, unchanged items would make new files.

    b_0 .. b_{k-1} of a key, modulo 2^64: mix(sum (b_i + 1) BASE^(i+1)). Vectorised: 3 ns a byte, no Python object for any key.
    """
    return np.concatenate([np.zeros(0, np.uint64), *(_hashes(chunk) for chunk in keys.chunks)])


def _hashes(keys: pa.StringArray) -> Hashes:
    if not len(keys):
        return np.zeros(0, np.uint64)
    _, offsets_buffer, data_buffer = keys.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[keys.offset : keys.offset + len(keys) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    found, start = [], 0
    while start < len(keys):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + BLOCK_BYTES, side="right")) - 1)
        found.append(_block_hashes(data[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]))
        start = stop
    return np.concatenate(found)


def _block_hashes(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Hashes:
    """Sums of each key are differences of running sums, whose powers begin at the block: divided by the power where the key begins."""
    powers, inverses = _powers(max(BLOCK_BYTES, len(data)))
    running = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[: len(data)], out=running[1:])
    sums = (running[offsets[1:]] - running[offsets[:-1]]) * inverses[offsets[:-1]]
    mixed: Hashes = (sums ^ (sums >> np.uint64(32))) * np.uint64(_MIX)
    return mixed ^ (mixed >> np.uint64(32))


@lru_cache(maxsize=1)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """BASE^1 .. BASE^count, and BASE^0 .. BASE^-count."""
    powers, inverses = np.full(count, _BASE, np.uint64), np.full(count + 1, pow(_BASE, -1, 2**64), np.uint64)
    inverses[0] = 1
    return np.cumprod(powers), np.cumprod(inverses)
