"""A corpus: the images to embed, as the listing of a source. `sources` reads one; each kind of source has a file of its own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from storage.items import RESERVED_COLUMNS
from storage.names import check_name
from storage.row_file import RowFile

MAX_NAME = 4096  # bytes of a key: what a path may have

OWN_PREFIX = "permafrost:"  # of columns beside attributes, which users name
BYTES, LOCATION = f"{OWN_PREFIX}bytes", f"{OWN_PREFIX}location"
SETS = f"{OWN_PREFIX}sets"  # bits, 1 << number, of the sets of a run that read the item
ITEM_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("stamp", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        (BYTES, pa.int64()),
        (LOCATION, pa.string()),
    ]
)
REJECT_COLUMNS = pa.schema([(name, pa.string()) for name in ("key", "stamp", "reason", "message")])
_FIELDS = ("key", "stamp", "label", "split", BYTES, LOCATION)  # in the order of those of `Item`

# Reject reasons that the listing itself finds, anew each time: nothing is known of such an entry from earlier runs.
# `bad-label` is of older versions: such an image is an item without a label now.
LISTING_REASONS = frozenset({"bad-name", "repeated-key", "missing", "not-a-file", "truncated", "bad-container", "bad-label", "bad-record"})


class Item(NamedTuple):
    """A tuple, because the driver makes one for every image: a frozen dataclass takes several times as long."""

    key: str  # unique in the corpus: path relative to it with '/', or what the list says
    stamp: str  # changes when the bytes do: size and mtime in ns, or etag; "" where none is to be had
    label: str | None = None
    split: str | None = None
    bytes: int | None = None  # size of its encoded bytes, where the source says it
    location: str = (
        ""  # a path relative to the corpus' base, an absolute one, or a URI, perhaps with a part (`extractor.part`); "": the key
    )


@dataclass(frozen=True)
class ListingReject:
    """An entry of the listing that cannot be an item. `key` is escaped where it is no valid Unicode."""

    key: str
    stamp: str
    reason: str  # one of LISTING_REASONS
    message: str


class Items:
    """Items on disk, in the order of their rows: ITEM_COLUMNS, and perhaps attributes and what else belongs to each."""

    def __init__(self, rows: RowFile) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Item]:
        for block in self.rows.blocks():
            yield from items_of(block)

    def __getitem__(self, number: int) -> Item:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return next(items_of(self.rows.read(number, number + 1)))


@dataclass(frozen=True)
class Listing:
    """The items of a corpus, sorted by key; what is no item, by key; and how many names were passed over, by reason.

    All of it may be larger than memory should hold. Made by `extractor.listing`.
    """

    corpus_id: str
    source: Path | str  # the folder, list file or container; a pattern or URI is text
    base: Path  # the folder that relative locations start from
    items: Items  # with their attributes
    reject_rows: RowFile  # REJECT_COLUMNS
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def listed(self) -> int:
        return len(self.items) + len(self.reject_rows)

    @property
    def rejects(self) -> Iterator[ListingReject]:
        for block in self.reject_rows.blocks():
            yield from (ListingReject(*row) for row in _rows(block, tuple(REJECT_COLUMNS.names)))


_item_of: Callable[[tuple[Any, ...]], Item] = partial(tuple.__new__, Item)  # half of what `Item(*row)` takes


def items_of(table: pa.Table) -> Iterator[Item]:
    return map(_item_of, _rows(table, _FIELDS))


def table_of(items: Sequence[Item]) -> pa.Table:
    """ITEM_COLUMNS."""
    columns = zip(*((i.key, i.stamp, i.label, i.split, i.bytes, i.location) for i in items), strict=True)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, ITEM_COLUMNS.types, strict=True)], schema=ITEM_COLUMNS)


def _rows(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def taken_names(columns: Iterable[str]) -> list[str]:
    """Those that no attribute can have, because a feature set or a listing uses them itself."""
    return sorted(name for name in columns if name in RESERVED_COLUMNS or name.startswith(OWN_PREFIX))


def derived_id(source: Path | str) -> str:
    """A corpus id from its resolved location: readable, and different for two sources of one name."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(source).name).strip("-.") or "corpus"
    return check_name(f"{readable[:60]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}", "corpus id")


def printable(name: str) -> str:
    """A name as valid Unicode of bounded length: bytes that are none are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:MAX_NAME]
