"""Rows in sorted order, more of them than memory should hold: an external merge sort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute

from storage.common_types import common_schema, fitting, with_texts
from storage.row_file import RowFile, aligned, write_rows

RUN_BYTES = 64 << 20  # 64 MiB sorted in memory at a time: ten million rows of 120 bytes are 19 runs


class RowSorter:
    """Takes tables in any order and gives their rows sorted, as often as asked, also with more tables added in between.

    by: columns without nulls. The first one leads; of rows that are equal in it the first by all columns comes first, and the others are
    in no order that counts. last_only: of rows that are equal in the first column only the one added last is given.

    Tables may have further columns than the schema, and not all the same ones: where a row has none, it is null. Types that differ become
    a common one (`storage.common_types`), whatever the order in which they come.
    """

    def __init__(self, schema: pa.Schema, by: Sequence[str], last_only: bool = False) -> None:
        self.schema = schema
        self._by = [(name, "ascending") for name in by]
        self._last_only = last_only
        self._runs: list[RowFile] = []
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._count = 0

    def __len__(self) -> int:
        """Rows added."""
        return self._count

    def add(self, table: pa.Table) -> None:
        self._count += table.num_rows
        if table.num_rows:
            self._waiting.append(table)
            self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= RUN_BYTES:
            self._end_run()

    def blocks(self) -> Iterator[pa.Table]:
        self._end_run()
        empty = self.schema.empty_table()
        for parts in aligned(self._runs, self._by[0][0]):
            filled = [part for part in parts if part.num_rows]
            if len(filled) > 1:
                yield self._sorted(_joined(filled, empty))
            else:
                yield filled[0] if filled[0].schema == empty.schema else _joined(filled, empty).combine_chunks()

    def _end_run(self) -> None:
        if self._waiting:
            self.schema = self._common_schema()
            rows = self._sorted(_joined(self._waiting, self.schema.empty_table()))
            self._waiting, self._waiting_bytes = [], 0
            self._runs.append(write_rows(rows.schema, [rows]))

    def _common_schema(self) -> pa.Schema:
        """Of all tables so far. Where a type changes, it has to hold what has been written before."""
        found = common_schema([self.schema, *(table.schema for table in self._waiting)])
        changed = {field.name for field in self.schema if found.field(field.name).type != field.type}
        written = (
            block.select([name for name in block.column_names if name in changed])
            for run in self._runs
            if changed.intersection(run.schema.names)
            for block in run.blocks()
        )
        return fitting(found, chain(self._waiting, written))

    def _sorted(self, table: pa.Table) -> pa.Table:
        table = table.take(pa.compute.sort_indices(table, sort_keys=self._by))  # stable
        return _last_of_each(table, self._by[0][0]) if self._last_only else table


def _joined(tables: Sequence[pa.Table], empty: pa.Table) -> pa.Table:
    return pa.concat_tables([empty, *(with_texts(table, empty.schema) for table in tables)], promote_options="permissive")


def _last_of_each(table: pa.Table, column: str) -> pa.Table:
    values = table[column].combine_chunks()
    last = np.ones(table.num_rows, bool)
    last[:-1] = pa.compute.not_equal(values.slice(0, len(values) - 1), values.slice(1)).to_numpy(zero_copy_only=False)
    return table.filter(pa.array(last))
