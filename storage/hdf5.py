"""HDF5 shards: plain datasets `digest` (N, 32) uint8, `view` (N,) int16 and `embedding` (N, *shape), which h5py reads without help.

Superblock version 3 and the other blocks of HDF5 1.10: every metadata block carries a checksum, so a flipped bit is an error of the
library and not a crash. Variable-length values and older superblocks have no checksums and are refused before the library sees them.
No timestamps: the same rows give the same file. No filters, for the reason given in `storage.parquet`.

Measured beside Parquet and h5py: docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.hdf5_file import chunk_offset, create_file, open_file, plain_dataset
from storage.mapped_rows import Block, MappedRows, as_bytes
from storage.row_block import DIGEST_BYTES, RowBlock
from storage.shard_layout import ShardLayout

CHUNK_BYTES = 4 << 20  # 4 MiB of rows: what a reader of batches takes at a time
ATTRIBUTE = "permafrost"


class Hdf5ShardWriter:
    """Writes a shard chunk by chunk; holds at most one chunk in memory.

    The last chunk is filled up with zeros to its 4 MiB, as HDF5 has it; a shard of less than one chunk has one of its own size.
    """

    def __init__(self, path: Path, layout: ShardLayout) -> None:
        self._columns = _columns(layout)
        self._chunk_rows = max(1, CHUNK_BYTES // sum(_row_bytes(column) for column in self._columns.values()))
        self._block = RowBlock(layout, self._chunk_rows)
        self._rows = 0
        self._file = create_file(path)
        self._file.set_attribute(ATTRIBUTE, layout.to_json())

    def append(self, digests: Sequence[bytes], views: Sequence[int], embeddings: npt.NDArray[np.generic]) -> None:
        for _ in self._block.filled(digests, views, embeddings):
            self._flush()

    def close(self) -> int:
        if not self._rows:
            self._chunk_rows = max(1, self._block.held)
        if self._block.held or not self._rows:
            self._flush()
        self._file.close()
        return self._rows

    def _flush(self) -> None:
        block, rows = self._block, self._block.held
        for name, values in {"digest": block.digests, "view": block.views, "embedding": block.embeddings}.items():
            if not self._rows:
                self._file.create_dataset(name, *self._columns[name], self._chunk_rows)
            if rows:
                self._file.write_chunk(name, self._rows, values[:rows], self._chunk_rows)
        self._rows += rows


class Hdf5ShardReader:
    """Reads a shard with h5py, without locks: read-only and network folders, and files that somebody else has locked, are no hindrance.

    Embeddings are read through a memory map where h5py says that their chunks are, so that threads need not wait for the library's lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with damage_named(path, "shard"):
            self._file = open_file(path)
            try:
                self._datasets = self._check()
                self._mapped = MappedRows(path, self.layout.embedding_bytes)
            except BaseException:
                self._file.close()
                raise

    def _check(self) -> dict[str, Any]:
        self.layout = ShardLayout.from_json(self._file.attribute(ATTRIBUTE), self._path)
        datasets = {name: plain_dataset(self._file, name, *column) for name, column in _columns(self.layout).items()}
        sizes = {name: len(dataset) for name, dataset in datasets.items()}
        self.rows = sizes["embedding"]
        if set(sizes.values()) != {self.rows}:
            raise DamagedError(f"the shard {self._path} is damaged: its datasets have {sizes} rows")
        return datasets

    def digests(self) -> list[bytes]:
        with damage_named(self._path, "shard"):
            raw = self._datasets["digest"][:].tobytes()
        return [raw[start : start + DIGEST_BYTES] for start in range(0, len(raw), DIGEST_BYTES)]

    def views(self) -> npt.NDArray[np.int16]:
        with damage_named(self._path, "shard"):
            return np.asarray(self._datasets["view"][:], np.int16)

    def read(self, start: int, stop: int) -> npt.NDArray[np.generic]:
        self._require(start, stop)
        dtype, shape = _columns(self.layout)["embedding"]
        with damage_named(self._path, "shard"):
            return self._mapped.read(self._blocks(start, stop), start, stop).view(dtype).reshape(-1, *shape)

    def read_into(self, start: int, stop: int, out: npt.NDArray[np.generic]) -> None:
        self._require(start, stop)
        room = as_bytes(out, self.layout)
        with damage_named(self._path, "shard"):
            self._mapped.read_into(self._blocks(start, stop), start, stop, room)

    def blocks(self) -> list[Block]:
        with damage_named(self._path, "shard"):
            return self._blocks(0, self.rows)

    def _require(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start}:{stop} are outside 0:{self.rows}")

    def _blocks(self, start: int, stop: int) -> list[Block]:
        rows = self._datasets["embedding"].chunks[0]
        firsts = range(start - start % rows, stop, rows)
        return [Block(first, min(rows, self.rows - first), chunk_offset(self._datasets["embedding"], first)) for first in firsts]

    def close(self) -> None:
        self._file.close()


def _columns(layout: ShardLayout) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Name -> (dtype, shape of one row)."""
    return {
        "digest": (np.dtype(np.uint8), (DIGEST_BYTES,)),
        "view": (np.dtype("<i2"), ()),
        "embedding": (np.dtype(layout.dtype).newbyteorder("<"), layout.shape),
    }


def _row_bytes(column: tuple[np.dtype[Any], tuple[int, ...]]) -> int:
    dtype, shape = column
    return dtype.itemsize * int(np.prod(shape))
