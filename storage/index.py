"""Where each embedding of a set is: content digest -> (shard, row). This is the cache that makes extraction "never twice"."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from storage.feature_set import list_versions, read_manifest
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_tables
from storage.names import SetName


@dataclass
class EmbeddingIndex:
    """Embeddings by digest, and the entries of the shards that hold them."""

    places: dict[bytes, tuple[str, int]] = field(default_factory=dict)  # digest -> (sha256 of the shard, row of view 0)
    shards: dict[str, FileEntry] = field(default_factory=dict)

    def add(self, items: pa.Table, shards: tuple[FileEntry, ...]) -> None:
        """Add items with columns digest, shard, row. The first place of a digest wins, so that what is computed twice is kept once."""
        for digest, shard, row in zip(items["digest"].to_pylist(), items["shard"].to_pylist(), items["row"].to_pylist(), strict=True):
            self.places.setdefault(digest, (shard, row))
        self.shards.update({entry.sha256: entry for entry in shards})


def committed_index(name: SetName) -> EmbeddingIndex:
    """All embeddings that any version of the set points at. Newest version first; a file shared by versions is read once."""
    index = EmbeddingIndex()
    seen: set[str] = set()
    for version in reversed(list_versions(name.folder)):
        manifest = read_manifest(name.folder, version)
        entries = [entry for state in manifest.corpora.values() for entry in state.items if entry.path not in seen]
        seen.update(entry.path for entry in entries)
        index.add(read_tables(entries, name.folder, ITEM_SCHEMA), manifest.shards)
    return index
