"""New files and manifests without what has to go. Nobody sees a new file before a manifest lists it, and a manifest changes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.feature_set import read_description
from storage.files import FileEntry, open_proven, size_of
from storage.items import REJECT_SCHEMA, read_items, read_tables, write_items, write_rejects, write_table
from storage.manifest import CorpusState, Manifest
from storage.new_shard import new_shard
from storage.place import Place
from storage.shard import ShardLayout, shard_format
from storage.takedown_found import Found, Rows
from storage.takedown_scan import SetScan
from storage.tombstones import TAKEN_DOWN, Gone, Tombstones

BLOCK_BYTES = 16 << 20  # 16 MiB of embeddings at a time


@dataclass(frozen=True)
class Move:
    """What took a shard's place (None: no row was left), and which of its rows went."""

    now: FileEntry | None
    rows: Rows


@dataclass(frozen=True)
class Rewritten:
    """files: what took the place of each file that left, by path. moves: of shards, by sha256. shards_of: what new item files point at, by
    path."""

    files: Mapping[str, tuple[FileEntry, ...]]
    moves: Mapping[str, Move]
    shards_of: Mapping[str, frozenset[str]]

    def gone(self, found: Found, name: str) -> tuple[Gone, ...]:
        """Of a set, as a record tells it."""
        entries = {entry.path: entry for entry in (*found.items, *found.golden, *found.unlisted, *(e for e, _ in found.rejects.values()))}
        tables = (Gone(name, path, entry.sha256, self.files[path]) for path, entry in entries.items() if path in self.files)
        left = ((entry, rows) for entry, rows in found.shards.values() if entry.path in self.files)
        shards = (Gone(name, e.path, e.sha256, self.files[e.path], tuple(rows.tolist())) for e, rows in left)
        return tuple(sorted((*tables, *shards), key=lambda each: each.path))


def write_without(scan: SetScan, found: Found, stones: Tombstones) -> Rewritten:
    """Write everything anew that has to change. The same set and tombstones give the same files.

    What a file becomes may be another one, byte by byte, which was to change, too (a shard of which nobody else needs a row, say): as the
    new file may be there, the other one stays as it is.
    """
    moves = {each.sha256: Move(each.now[0] if each.now else None, np.array(each.rows, np.int64)) for each in found.lost.values()}
    files: dict[str, tuple[FileEntry, ...]] = {entry.path: () for entry in found.unlisted}
    for sha256, (entry, rows) in found.shards.items():
        now = _shard_without(scan, entry, rows)
        moves[sha256] = Move(now, rows)
        files[entry.path] = (now,) if now else ()
    for (now,) in list(filter(None, files.values())):
        moves.pop(now.sha256, None)
    folder = scan.name.folder
    shards_of: dict[str, frozenset[str]] = {}
    listed = {entry.path for manifest in found.manifests.values() for entry in manifest.files}
    for entry in found.items:
        if entry.path not in listed and (now_there := _successors(entry.path, folder, stones)) is not None:
            files[entry.path] = now_there
            continue
        table = read_items([entry], folder)
        table = moved_items(table.filter(pa.array(~stones.taken(table))), moves)
        files[entry.path] = write_items([table], folder) if table.num_rows else ()
        shards_of |= {each.path: frozenset(table["shard"].unique().to_pylist()) for each in files[entry.path]}
    for entry, _ in found.rejects.values():
        table = read_tables([entry], folder, REJECT_SCHEMA)
        kept = write_rejects([table.filter(pa.array(~stones.knowing(found.known).taken(table)))], folder)
        files[entry.path] = (kept,) if kept else ()
    for entry in found.golden:
        files[entry.path] = (_golden_without(entry, folder, stones),)
    there = {each.path for now in files.values() for each in now}
    return Rewritten({path: now for path, now in files.items() if path not in there}, moves, shards_of)


def _successors(path: str, folder: Place, stones: Tombstones) -> tuple[FileEntry, ...] | None:
    """What took the place of a file, where all of it is there: a takedown was cut off before it removed that file. Written anew it would be
    another file, which nobody lists: its shards have moved already."""
    gone = stones.gone.get(path)
    return gone.now if gone and all(size_of(folder / each.path) is not None for each in gone.now) else None


