"""Rows in a file without a name: tables that may be larger than memory should hold, written front to back and read in blocks.

The file is gone with the process that made it, whatever ends that (`storage.temporary`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from storage.temporary import room_told, temporary_file

BLOCK_BYTES = 2 << 20  # 2 MiB: what one read brings into memory; a merge of 20 sorted files has one block of each


class Rows(Protocol):
    """Rows that can be read any number of times, in blocks."""

    @property
    def schema(self) -> pa.Schema: ...

    def blocks(self) -> Iterator[pa.Table]: ...


class RowFile:
    """Made by `RowWriter` or `write_rows`. Not for several threads at once."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._reader = pa.ipc.open_file(file)
        self.schema: pa.Schema = self._reader.schema
        sizes = [self._reader.get_batch(i).num_rows for i in range(self._reader.num_record_batches)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._held: tuple[int, pa.Table] | None = None  # the block read last

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def blocks(self) -> Iterator[pa.Table]:
        for number in range(len(self._ends)):
            yield self._block(number)

    def read(self, start: int, stop: int) -> pa.Table:
        """Rows start to stop, in memory."""
        first, last = np.searchsorted(self._ends, (start, stop - 1), side="right") if stop > start else (0, -1)
        parts = []
        for number in range(int(first), int(last) + 1):
            begins = int(self._ends[number - 1]) if number else 0
            block = self._block(number)
            parts.append(block.slice(max(0, start - begins), min(stop, begins + block.num_rows) - max(start, begins)))
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def _block(self, number: int) -> pa.Table:
        if self._held is None or self._held[0] != number:
            self._held = (number, pa.Table.from_batches([self._reader.get_batch(number)]))
        return self._held[1]


class RowWriter:
    """Takes tables of one schema and makes blocks of about BLOCK_BYTES of them."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._file = temporary_file()
        self._writer = pa.ipc.new_file(pa.PythonFile(self._file, mode="w"), schema)
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0

    def append(self, table: pa.Table) -> None:
        if table.num_rows:
            self._waiting.append(table)
            self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= BLOCK_BYTES:
            self._flush()

    def finish(self) -> RowFile:
        with room_told():
            self._flush()
            self._writer.close()
            self._file.flush()
        return RowFile(pa.PythonFile(self._file, mode="r"))

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting).combine_chunks()
            rows = max(1, table.num_rows * BLOCK_BYTES // max(1, table.nbytes))
            with room_told():
                self._writer.write_table(table, max_chunksize=rows)
        self._waiting, self._waiting_bytes = [], 0


def write_rows(schema: pa.Schema, tables: Iterable[pa.Table]) -> RowFile:
    writer = RowWriter(schema)
    for table in tables:
        writer.append(table)
    return writer.finish()


def aligned(sources: Sequence[Rows], column: str) -> Iterator[list[pa.Table]]:
    """Read sources that are sorted by one column side by side: one table of each at a time, together the rows of one range of values.

    Rows of one value come together if each source has it once at most. The tables of a source, joined, are the source.
    """
    readers = [_Reader(source, column) for source in sources]
    while live := [reader for reader in readers if reader.has_rows()]:
        bound = min(reader.last for reader in live)
        yield [reader.take(bound) for reader in readers]


class _Reader:
    def __init__(self, source: Rows, column: str) -> None:
        self._blocks = source.blocks()
        self._column = column
        self._rest = self._empty = source.schema.empty_table()
        self.last: str | bytes = ""

    def has_rows(self) -> bool:
        while not self._rest.num_rows:
            block = next(self._blocks, None)
            if block is None:
                return False
            if block.num_rows:
                self._rest = block
                self.last = block[self._column][-1].as_py()
        return True

    def take(self, bound: str | bytes) -> pa.Table:
        """The rows up to and with this value. Arrow sorts text by its bytes, as Python does by code points: that is one order."""
        if not self._rest.num_rows:
            return self._empty
        end = self._rest.num_rows if self.last <= bound else self._count(bound)  # type: ignore[operator]
        taken, self._rest = self._rest.slice(0, end), self._rest.slice(end)
        return taken

    def _count(self, bound: str | bytes) -> int:
        values = self._rest[self._column]
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            if values[middle].as_py() <= bound:
                low = middle + 1
            else:
                high = middle
        return low
