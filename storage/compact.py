"""Small shards become few, and embeddings that no item of the newest version points at stay behind: a new version with the same items.

Nothing is computed: rows are copied, and item files point at their new places. Older versions keep their shards, which leave with them
(`storage.expire`, `storage.gc`). Where other writers commit meanwhile, what they added stays where they put it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.commit import commit_next
from storage.compact_plan import Live, Sizes, by_shard, plan_compaction, sizes_of
from storage.corpus_items import PLAIN_ITEMS, item_blocks, reject_blocks
from storage.damage import damage_named
from storage.draft import Settled, make_draft, write_state
from storage.errors import ConflictError, DamagedError, UsageError
from storage.feature_set import FeatureSet, open_set
from storage.files import FileEntry, open_proven, size_of
from storage.import_rows import BATCH_BYTES
from storage.manifest import CorpusState, Manifest, succeed
from storage.names import SetName
from storage.shard import ShardFormat, shard_format
from storage.shard_layout import ShardLayout
from storage.shard_series import SHARD_BYTES, ShardSeries
from storage.store import require_writable


@dataclass(frozen=True)
class Compaction:
    """before, after: the shards of the newest version; what has not been done is estimated. merged: shards that were written anew.

    dropped: embeddings that no item points at. version: None if none was made.
    """

    before: Sizes
    after: Sizes
    merged: int
    dropped: int
    version: int | None


@dataclass
class _Moves:
    """Where rows of view 0 went: by old shard its `rows`, ascending, and the numbers of new shards and rows in them, beside them."""

    new: list[FileEntry] = field(default_factory=list)
    rows: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    numbers: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    places: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)

    def apply(self, items: pa.Table) -> pa.Table:
        """The items, pointing at the new places of what has moved."""
        shards, rows = items["shard"].to_pylist(), items["row"].to_numpy().copy()
        for shard, positions in by_shard(items):
            if shard in self.rows:
                at = np.searchsorted(self.rows[shard], rows[positions])
                moved = self.rows[shard][np.minimum(at, len(self.rows[shard]) - 1)] == rows[positions]
                for position, number in zip(positions[moved], self.numbers[shard][at[moved]], strict=True):
                    shards[position] = self.new[number].sha256
                rows[positions[moved]] = self.places[shard][at[moved]]
        for name, column in (("shard", pa.array(shards, pa.string())), ("row", pa.array(rows, pa.int32()))):
            items = items.set_column(items.schema.get_field_index(name), PLAIN_ITEMS.field(name), column)
        return items


def compact_set(name: SetName, do_it: bool, shard_bytes: int = SHARD_BYTES) -> Compaction:
    """Merge shards that have less than half of `shard_bytes` of embeddings, and leave out embeddings without an item.

    Memory: 16 bytes for each embedding that moves, and a batch. Raises UsageError, NotFoundError, DamagedError (a shard is damaged:
    nothing is committed), ConflictError (a shard has gone meanwhile).
    """
    if name.at:
        raise UsageError(f"{name}: the newest version is compacted; leave out '@{name.at}'")
    if do_it:
        require_writable(name.root)
    base = open_set(name)
    plan = plan_compaction(base, shard_bytes)
    if not plan.merged or not do_it:
        return Compaction(plan.before, plan.after, len(plan.merged), plan.dropped, None)
    moves = _move(base, plan.merged, shard_bytes)
    after = _commit(base, [shard.entry for shard in plan.merged], moves)
    return Compaction(plan.before, sizes_of(after.shards), len(plan.merged), plan.dropped, after.version)


def _move(base: FeatureSet, merged: Sequence[Live], shard_bytes: int) -> _Moves:
    """Copy the rows into new shards."""
    kind, layout = shard_format(base.description.shard_format), ShardLayout(base.shape, base.description.dtype, base.space.id)
    views = len(base.views)
    images = max(1, min(BATCH_BYTES, shard_bytes) // (views * layout.embedding_bytes))
    moves = _Moves()
    with ShardSeries(base.name.folder, kind, layout, shard_bytes) as series:
        for shard in merged:
            numbers, places = [], []
            for digests, embeddings in _batches(base, shard, kind, layout, images):
                numbers.append(np.full(len(digests), series.number, np.int32))
                places.append(series.rows + views * np.arange(len(digests), dtype=np.int32))
                series.append(digests, embeddings, views)
            sha256 = shard.entry.sha256
            moves.rows[sha256], moves.numbers[sha256], moves.places[sha256] = shard.rows, np.concatenate(numbers), np.concatenate(places)
    moves.new = series.published
    return moves


def _batches(
    base: FeatureSet, shard: Live, kind: ShardFormat, layout: ShardLayout, images: int
) -> Iterator[tuple[list[bytes], npt.NDArray[np.generic]]]:
    """(digests of n images, embeddings of all their views), after a proof that the shard is what its name says."""

    views = np.arange(len(base.views))
    with damage_named(base.name.folder / shard.entry.path, "shard"):
        opened = open_proven(base.name.folder, shard.entry, kind.reader)
    with closing(opened) as reader:
        digests, numbers = reader.digests(), reader.views()
        if (
            reader.layout != layout
            or shard.rows[-1] + len(views) > reader.rows
            or (numbers[np.add.outer(shard.rows, views)] != views).any()
        ):
            raise DamagedError(f"items of {base.name} point at rows of shard {shard.entry.path} that are no view 0 of an image of this set")
        for start in range(0, len(shard.rows), images):
            rows = shard.rows[start : start + images]
            span = reader.read(int(rows[0]), int(rows[-1]) + len(views))
            yield [digests[row] for row in rows], span[np.add.outer(rows - rows[0], views).ravel()]


def _commit(base: FeatureSet, merged: Sequence[FileEntry], moves: _Moves) -> Manifest:
    """What others have done meanwhile stays; what they point at in a merged shard, and nobody did before, keeps that shard in the set."""
    name = base.name
    done: dict[str, tuple[CorpusState, CorpusState]] = {}  # by corpus, before and after: rewritten once, unless it moves

    def make(latest: Manifest | None) -> Manifest:
        assert latest is not None
        _require_sources(name, merged)
        for corpus, state in latest.corpora.items():
            if corpus not in done or done[corpus][0] != state:
                done[corpus] = (state, _rewritten(name, corpus, state, moves))
        after = {corpus: done[corpus][1] for corpus, state in latest.corpora.items() if done[corpus][1] != state}
        if not after:
            return latest
        return succeed(latest, make_draft(after, [*latest.shards, *moves.new], latest.golden, base.space.id, {"operation": "compact"}))

    return commit_next(name, make)


def _require_sources(name: SetName, merged: Sequence[FileEntry]) -> None:
    """A takedown removes the shards that held what it takes down: what was copied from one before must not come back."""
    if gone := [entry.path for entry in merged if size_of(name.folder / entry.path) != entry.bytes]:
        raise ConflictError(f"{name.folder / gone[0]} has left the set while its rows were copied: nothing was committed, run it again")


def _rewritten(name: SetName, corpus: str, state: CorpusState, moves: _Moves) -> CorpusState:
    if not set(state.shards) & moves.rows.keys():
        return state
    items = (moves.apply(block) for block in item_blocks(state, name.folder))
    rejects = reject_blocks(state, name.folder)
    return write_state(Settled(corpus, state.source, state.listed, items, rejects, state.pending, state.skipped), name)
