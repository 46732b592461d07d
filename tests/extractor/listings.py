"""Listings and what is known of their items, made for tests from a few values; and what tests ask of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from extractor.bad_images import BadImages
from extractor.corpus import ITEM_COLUMNS, Item, Items, Listing, ListingReject
from extractor.diff import KNOWN_COLUMNS, STATE, UNCHANGED, Diff, diff
from extractor.listing import ListingBuilder
from storage.files import FileEntry
from storage.index import EmbeddingIndex
from storage.row_file import Rows
from storage.row_sorter import RowSorter


@dataclass(frozen=True)
class Known:
    """What an earlier run recorded of a key: its stamp, and its digest or its reject (reason, message)."""

    stamp: str
    digest: bytes | None
    reject: tuple[str, str] | None = None


def listing_of(items: Sequence[Item], rejects: Iterable[ListingReject] = (), attributes: pa.Table | None = None) -> Listing:
    builder = ListingBuilder()
    builder.add(items, None, attributes)
    builder.reject(rejects)
    return builder.finish("photos", Path("/photos"), Path("/photos"), {}, lambda *_: "repeated")


def items_of(items: Sequence[Item]) -> Items:
    return listing_of(items).items


def known_rows(known: Mapping[str, Known]) -> Rows:
    rows = RowSorter(KNOWN_COLUMNS, ["key"])
    values = [(key, each.stamp, each.digest, *(each.reject or (None, None)), None, None) for key, each in known.items()]
    rows.add(pa.Table.from_pylist([dict(zip(KNOWN_COLUMNS.names, row, strict=True)) for row in values], KNOWN_COLUMNS))
    return rows


def index_of(places: Mapping[bytes, tuple[str, int]]) -> EmbeddingIndex:
    index = EmbeddingIndex()
    rows = [{"digest": digest, "shard": shard, "row": row} for digest, (shard, row) in places.items()]
    schema = pa.schema([("digest", pa.binary(32)), ("shard", pa.string()), ("row", pa.int32())])
    entries = (FileEntry(f"shards/{shard}.parquet", shard, 1, 1) for shard, _ in places.values())
    index.add(pa.Table.from_pylist(rows, schema), entries)
    return index


def diff_of(items: Sequence[Item] | Items, known: Mapping[str, Known], index: EmbeddingIndex | None = None, **options: object) -> Diff:
    """Against one version. index: None for one that has every good image that is known."""
    if index is None:
        index = index_of({each.digest: ("s", 0) for each in known.values() if each.digest and not each.reject})
    return diff(
        items if isinstance(items, Items) else items_of(items),
        known_rows(known),
        RowSorter(KNOWN_COLUMNS, ["key"]),
        BadImages(),
        index,
        **options,
    )  # type: ignore[arg-type]


def unchanged_keys(found: Diff) -> list[str]:
    rows = (row for block in found.decided.blocks() for row in block.select(["key", STATE]).to_pylist())
    return [row["key"] for row in rows if row[STATE] == UNCHANGED]


def attributes_of(listing: Listing) -> pa.Table:
    """Further columns, row i of item i."""
    return pa.concat_tables(listing.items.rows.blocks()).drop_columns(ITEM_COLUMNS.names)


def are_equal(one: Listing, other: Listing) -> bool:
    return _values(one) == _values(other)


def _values(listing: Listing) -> tuple[object, ...]:
    about = (listing.corpus_id, listing.source, listing.base, listing.skipped)
    return *about, list(listing.items), attributes_of(listing).to_pydict(), list(listing.rejects)
