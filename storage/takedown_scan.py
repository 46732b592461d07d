"""Where in a set the rows are that have to go: found by item files, and by shards only where these hold more than items point at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.content_files import files_in
from storage.damage import damage_named
from storage.errors import DamagedError
from storage.feature_set import read_description
from storage.files import FileEntry, open_proven, size_of
from storage.items import REJECT_SCHEMA, read_tables
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place
from storage.receipt_rows import ReceiptRows, receipts_of, with_digest
from storage.shard import ShardReader, shard_format
from storage.takedown_found import Found, ItemFacts, Rows
from storage.takedown_orphans import TAKEDOWN_ITEMS, orphaned_digests, orphaned_rows, rows_by_shard
from storage.tombstones import Gone, KnownFile, Tombstones, hashed, known_file
from storage.versions import list_versions, read_manifest

_REJECTS = pa.schema([REJECT_SCHEMA.field(name) for name in ("key", "corpus", "digest", "stamp")])


@dataclass
class SetScan:
    """Looks through one set as often as asked; an item file, which never changes, is read once for the same tombstones.

    met: digests of images, and sha256 of keys, that anything in the set had when it was looked at.
    """

    name: SetName
    met: set[str] = field(default_factory=set)
    _stones: object = None  # images and keys that the facts are about
    _facts: dict[str, ItemFacts] = field(default_factory=dict)
    _pointed: defaultdict[str, list[Rows]] = field(default_factory=lambda: defaultdict(list))

    def look(self, stones: Tombstones, again: bool = False) -> Found:
        """Raises DamagedError for what cannot be read: nobody knows what is in it. again: runs that have finished were looked at before."""
        manifests = {version: read_manifest(self.name.folder, version) for version in list_versions(self.name.folder)}
        items = {entry.path: entry for manifest in manifests.values() for state in manifest.corpora.values() for entry in state.items}
        items = {path: entry for path, entry in items.items() if not self._replaced(path, stones)}
        for entry in items.values():
            self._read_items(entry, stones)
        facts = {path: self._facts[path] for path in items}
        receipts, unreadable = receipts_of(self.name, stones, of_finished=not again)
        known = frozenset[KnownFile]().union(*(each.known for each in facts.values()), *(each.known for each in receipts))
        rejects = self._rejects(manifests.values(), stones)
        for _, table in rejects:
            self._meet(table, stones.taken_by_image(table["digest"]), stones.taken_by_key(table))
        for each in (each for each in receipts if each.suspect):
            table = with_digest(each.table())
            self._meet(table, stones.taken_by_image(table["digest"]), stones.taken_by_key(table, each.corpus))
        known |= frozenset(file for _, table in rejects for file in _known(table, stones.taken_by_image(table["digest"])))
        found = self._with_names(stones.knowing(known), manifests, items, facts, receipts, rejects, known)
        return replace(found, unreadable=tuple(unreadable))

    def _with_names(
        self,
        stones: Tombstones,
        manifests: Mapping[int, Manifest],
        items: Mapping[str, FileEntry],
        facts: Mapping[str, ItemFacts],
        receipts: Sequence[ReceiptRows],
        rejects: Sequence[tuple[FileEntry, pa.Table]],
        known: frozenset[KnownFile],
    ) -> Found:
        dropped = stones.images | orphaned_digests(self.name.folder, items, facts, receipts, stones)
        rows = orphaned_rows(self.name.folder, items, facts, receipts, stones)
        shards, unlisted = self._shards(manifests.values(), facts, receipts, dropped, rows)
        listed = {entry.path for manifest in manifests.values() for entry in manifest.files}
        late = list(self._unlisted_tables(listed, stones))
        late_items = [entry for entry, count in late if entry.path.startswith("items/") and count]
        pointed = {sha256 for each in facts.values() for sha256 in each.shards} | {each.shard.sha256 for each in receipts if each.shard}
        lost = self._lost_shards(pointed.union(*(self._column(entry, "shard").unique().to_pylist() for entry in late_items)), stones)
        moved = {*shards, *lost}
        counted = {entry.path: (entry, int(stones.taken(table).sum())) for entry, table in rejects}
        golden = {manifest.golden.path: manifest.golden for manifest in manifests.values()}
        counted |= {entry.path: (entry, count) for entry, count in late if entry.path.startswith("rejects/") and count}
        return Found(
            manifests,
            facts,
            shards,
            (
                *(entry for path, entry in items.items() if facts[path].taken or facts[path].shards & moved),
                *late_items,
            ),
            {path: (entry, count) for path, (entry, count) in counted.items() if count},
            (
                *(entry for path, entry in golden.items() if not self._replaced(path, stones) and self._holds_image(entry, stones)),
                *(entry for entry, count in late if entry.path.startswith("golden/") and count),
            ),
            (*unlisted, *(entry for entry, count in late if not count)),
            tuple(each for each in receipts if (each.shard and each.shard.sha256 in moved) or each.has_taken(stones)),
            known,
            lost,
        )

    def _lost_shards(self, pointed: Iterable[str], stones: Tombstones) -> dict[str, Gone]:
        """Shards that earlier takedowns removed, by sha256: those pointed at, and what took their place.

        One with the same bytes may be there again, of rows that may be there now.
        """
        gone = {each.sha256: each for path, each in stones.gone.items() if path.startswith("shards/")}
        found: dict[str, Gone] = {}
        waiting = [sha256 for sha256 in pointed if sha256 in gone]
        while waiting:
            each = gone[waiting.pop()]
            if each.sha256 not in found and size_of(self.name.folder / each.path) is None:
                found[each.sha256] = each
                waiting += [now.sha256 for now in each.now if now.sha256 in gone]
        return found

    def holds(self, stones: Tombstones, manifest: Manifest, latest: Manifest | None) -> bool:
        """Whether what is new in a manifest, beside the one that it follows, has anything that has to go."""
        # What has the bytes of a file that left is looked at, too: there may be reasons for it now that there were not.
        known = {entry for entry in (latest.files if latest else ()) if entry.path not in stones.gone}
        states = manifest.corpora.values()
        items = [entry for state in states for entry in state.items if entry not in known]
        for entry in items:
            self._read_items(entry, stones)
        if any(self._facts[entry.path].taken for entry in items):
            return True
        rejects = [state.rejects for state in states if state.rejects and state.rejects not in known]
        if any(stones.taken(read_tables([entry], self.name.folder, _REJECTS)).any() for entry in rejects):
            return True
        views = len(read_description(self.name).space.views)
        shards = (entry for entry in manifest.shards if entry not in known and not self._all_pointed_at(entry, views))
        return bool(stones.images) and any(
            len(self._rows_of(entry, stones.images)) for entry in shards if size_of(self.name.folder / entry.path) == entry.bytes
        )

    def shards_of(self, entry: FileEntry, stones: Tombstones) -> frozenset[str]:
        """What the items of a file point at."""
        self._read_items(entry, stones)
        return self._facts[entry.path].shards

    def open_shard(self, entry: FileEntry) -> ShardReader:
        """A shard whose bytes are what its name says: damage must not get a new name."""
        return open_proven(self.name.folder, entry, shard_format(read_description(self.name).shard_format).reader)

    def _replaced(self, path: str, stones: Tombstones) -> bool:
        """Whether an earlier takedown removed the file, and a writer who was late listed it all the same."""
        return path in stones.gone and size_of(self.name.folder / path) is None

    def _read_items(self, entry: FileEntry, stones: Tombstones) -> None:
        if self._stones != (stones.images, stones.keys):
            self._facts, self._stones = {}, (stones.images, stones.keys)
        if entry.path in self._facts:
            return
        table = read_tables([entry], self.name.folder, TAKEDOWN_ITEMS)
        by_image, by_key = stones.taken_by_image(table["digest"]), stones.taken_by_key(table)
        self._meet(table, by_image, by_key)
        gone = table.filter(pa.array(by_image | by_key))
        only_key = table.filter(pa.array(by_key & ~by_image))
        kept = table.filter(pa.array(~(by_key | by_image)))
        for shard, rows in rows_by_shard(table):
            self._pointed[shard].append(rows)
        shards, taken_shards = (frozenset(pc.unique(each["shard"]).to_pylist()) for each in (table, gone))
        self._facts[entry.path] = ItemFacts(
            gone.num_rows,
            shards,
            taken_shards,
            frozenset(only_key["digest"].to_pylist()),
            dict(rows_by_shard(only_key)),
            dict(rows_by_shard(kept)) if only_key.num_rows or stones.keys else {},
            _known(table, by_image),
        )

    def _meet(self, table: pa.Table, by_image: npt.NDArray[np.bool_], by_key: npt.NDArray[np.bool_]) -> None:
        """table: with digest, and with key where any row goes by it."""
        self.met.update(digest.hex() for digest in table["digest"].filter(pa.array(by_image)).to_pylist())
        if by_key.any():
            self.met.update(map(hashed, table["key"].filter(pa.array(by_key)).to_pylist()))

    def _rejects(self, manifests: Iterable[Manifest], stones: Tombstones) -> list[tuple[FileEntry, pa.Table]]:
        states = [state for manifest in manifests for state in manifest.corpora.values()]
        entries = {state.rejects.path: state.rejects for state in states if state.rejects}
        return [
            (entry, read_tables([entry], self.name.folder, _REJECTS)) for path, entry in entries.items() if not self._replaced(path, stones)
        ]

    def _shards(
        self,
        manifests: Iterable[Manifest],
        facts: Mapping[str, ItemFacts],
        receipts: Sequence[ReceiptRows],
        dropped: frozenset[bytes],
        orphaned: Mapping[str, Rows],
    ) -> tuple[dict[str, tuple[FileEntry, Rows]], list[FileEntry]]:
        """Shards with rows that go, by sha256; and those that no version lists and nobody can read.

        What no version lists yet may be listed by a writer who is late: so it is rewritten, too.
        """
        listed = {entry.sha256: entry for manifest in manifests for entry in manifest.shards}
        needed = listed | {each.shard.sha256: each.shard for each in receipts if each.shard and not each.finished}
        taken = frozenset[str]().union(*(each.taken_shards for each in facts.values()))
        views = len(read_description(self.name).space.views)
        found: dict[str, tuple[FileEntry, Rows]] = {}
        unlisted = []
        for entry in _with_unlisted(needed, self.name.folder):
            if entry.sha256 in listed and entry.sha256 not in taken and self._all_pointed_at(entry, views):
                continue
            if not (dropped or entry.sha256 in orphaned) or size_of(self.name.folder / entry.path) is None:
                continue
            try:
                rows = self._rows_of(entry, dropped)
                if entry.sha256 in orphaned:
                    rows = np.union1d(rows, np.add.outer(orphaned[entry.sha256], np.arange(views)).reshape(-1))
            except DamagedError:
                if entry.sha256 in listed:
                    raise
                unlisted.append(entry)  # nobody can read it, and what a run made of it is made again
                continue
            if len(rows):
                found[entry.sha256] = (entry, rows)
        return found, unlisted

    def _all_pointed_at(self, entry: FileEntry, views: int) -> bool:
        """Whether items tell of each row of a shard what it is."""
        pointed = self._pointed.get(entry.sha256, ())
        return len(pointed) > 0 and views * len(np.unique(np.concatenate(pointed))) == entry.rows

    def _rows_of(self, entry: FileEntry, dropped: frozenset[bytes]) -> Rows:
        with closing(self.open_shard(entry)) as reader:
            digests = pa.array(reader.digests(), pa.binary(32))
        held = pc.is_in(digests, value_set=pa.array(sorted(dropped), pa.binary(32))).to_numpy(zero_copy_only=False)
        self.met.update(digest.hex() for digest in digests.filter(pa.array(held)).to_pylist())
        return np.flatnonzero(held).astype(np.int64)

    def _holds_image(self, golden: FileEntry, stones: Tombstones) -> bool:
        digests = self._column(golden, "digest")
        taken = stones.taken_by_image(digests)
        self._meet(pa.table({"digest": digests}), taken, np.zeros(0, bool))
        return bool(taken.any())

    def _column(self, entry: FileEntry, column: str) -> pa.ChunkedArray:
        with damage_named(self.name.folder / entry.path, "file"):
            return open_proven(self.name.folder, entry, partial(pq.read_table, columns=[column]))[column]

    def _unlisted_tables(self, listed: set[str], stones: Tombstones) -> Iterator[tuple[FileEntry, int]]:
        """Of expired versions, and of writers that died, or are about to commit; and how many rows go. 0: it cannot be read."""
        for kind in ("items", "rejects", "golden"):
            for entry in files_in(self.name.folder, kind):
                if entry.path in listed:
                    continue
                columns = ["digest"] if kind == "golden" else _REJECTS.names
                try:
                    with damage_named(self.name.folder / entry.path, "file"):
                        table = open_proven(self.name.folder, entry, partial(pq.read_table, columns=columns))
                except DamagedError:
                    yield entry, 0
                    continue
                by_image = stones.taken_by_image(table["digest"])
                self._meet(table, by_image, np.zeros(0, bool) if kind == "golden" else stones.taken_by_key(table))
                gone = by_image if kind == "golden" else stones.taken(table)
                if gone.any():
                    yield replace(entry, rows=table.num_rows), int(gone.sum())


def _known(table: pa.Table, chosen: npt.NDArray[np.bool_]) -> frozenset[KnownFile]:
    rows = table.filter(pa.array(chosen)).select(["digest", "corpus", "key", "stamp"]).to_pylist()
    return frozenset(known_file(*row.values()) for row in rows)


def _with_unlisted(needed: Mapping[str, FileEntry], folder: Place) -> Iterator[FileEntry]:
    yield from needed.values()
    yield from (entry for entry in files_in(folder, "shards") if entry.sha256 not in needed)
