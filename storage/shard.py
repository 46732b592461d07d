"""Shards: immutable files of embeddings. What a format must do, and the table of formats.

N rows, each with a content digest (32 bytes), a view number and an embedding of shape S. The views of one image stand in adjacent
rows, view 0 first, so that an item can point at its image by (shard, row of view 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError
from storage.hdf5 import Hdf5ShardReader, Hdf5ShardWriter
from storage.mapped_rows import Block
from storage.parquet import ParquetShardReader, ParquetShardWriter
from storage.shard_layout import ShardLayout

__all__ = ["DEFAULT_FORMAT", "SHARD_FORMATS", "ShardFormat", "ShardLayout", "ShardReader", "ShardWriter", "shard_format"]


class ShardWriter(Protocol):
    """Writes one shard to a private path. Rows appear in the order appended; nothing is readable before `close`."""

    def append(self, digests: Sequence[bytes], views: Sequence[int], embeddings: npt.NDArray[np.generic]) -> None: ...

    def close(self) -> int:
        """Finish the file and return its number of rows."""
        ...


class ShardReader(Protocol):
    """Reads one finished shard; may be used by one thread at a time."""

    layout: ShardLayout
    rows: int

    def digests(self) -> list[bytes]: ...

    def views(self) -> npt.NDArray[np.int16]: ...

    def read(self, start: int, stop: int) -> npt.NDArray[np.generic]:
        """Embeddings of rows start (inclusive) to stop (exclusive), [stop - start, *shape] in the stored dtype.

        Those that lie in one piece in the file are not copied: the array is read-only then, perhaps not aligned, and outlives the reader.
        """
        ...

    def read_into(self, start: int, stop: int, out: npt.NDArray[np.generic]) -> None:
        """The same into `out`, [stop - start, *shape] in the stored dtype, without gaps."""
        ...

    def blocks(self) -> list[Block]:
        """Where all embeddings stand in the file, as plain bytes, in the order of their rows."""
        ...

    def close(self) -> None: ...


class _MakeWriter(Protocol):
    def __call__(self, path: Path, layout: ShardLayout) -> ShardWriter: ...


class _MakeReader(Protocol):
    def __call__(self, path: Path) -> ShardReader: ...


@dataclass(frozen=True)
class ShardFormat:
    suffix: str
    writer: _MakeWriter
    reader: _MakeReader


DEFAULT_FORMAT = "parquet"
SHARD_FORMATS: dict[str, ShardFormat] = {
    "parquet": ShardFormat(".parquet", ParquetShardWriter, ParquetShardReader),
    "hdf5": ShardFormat(".h5", Hdf5ShardWriter, Hdf5ShardReader),
}


def shard_format(name: str) -> ShardFormat:
    """Look a format up; raises UsageError that lists the known ones."""
    if name not in SHARD_FORMATS:
        raise UsageError(f"unknown shard format {name!r}: expected one of {', '.join(SHARD_FORMATS)}")
    return SHARD_FORMATS[name]


def embedding_bytes(shape: Sequence[int], dtype: str) -> int:
    """Stored bytes of one embedding."""
    return prod(shape) * np.dtype(dtype).itemsize
