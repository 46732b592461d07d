"""Rows of one width, in blocks of a memory-mapped file: read without a copy where they stand in one block, else with one.

Both shard formats hold embeddings as plain bytes, a block a Parquet page or HDF5 chunk. Read so, neither library decodes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.errors import DamagedError
from storage.shard_layout import ShardLayout

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """Rows first .. first + rows (exclusive), from byte `offset` of the file on."""

    first: int
    rows: int
    offset: int


class MappedRows:
    """A file whose blocks hold rows of `width` bytes. What was read stays valid when this is gone."""

    def __init__(self, path: Path, width: int) -> None:
        self._path, self._width = path, width
        self.bytes: Bytes = np.memmap(path, np.uint8, "r").view(np.ndarray)

    def read(self, blocks: Sequence[Block], start: int, stop: int) -> Bytes:
        """Rows start to stop, [n, width], which `blocks` hold one after the other: read-only and not copied if there is one block."""
        if len(blocks) == 1:
            return self._rows(blocks[0], start, stop)
        out = np.empty((stop - start, self._width), np.uint8)
        self.read_into(blocks, start, stop, out)
        return out

    def read_into(self, blocks: Sequence[Block], start: int, stop: int, out: Bytes) -> None:
        """out: [n, width]."""
        for block in blocks:
            low, high = max(start, block.first), min(stop, block.first + block.rows)
            out[low - start : high - start] = self._rows(block, low, high)

    def _rows(self, block: Block, start: int, stop: int) -> Bytes:
        begin, end = (block.offset + (row - block.first) * self._width for row in (start, stop))
        if not 0 <= begin <= end <= len(self.bytes):
            raise DamagedError(f"{self._path} is damaged: rows {start}:{stop} would be at bytes {begin}:{end} of {len(self.bytes)}")
        return self.bytes[begin:end].reshape(stop - start, self._width)


def as_bytes(out: npt.NDArray[np.generic], layout: ShardLayout) -> Bytes:
    """The bytes of an array of embeddings [n, width], to write to. Raises ValueError for an array of other embeddings, or with gaps."""
    if out.shape[1:] != layout.shape or out.dtype != np.dtype(layout.dtype) or not out.flags.c_contiguous:
        raise ValueError(f"expected room for embeddings {layout.shape} {layout.dtype} side by side, got {out.shape} {out.dtype}")
    return out.reshape(-1).view(np.uint8).reshape(len(out), layout.embedding_bytes)
