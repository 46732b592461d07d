"""Embeddings of items that go by their key, and that nothing else points at: they go, too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.content_files import files_in
from storage.damage import damage_named
from storage.errors import DamagedError
from storage.files import FileEntry, open_proven
from storage.items import ITEM_SCHEMA, read_tables
from storage.place import Place
from storage.receipt_rows import ReceiptRows
from storage.takedown_found import ItemFacts, Rows
from storage.tombstones import Tombstones

TAKEDOWN_ITEMS = pa.schema([ITEM_SCHEMA.field(name) for name in ("key", "corpus", "digest", "stamp", "shard", "row")])


def orphaned_digests(
    folder: Place, items: Mapping[str, FileEntry], facts: Mapping[str, ItemFacts], receipts: Sequence[ReceiptRows], stones: Tombstones
) -> frozenset[bytes]:
    """Of embeddings. items: files that versions list, by path; all files of items are looked at, for a writer may list the others yet."""
    found = frozenset[bytes]().union(*(each.by_key for each in facts.values()), *(each.by_key for each in receipts))
    if not found:
        return found
    wanted, kept = pa.array(sorted(found), pa.binary(32)), set[bytes]()
    listed = (read_tables([entry], folder, TAKEDOWN_ITEMS) for entry in items.values())
    for table in chain(listed, _late(folder, items)):
        table = table.filter(pc.is_in(table["digest"], value_set=wanted))
        kept.update(table["digest"].filter(pa.array(~stones.taken(table))).to_pylist())
    return found - kept - frozenset[bytes]().union(*(each.kept(stones) for each in receipts))


def orphaned_rows(
    folder: Place, items: Mapping[str, FileEntry], facts: Mapping[str, ItemFacts], receipts: Sequence[ReceiptRows], stones: Tombstones
) -> dict[str, Rows]:
    """By shard the rows (of view 0): also where another key has another embedding under the same digest. items: as above."""
    gone, kept = defaultdict[str, list[Rows]](list), defaultdict[str, list[Rows]](list)
    for each in facts.values():
        for shard, rows in each.key_rows.items():
            gone[shard].append(rows)
    if not gone:
        return {}
    late = (dict(rows_by_shard(table.filter(pa.array(~stones.taken(table))))) for table in _late(folder, items))
    for each_kept in chain((each.kept_rows for each in facts.values()), late, (each.kept_rows(stones) for each in receipts)):
        for shard, rows in each_kept.items():
            kept[shard].append(rows)
    none = np.zeros(0, np.int64)
    left = {shard: np.setdiff1d(np.concatenate(parts), np.concatenate([none, *kept[shard]])) for shard, parts in gone.items()}
    return {shard: rows for shard, rows in left.items() if len(rows)}


def rows_by_shard(items: pa.Table) -> Iterator[tuple[str, Rows]]:
    """Each shard that items point at, and the rows there, ascending and each once."""
    column = items["shard"].combine_chunks()
    places = np.unique(column.indices.to_numpy().astype(np.int64) << 32 | items["row"].to_numpy())
    starts = np.searchsorted(places >> 32, np.arange(len(column.dictionary) + 1))
    for number, shard in enumerate(column.dictionary.to_pylist()):
        yield shard, places[starts[number] : starts[number + 1]] & 0xFFFFFFFF


def _late(folder: Place, items: Mapping[str, FileEntry]) -> Iterator[pa.Table]:
    """Item files that no version lists, as far as they can be read."""
    for entry in files_in(folder, "items"):
        if entry.path not in items:
            with suppress(DamagedError), damage_named(folder / entry.path, "file"):
                yield open_proven(folder, entry, partial(pq.read_table, columns=TAKEDOWN_ITEMS.names)).cast(TAKEDOWN_ITEMS)
