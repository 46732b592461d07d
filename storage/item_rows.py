"""Rows of the items table by their positions: what is read is the row groups that they stand in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.files import FileEntry
from storage.items import ITEM_FIELDS, joined_items, open_items
from storage.place import Place

Positions = npt.NDArray[np.int64]


class ItemRows:
    """entries: the item files, in the order of the items table."""

    def __init__(self, entries: Sequence[FileEntry], set_folder: Place) -> None:
        self._entries, self._folder = entries, set_folder
        self._ends = np.cumsum([entry.rows for entry in entries], dtype=np.int64)

    def take(self, positions: Positions, columns: Sequence[str]) -> pa.Table:
        """These columns of ITEM_SCHEMA, [n] in the order of `positions`. Raises DamagedError."""
        schema = pa.schema([field for field in ITEM_FIELDS if field.name in columns])
        order = np.argsort(positions, kind="stable")
        tables = [schema.empty_table()]
        for number, start, stop in _parts(self._ends, positions[order]):
            begins = int(self._ends[number - 1]) if number else 0
            tables += self._of_file(self._entries[number], positions[order[start:stop]] - begins, schema)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return joined_items(tables, columns).take(pa.array(back))

    def _of_file(self, entry: FileEntry, rows: Positions, schema: pa.Schema) -> list[pa.Table]:
        """rows: ascending."""
        path = self._folder / entry.path
        with damage_named(path, "file"), open_items(entry, self._folder, schema) as file:
            ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)], dtype=np.int64)
            if not len(ends) or ends[-1] != entry.rows:
                raise DamagedError(f"{path} has {ends[-1:].sum()} rows, the manifest says {entry.rows}")
            tables = []
            for group, start, stop in _parts(ends, rows):
                table = file.read_row_group(group, schema.names, use_threads=False).select(schema.names).cast(schema)
                tables.append(table.take(pa.array(rows[start:stop] - (int(ends[group - 1]) if group else 0))))
            return tables


def _parts(ends: Positions, positions: Positions) -> list[tuple[int, int, int]]:
    """(number of a file or group, first and last index of the ascending positions in it), for those that have any."""
    owners = np.searchsorted(ends, positions, side="right")
    numbers, starts = np.unique(owners, return_index=True)
    borders = [*starts.tolist(), len(positions)]
    return list(zip(numbers.tolist(), borders, borders[1:], strict=False))
