"""The items of one corpus of a version, block by block with their attributes, and those of some keys of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.files import FileEntry
from storage.items import ITEM_FIELDS, REJECT_SCHEMA, read_in_blocks
from storage.manifest import CorpusState
from storage.place import Place

# Of tables that are sorted, joined and cut: dictionaries of one table are not those of another.
PLAIN_ITEMS = pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in ITEM_FIELDS])
_NOT_SAID = frozenset({"key", "corpus", "stamp", "shard", "row"})


@dataclass(frozen=True)
class Seen:
    """What a version says of a key. said: digest, label, split and attributes, or of a reject digest, reason and message; without nulls.

    place: shard and row of view 0; None of a reject.
    """

    said: Mapping[str, Any]
    place: tuple[str, int] | None


def item_blocks(state: CorpusState | None, set_folder: Place) -> Iterator[pa.Table]:
    """All items by key: PLAIN_ITEMS, then the attributes. Raises DamagedError."""
    for entry in state.items if state else ():
        yield from blocks_of_file(entry, set_folder)


def blocks_of_file(entry: FileEntry, set_folder: Place) -> Iterator[pa.Table]:
    """Those of one item file."""
    yield from read_in_blocks(entry, set_folder, PLAIN_ITEMS, attributes=True)


def reject_blocks(state: CorpusState | None, set_folder: Place) -> Iterator[pa.Table]:
    """All rejects, REJECT_SCHEMA. Raises DamagedError."""
    if state and state.rejects:
        yield from read_in_blocks(state.rejects, set_folder, REJECT_SCHEMA)


def seen_keys(state: CorpusState | None, set_folder: Place, keys: pa.Array) -> dict[str, Seen]:
    """What is said of those of the keys that are there; of one that is an item and a reject, too, the item."""
    seen: dict[str, Seen] = {}
    for block in reject_blocks(state, set_folder):
        seen.update(seen_in(with_keys(block, keys)))
    for block in item_blocks(state, set_folder):
        seen.update(seen_in(with_keys(block, keys)))
    return seen


def seen_in(table: pa.Table) -> dict[str, Seen]:
    """Of a table of items or rejects."""
    return {
        row["key"]: Seen(
            {name: _comparable(value) for name, value in row.items() if name not in _NOT_SAID and value is not None},
            (row["shard"], row["row"]) if "shard" in row else None,
        )
        for row in table.to_pylist()
    }


def _comparable(value: Any) -> Any:
    return None if value != value else value  # NaN equals nothing, not even itself


def with_keys(table: pa.Table, keys: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["key"], value_set=keys))


def without_keys(table: pa.Table, keys: pa.Array) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["key"], value_set=keys)))
