"""Where each embedding of a set is: content digest -> (shard, row). This is the cache that makes extraction "never twice"."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from storage.errors import DamagedError
from storage.feature_set import list_versions, read_manifest
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_tables
from storage.names import SetName


@dataclass
class EmbeddingIndex:
    """Embeddings by digest, and the entries of the shards that hold them.

    `unusable`: names of shards that versions list but that are missing or of another size; nothing in them is known.
    """

    places: dict[bytes, tuple[str, int]] = field(default_factory=dict)  # digest -> (sha256 of the shard, row of view 0)
    shards: dict[str, FileEntry] = field(default_factory=dict)
    unusable: set[str] = field(default_factory=set)

    def add(self, items: pa.Table, shards: Iterable[FileEntry]) -> None:
        """Add items with columns digest, shard, row. The first place of a digest wins, so that what is computed twice is kept once."""
        self.shards.update({entry.sha256: entry for entry in shards if entry.sha256 not in self.unusable})
        columns = (items[name].to_pylist() for name in ("digest", "shard", "row"))
        for digest, shard, row in zip(*columns, strict=True):
            if shard not in self.unusable:
                self.places.setdefault(digest, (shard, row))

    def look_at(self, shards: Iterable[FileEntry], set_folder: Path) -> None:
        """Find out which shards are unusable, before items are added that point at them."""
        self.unusable |= {entry.sha256 for entry in shards if not _is_whole(set_folder / entry.path, entry.bytes)}

    def merge(self, other: EmbeddingIndex) -> None:
        """Add what another index of the same set knows."""
        self.shards = {**other.shards, **self.shards}
        self.places = {**other.places, **self.places}


def committed_index(name: SetName) -> EmbeddingIndex:
    """All embeddings that any version of the set points at. Newest version first; a file shared by versions is read once.

    A version whose files are damaged adds nothing: this is a cache. Who builds on a version reads it himself, and is told then.
    """
    index = EmbeddingIndex()
    seen: set[str] = set()
    for version in reversed(list_versions(name.folder)):
        with suppress(DamagedError):
            manifest = read_manifest(name.folder, version)
            entries = [entry for state in manifest.corpora.values() for entry in state.items if entry.path not in seen]
            items = read_tables(entries, name.folder, ITEM_SCHEMA)
            seen.update(entry.path for entry in entries)
            index.look_at((entry for entry in manifest.shards if entry.sha256 not in index.shards), name.folder)
            index.add(items, manifest.shards)
    index.places = {digest: place for digest, place in index.places.items() if place[0] in index.shards}
    return index


def _is_whole(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False