def moved_items(table: pa.Table, moves: Mapping[str, Move]) -> pa.Table:
    """Items that point at what took the place of their shards. table: with shard (a dictionary) and row."""
    column = table["shard"].combine_chunks()
    names, indices, rows = column.dictionary.to_pylist(), column.indices.to_numpy(), table["row"].to_numpy().copy()
    for number, name in enumerate(names):
        if name not in moves:
            continue
        mine = indices == number
        while (move := moves.get(name)) and move.now:
            rows[mine] -= np.searchsorted(move.rows, rows[mine]).astype(rows.dtype)
            name = move.now.sha256
        names[number] = name
    for name, values in (("shard", pa.array(names, pa.string()).take(pa.array(indices))), ("row", pa.array(rows))):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), values.cast(table.schema.field(at).type))
    return table


def rewritten_manifest(manifest: Manifest, scan: SetScan, done: Rewritten, stones: Tombstones) -> Manifest:
    """The same version with the new files. What a corpus lost counts as skipped, so that listed = rows + rejected + pending."""

    def now(entry: FileEntry) -> Iterator[FileEntry]:
        if entry.path in done.files:
            for each in done.files[entry.path]:
                yield from now(each)
        elif entry.path in stones.gone and size_of(scan.name.folder / entry.path) is None:
            for each in stones.gone[entry.path].now:
                yield from now(each)
        else:
            yield entry

    def shards_of(entry: FileEntry) -> frozenset[str]:
        return done.shards_of[entry.path] if entry.path in done.shards_of else scan.shards_of(entry, stones)

    corpora = {corpus: _state(state, now, shards_of) for corpus, state in manifest.corpora.items()}
    used = {sha256 for state in corpora.values() for sha256 in state.shards}
    # Also one that another takedown has replaced meanwhile, where these items point at it still: the next pass finds it by the version.
    shards = {each.sha256: each for entry in manifest.shards for each in (entry, *now(entry)) if each.sha256 in used}
    changed = replace(
        manifest, corpora=corpora, shards=tuple(shards[sha256] for sha256 in sorted(shards)), golden=next(now(manifest.golden))
    )
    return manifest if changed == manifest else replace(changed, provenance={**manifest.provenance, "rewritten": "takedown"})


def _state(
    state: CorpusState, now: Callable[[FileEntry], Iterable[FileEntry]], shards_of: Callable[[FileEntry], frozenset[str]]
) -> CorpusState:
    items = tuple(each for entry in state.items for each in now(entry))
    rejects = next(iter(now(state.rejects)), None) if state.rejects else None
    if (items, rejects) == (state.items, state.rejects):
        return state
    rows, rejected = sum(entry.rows for entry in items), rejects.rows if rejects else 0
    lost = state.rows + state.rejected - rows - rejected
    skipped = {**state.skipped, TAKEN_DOWN: state.skipped.get(TAKEN_DOWN, 0) + lost} if lost else state.skipped
    return replace(
        state,
        listed=state.listed - lost,
        rows=rows,
        rejected=rejected,
        skipped=skipped,
        items=items,
        shards=tuple(sorted(frozenset[str]().union(*map(shards_of, items)))),
        rejects=rejects,
    )


def _shard_without(scan: SetScan, entry: FileEntry, rows: Rows) -> FileEntry | None:
    """Write a shard without some rows, which are all views of some images; None if none is left."""
    description = read_description(scan.name)
    kind, views = shard_format(description.shard_format), len(description.space.views)
    layout = ShardLayout(description.shape, description.dtype, description.space.id)
    with closing(scan.open_shard(entry)) as reader, new_shard(scan.name.folder, kind, layout) as shard:
        kept = np.ones(reader.rows, bool)
        kept[rows] = False
        digests = reader.digests()
        block = views * max(1, BLOCK_BYTES // (views * layout.embedding_bytes))
        for start in range(0, reader.rows, block):
            chosen = kept[start : start + block]
            if chosen.any():
                embeddings = reader.read(start, min(start + block, reader.rows))[chosen]
                mine = [digests[start + int(row)] for row in np.flatnonzero(chosen)]
                shard.append(mine[::views], embeddings, views)
        return shard.publish()


def _golden_without(entry: FileEntry, folder: Place, stones: Tombstones) -> FileEntry:
    with damage_named(folder / entry.path, "file"):
        table = open_proven(folder, entry, partial(pq.read_table))
    return write_table(table.filter(pa.array(~stones.taken_by_image(table["digest"]))), folder, "golden")
