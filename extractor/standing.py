"""Where each item of a corpus stands, from what was known of it and what this run has seen: a row, a reject, or pending. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from extractor.bad_images import BadImages
from extractor.corpus import BYTES, ITEM_COLUMNS, LOCATION, Listing
from extractor.diff import DIGEST, MESSAGE, REASON, ROW, SHARD, STATE, UNCHANGED, match, replaced, taken
from extractor.taken_down import are_named
from storage.digests import to_words
from storage.index import EmbeddingIndex
from storage.items import ITEM_SCHEMA, REJECT_SCHEMA
from storage.row_file import RowFile, RowWriter
from storage.row_sorter import RowSorter

# What a run has seen of a key. placed: whether the embedding is in the shard of the item's own unit.
SEEN_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("stamp", pa.string()),
        ("digest", pa.binary(32)),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("placed", pa.bool_()),
    ]
)
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StandingBlock:
    """Some items of the listing, in the order of their keys: of each exactly one of the flags is set, [n]."""

    decided: pa.Table  # rows of `Diff.decided`
    digests: pa.ChunkedArray  # null where not known
    shards: npt.NDArray[np.int32]  # numbers of the index
    rows: npt.NDArray[np.int32]
    reasons: pa.ChunkedArray
    messages: pa.ChunkedArray
    good: Flags  # it has an embedding
    rejected: Flags
    unseen: Flags  # its unit was not finished
    unresolved: Flags  # its digest was left to another unit, which did not deliver it
    taken_down: Flags  # its image was


def standing_block(
    decided: pa.Table, seen: pa.Table, index: EmbeddingIndex, bad: BadImages, taken_keys: frozenset[str] = frozenset()
) -> StandingBlock:
    """seen: SEEN_COLUMNS, of the same range of keys. taken_keys: sha256 of those whose images were taken down."""
    unchanged = decided[STATE].to_numpy() == UNCHANGED
    at = match(decided["key"], seen["key"])
    at[unchanged] = -1
    found, was_seen, old = taken(seen, at), at >= 0, pa.array(unchanged)
    digests, reasons, messages = (
        pa.chunked_array([pc.if_else(old, decided[own], found[name]).combine_chunks()])
        for own, name in ((DIGEST, "digest"), (REASON, "reason"), (MESSAGE, "message"))
    )
    shards, rows = (np.where(unchanged, decided[name].fill_null(-1).to_numpy(), -1).astype(np.int32) for name in (SHARD, ROW))
    wanted = was_seen & reasons.is_null().to_numpy() & digests.is_valid().to_numpy()
    if wanted.any():
        shards[wanted], rows[wanted] = index.find(to_words(digests.filter(pa.array(wanted))))
    lost = wanted & (shards < 0)
    if lost.any():
        # Its twin was claimed by another unit and turned out bad: so is this one, being the same bytes.
        is_bad, why, words = bad.why(digests.filter(pa.array(lost)))
        twins = lost.copy()
        twins[lost] = is_bad
        reasons, messages = (replaced(column, twins, values) for column, values in ((reasons, why), (messages, words)))
        lost &= ~twins
    rejected = reasons.is_valid().to_numpy()
    good = ~rejected & (shards >= 0)
    unseen = ~unchanged & ~was_seen
    taken_down = are_named(decided["key"], unseen, taken_keys)
    return StandingBlock(decided, digests, shards, rows, reasons, messages, good, rejected, unseen & ~taken_down, lost, taken_down)


@dataclass(frozen=True)
class Standing:
    """Where all items of a corpus stand. listed = rows + rejected + pending, without what was taken down."""

    corpus: str
    shards: tuple[str, ...]  # sha256 by number
    rows_file: RowFile  # ITEM_COLUMNS, DIGEST, SHARD, ROW and attributes, of what has an embedding
    reject_rows: RowSorter  # REJECT_SCHEMA
    reasons: Mapping[str, int]  # rejects by reason
    pending: int
    taken_down: int  # items that are passed over, beside those that the listing passed over already

    @property
    def rows(self) -> int:
        return len(self.rows_file)

    @property
    def rejected(self) -> int:
        return len(self.reject_rows)

    def items(self) -> Iterator[pa.Table]:
        """ITEM_SCHEMA and attributes, by key."""
        names = pa.array(self.shards, pa.string())
        attributes = [name for name in self.rows_file.schema.names if not (name in ITEM_COLUMNS.names or name in (DIGEST, SHARD, ROW))]
        for block in self.rows_file.blocks():
            corpus = pa.DictionaryArray.from_arrays(pa.array(np.zeros(block.num_rows, np.int32)), pa.array([self.corpus]))
            shards = pa.DictionaryArray.from_arrays(block[SHARD].combine_chunks(), names)
            own = [block["key"], corpus, block[DIGEST], block["stamp"], shards, block[ROW], block["label"], block["split"]]
            further = [block.schema.field(name) for name in attributes]
            yield pa.table([*own, *(block[name] for name in attributes)], schema=pa.schema([*ITEM_SCHEMA, *further]))

    def rejects(self) -> Iterator[pa.Table]:
        """REJECT_SCHEMA, by key."""
        return self.reject_rows.blocks()


def settled(blocks: Iterable[StandingBlock], listing: Listing, schema: pa.Schema, shards: Sequence[str]) -> Standing:
    """Gather where all items stand. schema: of `Diff.decided`."""
    kept = [field for field in schema if field.name not in (STATE, REASON, MESSAGE, BYTES, LOCATION)]
    writer = RowWriter(pa.schema(kept))
    rejects = RowSorter(REJECT_SCHEMA, ["key", "reason", "message"])
    reasons: Counter[str] = Counter()
    pending = taken_down = 0

    def reject(
        key: pa.ChunkedArray, digest: pa.ChunkedArray, stamp: pa.ChunkedArray, reason: pa.ChunkedArray, message: pa.ChunkedArray
    ) -> None:
        corpus = pa.array([listing.corpus_id] * len(key), pa.string())
        rejects.add(pa.table([key, corpus, digest, stamp, reason, message], schema=REJECT_SCHEMA))
        reasons.update(reason.to_pylist())

    for found in listing.reject_rows.blocks():
        reject(found["key"], pa.nulls(found.num_rows, pa.binary(32)), found["stamp"], found["reason"], found["message"])
    for block in blocks:
        own = {DIGEST: block.digests, SHARD: pa.array(block.shards), ROW: pa.array(block.rows)}
        table = pa.table([own.get(f.name, block.decided[f.name]) for f in kept], schema=writer.schema)
        writer.append(table.filter(pa.array(block.good)))
        bad = table.append_column(REASON, block.reasons).append_column(MESSAGE, block.messages).filter(pa.array(block.rejected))
        if bad.num_rows:
            reject(bad["key"], bad[DIGEST], bad["stamp"], bad[REASON], bad[MESSAGE])
        pending += int((block.unseen | block.unresolved).sum())
        taken_down += int(block.taken_down.sum())
    return Standing(listing.corpus_id, tuple(shards), writer.finish(), rejects, dict(sorted(reasons.items())), pending, taken_down)
