"""Which shards of a version are worth writing anew: small ones, and those with embeddings that no item points at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.corpus_items import item_blocks
from storage.errors import DamagedError
from storage.feature_set import FeatureSet
from storage.files import FileEntry

SMALL = 0.5  # of the size that shards should have: two that are larger cannot become one


@dataclass(frozen=True)
class Sizes:
    """Of the shards of a version."""

    files: int
    bytes: int
    embeddings: int  # all views of an image counted


@dataclass(frozen=True)
class Live:
    """A shard, and the rows of view 0 that items of the version point at, ascending."""

    entry: FileEntry
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class CompactPlan:
    """live: the shards with items, in the order in which items come to them. merged: those of them to write anew.

    dropped: embeddings that no item points at.
    """

    live: Sequence[Live]
    merged: Sequence[Live]
    dropped: int
    before: Sizes
    after: Sizes  # as far as that can be known before


def plan_compaction(feature_set: FeatureSet, shard_bytes: int) -> CompactPlan:
    """shard_bytes: of embeddings, that a shard should have. Memory: 8 bytes for each embedding. Raises DamagedError."""
    views, live = len(feature_set.views), live_rows(feature_set)
    full = max(1, shard_bytes // (views * feature_set.embedding_bytes)) * views
    merged = to_merge(live, views, full)
    dropped = sum(shard.entry.rows - views * len(shard.rows) for shard in merged)
    before = sizes_of([shard.entry for shard in live])
    rest = sizes_of([shard.entry for shard in live if shard not in merged])
    rows = before.embeddings - rest.embeddings - dropped
    size = sum(round(shard.entry.bytes * views * len(shard.rows) / shard.entry.rows) for shard in merged)
    after = Sizes(rest.files + -(-rows // full), rest.bytes + size, rest.embeddings + rows)
    return CompactPlan(live, merged, dropped, before, after)


def sizes_of(shards: Sequence[FileEntry]) -> Sizes:
    return Sizes(len(shards), sum(entry.bytes for entry in shards), sum(entry.rows for entry in shards))


def live_rows(feature_set: FeatureSet) -> list[Live]:
    """By shard, in item order, so that what is read together stays together. Raises DamagedError."""
    flags: dict[str, npt.NDArray[np.bool_]] = {}
    entries = {entry.sha256: entry for entry in feature_set.manifest.shards}
    for _, state in sorted(feature_set.manifest.corpora.items()):
        for block in item_blocks(state, feature_set.name.folder):
            for shard, positions in by_shard(block):
                rows = block["row"].to_numpy()[positions]
                if shard not in entries or rows.min() < 0 or rows.max() >= entries[shard].rows:
                    raise DamagedError(
                        f"{feature_set.name}: items point at what is not in shard {shard[:12]}: see `permafrost store verify`"
                    )
                flags.setdefault(shard, np.zeros(entries[shard].rows, bool))[rows] = True
    return [Live(entries[shard], np.flatnonzero(held)) for shard, held in flags.items()]


def by_shard(items: pa.Table) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """(shard, positions of the items that point at it), shards in the order of their first items."""
    encoded = items["shard"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    for number, shard in enumerate(encoded.dictionary.to_pylist()):
        yield shard, np.flatnonzero(codes == number)


def to_merge(live: Sequence[Live], views: int, full: int) -> list[Live]:
    """Shards with rows that nobody needs, and small ones, if there is one to put each beside. full: rows that a shard should have. Pure."""
    wasteful = [views * len(shard.rows) < shard.entry.rows for shard in live]
    chosen = [shard for shard, wastes in zip(live, wasteful, strict=True) if wastes or views * len(shard.rows) < SMALL * full]
    return chosen if any(wasteful) or len(chosen) > 1 else []
