"""What is known before a run: embeddings by digest and items by key, from versions and from the finished units of runs that died."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from extractor.bad_images import BadImages
from extractor.corpus import LISTING_REASONS
from extractor.diff import KNOWN_COLUMNS
from extractor.receipt import Receipt
from storage.digests import to_words
from storage.errors import DamagedError
from storage.feature_set import FeatureSet
from storage.index import EmbeddingIndex
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA, read_in_blocks
from storage.names import SetName
from storage.rewritten import rewriting_told
from storage.row_file import Rows, aligned
from storage.row_sorter import RowSorter
from storage.runs import unfinished_runs

_COMMITTED = pa.schema([ITEM_SCHEMA.field(name) for name in ("key", "stamp", "digest", "shard", "row")])
_LISTING_REASONS = sorted(LISTING_REASONS)  # no array: the first one imports pandas, see `lean_imports`


@dataclass(frozen=True)
class WhatIsKnown:
    """KNOWN_COLUMNS of one corpus, by key: of the newest version, and of unfinished runs."""

    committed: Rows
    recovered: Rows
    bad: BadImages  # of unfinished runs: a copy was left to the unit that had the first one, so its own receipt says nothing of it


def what_is_known(name: SetName, base: FeatureSet | None, corpus: str, index: EmbeddingIndex) -> WhatIsKnown:
    """index: of what is committed; what unfinished runs have is added to it."""
    recovered, bad = RowSorter(KNOWN_COLUMNS, ["key"], last_only=True), BadImages()
    for run in unfinished_runs(name):
        for table in run.receipts():
            try:
                receipt = Receipt.from_table(table)
            except DamagedError:  # as if its unit had not been finished
                continue
            if receipt.shard:
                index.look_at((receipt.shard,), name.folder)
            add_shard(index, receipt)
            bad.add(receipt.items)
            if receipt.corpus == corpus:
                # The index says where: what was left to another unit that never delivered it is not known, nor what stood in a lost shard.
                nowhere = [pa.nulls(receipt.items.num_rows, pa.int32())] * 2
                columns = [receipt.items[column] for column in ("key", "stamp", "digest", "reason", "message")]
                recovered.add(pa.table([*columns, *nowhere], schema=KNOWN_COLUMNS))
    return WhatIsKnown(_Committed(base, corpus, index) if base else RowSorter(KNOWN_COLUMNS, ["key"]), recovered, bad)


def add_shard(index: EmbeddingIndex, receipt: Receipt) -> None:
    """Enter the embeddings that a receipt's shard holds."""
    if receipt.shard:
        held = receipt.items.filter(receipt.items["row"].is_valid()) if receipt.items["row"].null_count else receipt.items
        index.add_rows(to_words(held["digest"]), held["row"].to_numpy(), receipt.shard)


class _Committed:
    """The items and rejects of a corpus in a version, read anew each time."""

    schema = KNOWN_COLUMNS

    def __init__(self, base: FeatureSet, corpus: str, index: EmbeddingIndex) -> None:
        self._base, self._folder, self._index = base, base.name.folder, index
        self._state = base.manifest.corpora.get(corpus)

    def blocks(self) -> Iterator[pa.Table]:
        with rewriting_told(self._base.name, self._base.manifest):
            for items, rejects in aligned([_Items(self._items), self._rejects()], "key"):
                yield pa.concat_tables([items, rejects]).sort_by("key") if rejects.num_rows else items

    def _items(self) -> Iterator[pa.Table]:
        for entry in self._state.items if self._state else ():
            for block in read_in_blocks(entry, self._folder, _COMMITTED):
                nothing = pa.nulls(block.num_rows, pa.string())
                shards = pa.array(self._index.numbers_of(block["shard"]))
                columns = [block["key"], block["stamp"], block["digest"], nothing, nothing, shards, block["row"]]
                yield pa.table(columns, schema=KNOWN_COLUMNS)

    def _rejects(self) -> RowSorter:
        """Those of images. What the listing itself finds is found anew each time."""
        rejects = RowSorter(KNOWN_COLUMNS, ["key"], last_only=True)
        for block in read_in_blocks(self._state.rejects, self._folder, REJECT_SCHEMA) if self._state and self._state.rejects else ():
            block = block.filter(pc.invert(pc.is_in(block["reason"], value_set=pa.array(_LISTING_REASONS, pa.string()))))
            nowhere = [pa.nulls(block.num_rows, pa.int32())] * 2
            columns = [block[name] for name in ("key", "stamp", "digest", "reason", "message")]
            rejects.add(pa.table([*columns, *nowhere], schema=KNOWN_COLUMNS))
        return rejects


@dataclass(frozen=True)
class _Items:
    read: Callable[[], Iterator[pa.Table]]
    schema: pa.Schema = KNOWN_COLUMNS

    def blocks(self) -> Iterator[pa.Table]:
        return self.read()
