"""From what a source finds, in whatever order, to a listing: sorted by key, each key once, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from extractor.corpus import ITEM_COLUMNS, OWN_PREFIX, REJECT_COLUMNS, Item, Items, Listing, ListingReject, items_of, table_of
from storage.row_file import RowWriter, write_rows
from storage.row_sorter import RowSorter

PLACE = f"{OWN_PREFIX}place"  # of equal keys the item with the lowest place stays
ADD_ROWS = 1 << 14  # what a source should have in hand before it adds it: Python objects take ten times the memory of rows
TellRepeated = Callable[[Item, int, Item, int], str]  # (item, its place, item that has its key and stays, its place) -> message


class ListingBuilder:
    """Takes items and rejects from several threads."""

    def __init__(self) -> None:
        self._items = RowSorter(ITEM_COLUMNS.append(pa.field(PLACE, pa.int64())), ["key", PLACE])
        self._rejects = RowSorter(REJECT_COLUMNS, REJECT_COLUMNS.names)
        self._lock = threading.Lock()

    @property
    def found_items(self) -> bool:
        return len(self._items) > 0

    @property
    def rejected(self) -> int:
        return len(self._rejects)

    def add(self, items: Sequence[Item] | pa.Table, places: Sequence[int] | None = None, attributes: pa.Table | None = None) -> None:
        """items: also as ITEM_COLUMNS. places: None where no two items have one key. attributes: row i of item i, or None.

        Attributes of one name have one type in the end, that of all of them (`storage.common_types`).
        """
        if not len(items):
            return
        table = items if isinstance(items, pa.Table) else table_of(items)
        table = table.append_column(PLACE, pa.array(np.asarray(places if places is not None else [0] * len(items), np.int64)))
        if attributes is not None:
            for name in attributes.column_names:
                table = table.append_column(name, _without_dictionaries(attributes[name]))
        with self._lock:
            self._items.add(table)

    def reject(self, rejects: Iterable[ListingReject]) -> None:
        rows = [(r.key, r.stamp, r.reason, r.message) for r in rejects]
        if rows:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            with self._lock:
                self._rejects.add(pa.table(columns, schema=REJECT_COLUMNS))

    def first_reject(self) -> ListingReject | None:
        block = next(self._rejects.blocks(), None)
        return ListingReject(*block.slice(0, 1).to_pylist()[0].values()) if block else None

    def finish(
        self,
        corpus_id: str,
        source: Path | str,
        base: Path,
        skipped: Mapping[str, int],
        tell_repeated: TellRepeated,
        complete: Callable[[pa.Table], pa.Table] = lambda block: block,
    ) -> Listing:
        """complete: called with each block of items, to fill in what only the whole corpus tells."""
        items = self._write_items(tell_repeated, complete)
        rejects = write_rows(REJECT_COLUMNS, self._rejects.blocks())
        return Listing(corpus_id, source, base, items, rejects, dict(sorted(skipped.items())))

    def _write_items(self, tell_repeated: TellRepeated, complete: Callable[[pa.Table], pa.Table]) -> Items:
        writer: RowWriter | None = None
        for block in self._each_key_once(tell_repeated):
            writer = writer or RowWriter(block.schema)
            writer.append(complete(block))
        return Items((writer or RowWriter(ITEM_COLUMNS)).finish())

    def _each_key_once(self, tell_repeated: TellRepeated) -> Iterator[pa.Table]:
        """The items of all keys; those whose key is taken become rejects."""
        before: pa.Table | None = None  # the item of the last key so far
        for block in self._items.blocks():
            joined = pa.concat_tables([before, block]) if before else block
            is_first = _is_first(joined["key"].combine_chunks())
            if before:
                is_first[0] = False  # it was given with its own block
            self._reject_repeated(joined, is_first, 1 if before else 0, tell_repeated)
            kept = np.flatnonzero(is_first)
            before = joined.slice(int(kept[-1]), 1) if len(kept) else before
            yield joined.take(pa.array(kept)).drop_columns([PLACE])

    def _reject_repeated(self, block: pa.Table, is_first: npt.NDArray[np.bool_], start: int, tell: TellRepeated) -> None:
        holders = np.maximum.accumulate(np.where(is_first, np.arange(len(is_first)), 0))
        rejects = []
        for number in np.flatnonzero(~is_first[start:]) + start:
            (item, place), (holder, its_place) = _item_at(block, int(number)), _item_at(block, int(holders[number]))
            rejects.append(ListingReject(item.key, item.stamp, "repeated-key", tell(item, place, holder, its_place)))
        self.reject(rejects)


def _item_at(block: pa.Table, number: int) -> tuple[Item, int]:
    row = block.slice(number, 1)
    return next(items_of(row)), row[PLACE][0].as_py()


def _is_first(keys: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether each key differs from the one above."""
    first = np.ones(len(keys), bool)
    if len(keys) > 1:
        first[1:] = pa.compute.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1)).to_numpy(zero_copy_only=False)
    return first


def _without_dictionaries(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A file of rows has one dictionary for all blocks, which blocks of several containers have not."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
