"""What a file says nothing of stays: labels, splits and attributes for which it has no column."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from storage.corpus_items import item_blocks, with_keys
from storage.items import joined_items
from storage.manifest import CorpusState
from storage.place import Place

_OF_THE_EMBEDDING = frozenset({"key", "corpus", "digest", "stamp", "shard", "row"})


def keep_columns(items: pa.Table, brought: Collection[str], state: CorpusState | None, set_folder: Place) -> tuple[pa.Table, int]:
    """items: those that are to take the place of the ones of their keys in the corpus; returned with the columns that those have and
    nobody brings, after their own, and how many of them the corpus has. brought: the columns of the file, also those that take labels
    away. Raises DamagedError."""
    keys = items["key"].combine_chunks()
    found = [with_keys(block, keys) for block in item_blocks(state, set_folder)]
    if not any(block.num_rows for block in found):
        return items, 0
    old = joined_items(found, None)
    rows = old.take(pc.index_in(keys, value_set=old["key"].combine_chunks()))
    for name in old.column_names:
        if name in _OF_THE_EMBEDDING or name in brought:
            continue
        number = items.schema.get_field_index(name)
        items = items.append_column(name, rows[name]) if number < 0 else items.set_column(number, items.schema.field(number), rows[name])
    return items, old.num_rows
