"""Parquet shards: an embedding is one fixed-length binary value, little-endian, C order.

Measured (docs/benchmarks.md): PyArrow reads this 7 to 30 times and writes it 6 times as fast as a fixed-size list, and DuckDB, Polars,
pandas and Hugging Face `datasets` all read it; read from the mapped pages, as here, it is nearly as fast as copying memory. No
compression: zstd saves under a seventh of vectors and costs most of the read speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.mapped_rows import Block, MappedRows, as_bytes
from storage.parquet_pages import column_chunks, pages_of
from storage.row_block import DIGEST_BYTES, RowBlock
from storage.shard_layout import ShardLayout

ROW_GROUP_BYTES = 4 << 20  # 4 MiB: a sequential read is at full speed, a random row costs one group
METADATA_KEY = b"permafrost"


class ParquetShardWriter:
    """Writes a shard row group by row group; holds at most one row group in memory."""

    def __init__(self, path: Path, layout: ShardLayout) -> None:
        self._layout = layout
        self._schema = pa.schema(
            [
                pa.field("digest", pa.binary(DIGEST_BYTES), nullable=False),
                pa.field("view", pa.int16(), nullable=False),
                pa.field("embedding", pa.binary(layout.embedding_bytes), nullable=False),
            ],
            metadata={METADATA_KEY: layout.to_json()},
        )
        # Digests and embeddings are as good as random: a dictionary or statistics over them only cost bytes.
        self._writer = pq.ParquetWriter(path, self._schema, compression="none", use_dictionary=False, write_statistics=["view"])
        self._block = RowBlock(layout, max(1, ROW_GROUP_BYTES // layout.embedding_bytes))
        self._rows = 0

    def append(self, digests: Sequence[bytes], views: Sequence[int], embeddings: npt.NDArray[np.generic]) -> None:
        for _ in self._block.filled(digests, views, embeddings):
            self._flush()

    def close(self) -> int:
        if self._block.held:
            self._flush()
        self._writer.close()
        return self._rows

    def _flush(self) -> None:
        block, rows = self._block, self._block.held
        digests, embeddings = (pa.py_buffer(values[:rows].reshape(-1).view(np.uint8)) for values in (block.digests, block.embeddings))
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST_BYTES), rows, [None, digests]),
            pa.array(block.views[:rows]),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(self._layout.embedding_bytes), rows, [None, embeddings]),
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=rows)
        self._rows += rows


class ParquetShardReader:
    """Reads a shard through a memory map: embeddings as they stand in the pages, which Arrow would copy twice; the rest with Arrow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: dict[int, list[Block]] = {}  # by row group
        with damage_named(path, "shard"):
            self._file = pq.ParquetFile(path, memory_map=True)
            metadata = self._file.schema_arrow.metadata or {}
            self.layout = ShardLayout.from_json(metadata.get(METADATA_KEY, b"{}"), path)
            file_metadata = self._file.metadata
            self.rows = int(file_metadata.num_rows)
            sizes = [file_metadata.row_group(i).num_rows for i in range(file_metadata.num_row_groups)]
            self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
            if self._starts[-1] != self.rows:
                raise DamagedError(f"the shard {path} has {self._starts[-1]} rows in its row groups and {self.rows} in its footer")
            self._mapped = MappedRows(path, self.layout.embedding_bytes)

    def digests(self) -> list[bytes]:
        with damage_named(self._path, "shard"):
            return list(self._whole_column("digest").to_pylist())

    def views(self) -> npt.NDArray[np.int16]:
        with damage_named(self._path, "shard"):
            return np.asarray(self._whole_column("view").to_numpy(), np.int16)

    def read(self, start: int, stop: int) -> npt.NDArray[np.generic]:
        self._require(start, stop)
        dtype = np.dtype(self.layout.dtype).newbyteorder("<")
        with damage_named(self._path, "shard"):
            return self._mapped.read(self._blocks_of(start, stop), start, stop).view(dtype).reshape(-1, *self.layout.shape)

    def read_into(self, start: int, stop: int, out: npt.NDArray[np.generic]) -> None:
        self._require(start, stop)
        room = as_bytes(out, self.layout)
        with damage_named(self._path, "shard"):
            self._mapped.read_into(self._blocks_of(start, stop), start, stop, room)

    def blocks(self) -> list[Block]:
        with damage_named(self._path, "shard"):
            return [block for group in range(len(self._starts) - 1) for block in self._group(group)]

    def close(self) -> None:
        self._file.close()

    @cached_property
    def _chunks(self) -> list[tuple[int, int]]:
        """(first byte, bytes) of the embeddings in each row group."""
        field = self._file.schema_arrow.field("embedding")
        if field.type != pa.binary(self.layout.embedding_bytes) or field.nullable:
            raise DamagedError(
                f"the shard {self._path} has embeddings of type {field.type}, expected {self.layout.embedding_bytes} bytes each"
            )
        return column_chunks(self._mapped.bytes, "embedding")

    def _require(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows {start}:{stop} are outside 0:{self.rows}")

    def _blocks_of(self, start: int, stop: int) -> list[Block]:
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        blocks = [block for group in range(first, last) for block in self._group(group)]
        return [block for block in blocks if block.first < stop and block.first + block.rows > start]

    def _group(self, number: int) -> list[Block]:
        if number not in self._blocks:
            row, blocks = int(self._starts[number]), []
            for page in pages_of(self._mapped.bytes, *self._chunks[number], self.layout.embedding_bytes):
                blocks.append(Block(row, page.values, page.offset))
                row += page.values
            if row != self._starts[number + 1]:
                raise DamagedError(f"the shard {self._path} is damaged: row group {number} ends at row {row}")
            self._blocks[number] = blocks
        return self._blocks[number]

    def _whole_column(self, name: str) -> pa.ChunkedArray:
        column = self._file.read(columns=[name]).column(0)
        # Arrow reads a page with a damaged header as fewer rows, without a word.
        if len(column) != self.rows or column.null_count:
            raise DamagedError(f"the shard {self._path} is damaged: {len(column)} rows could be read of {self.rows}")
        return column
