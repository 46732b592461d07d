"""A corpus as a list file: one row an image, with its path or URI, and perhaps its label, split and further attributes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from extractor.content import Stamp, locate, read_stamp
from extractor.corpus import Item, Listing, ListingReject, derived_id
from storage.errors import UsageError
from storage.items import RESERVED_COLUMNS
from storage.table_file import cell_text, label_text, read_table_file

STAMP_THREADS = 32  # asking for a stamp waits for a disk or a server

# What the listing itself has columns for; all others are attributes.
_OWN = ("key", "path", "label", "split")


def list_entries(source: Path, corpus_id: str | None = None) -> Listing:
    """List the rows of a CSV, JSONL or Parquet file, sorted by key.

    Columns: `path` (relative to the list's folder, absolute, or a URI: file, http(s), s3, gs, az), optional `key` (else the path is the
    key), `label`, `split`; all others are kept as attributes. A label that is a list is kept as `a|b`. The first row of a key counts,
    later ones are rejects, and so is what does not exist. Raises UsageError for missing or reserved columns, rows without a path, and
    a list of which nothing exists.
    """
    source = source.resolve()
    table = read_table_file(source, "list")
    _require_columns(table, source)
    paths = _required_text(table, "path", source)
    keys = _required_text(table, "key", source) if "key" in table.column_names else paths
    labels = [label_text(cell) for cell in _optional(table, "label")]
    splits = [cell_text(cell) for cell in _optional(table, "split")]
    entries = [Item(key, "", label, split, location=path) for key, label, split, path in zip(keys, labels, splits, paths, strict=True)]
    base = source.parent
    with ThreadPoolExecutor(STAMP_THREADS) as pool:
        stamps = list(pool.map(lambda item: read_stamp(locate(base, item)), entries))
    chosen, rejects = _settle(entries, stamps)
    if not chosen:
        hint = ". Its paths have backslashes: write them with /" if "\\" in entries[0].location else ""
        raise UsageError(f"none of the {len(entries)} images in {source} is there; the first is {locate(base, entries[0])}{hint}")
    items = tuple(
        Item(e.key, stamps[i].value, e.label, e.split, stamps[i].bytes, "" if e.location == e.key else e.location) for i, e in chosen
    )
    attributes = _attributes(table).take(pa.array([i for i, _ in chosen], pa.int64()))
    return Listing(corpus_id or derived_id(source), source, base, items, tuple(rejects), {}, attributes)


def _settle(entries: list[Item], stamps: list[Stamp]) -> tuple[list[tuple[int, Item]], list[ListingReject]]:
    """The rows that are items, by key, and the rows that are not."""
    first: dict[str, tuple[int, Item]] = {}
    rejects = []
    for i, (entry, stamp) in enumerate(zip(entries, stamps, strict=True)):
        if entry.key in first:
            message = f"row {i + 1} has the key of row {first[entry.key][0] + 1}"
            rejects.append(ListingReject(entry.key, stamp.value, "repeated-key", message))
        elif stamp.reason:
            rejects.append(ListingReject(entry.key, "", stamp.reason, stamp.message))
        else:
            first[entry.key] = (i, entry)
    return sorted(first.values(), key=lambda pair: pair[1].key.encode()), rejects


def _require_columns(table: pa.Table, source: Path) -> None:
    if "path" not in table.column_names:
        raise UsageError(f"the list {source} must have a column path; it has {', '.join(table.column_names)}")
    if not table.num_rows:
        raise UsageError(f"the list {source} has no rows")
    if taken := RESERVED_COLUMNS & set(table.column_names) - set(_OWN):
        raise UsageError(f"the list {source} has columns that a feature set uses itself: {', '.join(sorted(taken))}; rename them")


def _required_text(table: pa.Table, name: str, source: Path) -> list[str]:
    cells = [cell_text(cell) for cell in table[name].to_pylist()]
    found = [cell for cell in cells if cell is not None]
    if len(found) != len(cells):
        raise UsageError(f"the list {source} has no {name} in row {cells.index(None) + 1}")
    return found


def _optional(table: pa.Table, name: str) -> list[Any]:
    return list(table[name].to_pylist()) if name in table.column_names else [None] * table.num_rows


def _attributes(table: pa.Table) -> pa.Table:
    """The further columns. Where a key of its own was given, the path is one of them."""
    kept = [name for name in table.column_names if name not in _OWN or (name == "path" and "key" in table.column_names)]
    return table.select(kept)
