"""A corpus as a list file: one row an image, with its path or URI, and perhaps its label, split and further attributes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from extractor.content import Stamp, locate, read_stamp
from extractor.corpus import Item, Listing, ListingReject, derived_id, taken_names
from extractor.listing import ListingBuilder
from extractor.parquet_images import IMAGE, images_expected
from storage.errors import UsageError
from storage.table_file import cell_text, label_text, tables_of

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
    base = source.parent
    listing = ListingBuilder()
    first: Item | None = None
    rows = 0
    with ThreadPoolExecutor(STAMP_THREADS) as pool:
        for table in tables_of(source, "list"):
            _require_columns(table, source)
            entries = _entries(table, source, rows)
            stamps = _read_stamps(pool, [locate(base, item) for item in entries])
            _enter(listing, table, entries, stamps, rows)
            first = first or next(iter(entries), None)
            rows += table.num_rows
    if first is None:
        raise UsageError(f"the list {source} has no rows")
    if not listing.found_items:
        hint = ". Its paths have backslashes: write them with /" if "\\" in first.location else ""
        raise UsageError(f"none of the {rows} images in {source} is there; the first is {locate(base, first)}{hint}")
    return listing.finish(corpus_id or derived_id(source), source, base, {}, _tell_repeated)


def _read_stamps(pool: ThreadPoolExecutor, locations: list[str]) -> list[Stamp]:
    """In runs of several, which still keep all threads busy: a task for each takes four times as long (46 us against 12, local disk)."""
    size = -(-len(locations) // (8 * STAMP_THREADS)) or 1
    runs = [locations[start : start + size] for start in range(0, len(locations), size)]
    return list(chain.from_iterable(pool.map(lambda run: [read_stamp(location) for location in run], runs)))


def _entries(table: pa.Table, source: Path, row: int) -> list[Item]:
    paths = _required_text(table, "path", source, row)
    keys = _required_text(table, "key", source, row) if "key" in table.column_names else paths
    labels = [label_text(cell) for cell in _optional(table, "label")]
    splits = [cell_text(cell) for cell in _optional(table, "split")]
    return [Item(key, "", label, split, location=path) for key, label, split, path in zip(keys, labels, splits, paths, strict=True)]


def _enter(listing: ListingBuilder, table: pa.Table, entries: list[Item], stamps: list[Stamp], row: int) -> None:
    """The entries that are there, and those that are not. A repeated key of what is not there is just missing."""
    items = [
        Item(e.key, stamp.value, e.label, e.split, stamp.bytes, "" if e.location == e.key else e.location)
        for e, stamp in zip(entries, stamps, strict=True)
    ]
    attributes = _attributes(table)
    there = [i for i, stamp in enumerate(stamps) if not stamp.reason]
    listing.add([items[i] for i in there], [row + i for i in there], attributes.take(pa.array(there, pa.int64())))
    listing.reject(ListingReject(e.key, "", stamp.reason, stamp.message) for e, stamp in zip(entries, stamps, strict=True) if stamp.reason)


def _tell_repeated(item: Item, row: int, holder: Item, its_row: int) -> str:
    return f"row {row + 1} has the key of row {its_row + 1}"


def _require_columns(table: pa.Table, source: Path) -> None:
    if "path" not in table.column_names:
        images = f". To be a container of images: {images_expected(table.schema)}" if IMAGE in table.column_names else ""
        raise UsageError(f"the list {source} must have a column path; it has {', '.join(table.column_names)}{images}")
    if taken := taken_names(set(table.column_names) - set(_OWN)):
        raise UsageError(f"the list {source} has columns that a feature set uses itself: {', '.join(taken)}; rename them")


def _required_text(table: pa.Table, name: str, source: Path, row: int) -> list[str]:
    cells = [cell_text(cell) for cell in table[name].to_pylist()]
    found = [cell for cell in cells if cell is not None]
    if len(found) != len(cells):
        raise UsageError(f"the list {source} has no {name} in row {row + cells.index(None) + 1}")
    return found


def _optional(table: pa.Table, name: str) -> list[Any]:
    return list(table[name].to_pylist()) if name in table.column_names else [None] * table.num_rows


def _attributes(table: pa.Table) -> pa.Table:
    """The further columns. Where a key of its own was given, the path is one of them."""
    kept = [name for name in table.column_names if name not in _OWN or (name == "path" and "key" in table.column_names)]
    return table.select(kept)
