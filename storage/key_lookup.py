"""From keys to positions in the items table, without reading it.

The item files of a corpus are sorted by key, and the footer of each says with which key its row groups begin. So a key is looked for by
halving: a few footers, then the keys of one row group. Of what was read only the first keys are kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import DamagedError, UsageError
from storage.files import FileEntry, open_listed
from storage.items import ITEM_SCHEMA, open_items
from storage.names import SetName
from storage.parquet_pages import least_values
from storage.place import Place

_KEY = pa.schema([ITEM_SCHEMA.field("key")])
Positions = npt.NDArray[np.int64]


class KeyLookup:
    """corpora: the item files of each, in the order of the items table."""

    def __init__(self, corpora: Mapping[str, Sequence[FileEntry]], name: SetName) -> None:
        self._name = name
        self._corpora = {corpus: _SortedFiles(entries, name.folder) for corpus, entries in corpora.items()}

    def find(self, keys: Sequence[str], corpus: str | None = None) -> Positions:
        """The position of each key [n], -1 for what is not there. corpus: None for all.

        Raises UsageError for a corpus that the set has not, and for a key that several corpora have; DamagedError.
        """
        if corpus is not None and corpus not in self._corpora:
            raise UsageError(f"{self._name} has no corpus {corpus!r}; it has {', '.join(self._corpora) or 'none'}")
        wanted = sorted(set(keys))
        found = np.full(len(wanted), -1, np.int64)
        begins = 0
        for each, files in self._corpora.items():
            if corpus in (None, each):
                here = files.find(wanted)
                self._require_one(wanted, (found >= 0) & (here >= 0))
                found = np.where(here >= 0, here + begins, found)
            begins += files.rows
        positions = dict(zip(wanted, found.tolist(), strict=True))
        return np.array([positions[key] for key in keys], np.int64)

    def _require_one(self, wanted: Sequence[str], twice: npt.NDArray[np.bool_]) -> None:
        if twice.any():
            known = ", ".join(self._corpora)
            raise UsageError(f"several corpora of {self._name} have the key {wanted[int(twice.argmax())]!r}: name one of {known}")


class _SortedFiles:
    """The item files of one corpus."""

    def __init__(self, entries: Sequence[FileEntry], folder: Place) -> None:
        self._entries, self._folder = [entry for entry in entries if entry.rows], folder
        self._starts = np.cumsum([0, *(entry.rows for entry in self._entries)], dtype=np.int64)
        self._begins: dict[int, list[str]] = {}  # by file, the first key of each row group

    @property
    def rows(self) -> int:
        return int(self._starts[-1])

    def find(self, wanted: Sequence[str]) -> Positions:
        """wanted: ascending, each once."""
        found = np.full(len(wanted), -1, np.int64)
        for number, start, stop in self._owners(wanted, 0, len(wanted), 0, len(self._entries)):
            rows = self._rows_in(number, wanted[start:stop])
            found[start:stop] = np.where(rows >= 0, rows + self._starts[number], -1)
        return found

    def _owners(self, wanted: Sequence[str], start: int, stop: int, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """(file, first and last index of the wanted keys that can be in it only), of files low to high: opened by halving."""
        if start == stop or low == high:
            return
        if high - low == 1:
            yield low, start, stop
            return
        middle = (low + high) // 2
        border = bisect_left(wanted, self._first_keys(middle)[0], start, stop)
        yield from self._owners(wanted, start, border, low, middle)
        yield from self._owners(wanted, border, stop, middle, high)

    def _rows_in(self, number: int, wanted: Sequence[str]) -> Positions:
        """The row of each key in a file; -1 where it has none."""
        begins = self._first_keys(number)
        borders = [0, *(bisect_left(wanted, key) for key in begins[1:]), len(wanted)]
        found = np.full(len(wanted), -1, np.int64)
        entry = self._entries[number]
        with damage_named(self._folder / entry.path, "file"), open_items(entry, self._folder, _KEY) as file:
            if file.num_row_groups != len(begins) or file.metadata.num_rows != entry.rows:
                raise DamagedError(f"{self._folder / entry.path} has {file.metadata.num_rows} rows, the manifest says {entry.rows}")
            row = 0
            for group in range(len(begins)):
                start, stop = borders[group], borders[group + 1]
                if start < stop:
                    keys = self._keys(file, group).combine_chunks()
                    at = pc.index_in(pa.array(wanted[start:stop], pa.string()), value_set=keys).fill_null(-1).to_numpy()
                    found[start:stop] = np.where(at >= 0, at + row, -1)
                row += file.metadata.row_group(group).num_rows
        return found

    def _first_keys(self, number: int) -> list[str]:
        if number not in self._begins:
            entry = self._entries[number]
            path = self._folder / entry.path
            with damage_named(path, "file"):
                least = open_listed(self._folder, entry, _least_keys)
                if None in least:
                    with open_items(entry, self._folder, _KEY) as file:
                        begins = [self._keys(file, group)[0].as_py() for group in range(file.num_row_groups)]
                else:
                    begins = [str(key, "utf-8") for key in least if key is not None]
                if not begins or begins != sorted(begins):
                    raise DamagedError(f"{path} does not hold the {entry.rows} sorted items that the manifest lists")
            self._begins[number] = begins
        return self._begins[number]

    def _keys(self, file: pq.ParquetFile, group: int) -> pa.ChunkedArray:
        return file.read_row_group(group, ["key"], use_threads=False).column(0)


def _least_keys(path: Path) -> list[bytes | None]:
    return least_values(np.memmap(path, np.uint8, "r").view(np.ndarray), "key")
