"""What a damaged file costs: how many items of each version cannot be had without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import DamagedError
from storage.files import FileEntry
from storage.items import ITEM_SCHEMA, read_in_blocks
from storage.manifest import Manifest
from storage.names import SetName

_SHARD = pa.schema([ITEM_SCHEMA.field("shard")])


class DamageScope:
    """Reads the item files of the versions asked for, each once, and only if a shard is asked for."""

    def __init__(self, name: SetName, manifests: Mapping[int, Manifest]) -> None:
        self._folder, self._manifests = name.folder, manifests
        self._rows_of = lru_cache(maxsize=None)(self._count_rows)

    def items(self, path: str, versions: Sequence[int]) -> dict[int, int]:
        """Items of each version that stand in the file at `path`, or point at it."""
        return {version: self._items_in(path, self._manifests[version]) for version in versions if version in self._manifests}

    def _items_in(self, path: str, manifest: Manifest) -> int:
        entries = [entry for state in manifest.corpora.values() for entry in state.items]
        if path.startswith("items/"):
            return sum(entry.rows for entry in entries if entry.path == path)
        shard = next((shard.sha256 for shard in manifest.shards if shard.path == path), None)
        return sum(self._rows_of(entry)[shard] for entry in entries) if shard else 0

    def _count_rows(self, entry: FileEntry) -> Counter[str]:
        """Items of a file by shard; none of a file that cannot be read."""
        counts: Counter[str] = Counter()
        try:
            for block in read_in_blocks(entry, self._folder, _SHARD):
                counts.update({found["values"]: found["counts"] for found in pc.value_counts(block["shard"]).to_pylist()})
        except DamagedError:
            return Counter()
        return counts
