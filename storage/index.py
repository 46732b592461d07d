"""Where each embedding of a set is: content digest -> (shard, row). This is the cache that makes extraction "never twice"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.digests import DigestMap, Words, to_words
from storage.errors import DamagedError
from storage.files import FileEntry, size_of
from storage.items import ITEM_SCHEMA, read_tables
from storage.names import SetName
from storage.place import Place
from storage.versions import list_versions, read_manifest

_PLACE_SCHEMA = pa.schema([ITEM_SCHEMA.field(name) for name in ("digest", "shard", "row")])
Numbers = npt.NDArray[np.int32]


class EmbeddingIndex:
    """Embeddings by digest, and the entries of the shards that hold them. Shards go by numbers, which index `names`.

    `unusable`: names of shards that versions list but that are missing or of another size; nothing in them is known.
    Memory: that of `DigestMap`. What a committed index has to read is read when it is first asked for a digest.
    """

    def __init__(self) -> None:
        self.shards: dict[str, FileEntry] = {}
        self.unusable: set[str] = set()
        self.names: list[str] = []  # sha256 of shards, by number
        self._numbers: dict[str, int] = {}
        self._places = DigestMap(2)
        self._unread: list[tuple[FileEntry, Place]] = []  # item files, and the folders of their sets

    def __len__(self) -> int:
        self._read()
        return len(self._places)

    def add(self, items: pa.Table, shards: Iterable[FileEntry]) -> None:
        """Add items with columns digest, shard, row. The first place of a digest wins, so that what is computed twice is kept once."""
        self._read()
        self._list(shards)
        self._add(items)

    def add_rows(self, words: Words, rows: Sequence[int] | Numbers, shard: FileEntry) -> None:
        """Add digests that stand in these rows of a shard; of an unusable one nothing."""
        self._read()
        self._list((shard,))
        if shard.sha256 not in self.unusable:
            self._add_places(words, np.full(len(words), self._numbers[shard.sha256], np.int32), np.asarray(rows, np.int32))

    def add_later(self, entry: FileEntry, set_folder: Place, shards: Iterable[FileEntry]) -> None:
        """Add an item file, which is read when that is needed."""
        self._list(shards)
        self._unread.append((entry, set_folder))

    def look_at(self, shards: Iterable[FileEntry], set_folder: Place) -> None:
        """Find out which shards are unusable, before items are added that point at them."""
        self.unusable |= {entry.sha256 for entry in shards if size_of(set_folder / entry.path) != entry.bytes}

    def merge(self, other: EmbeddingIndex) -> None:
        """Add what another index of the same set knows."""
        self._read()
        other._read()
        self._list(other.shards.values())
        numbers = np.array([self._numbers.get(name, -1) for name in other.names], np.int32)
        for words, places in other._places.blocks():
            self._add_places(words, numbers[places[:, 0]], places[:, 1])

    def numbers_of(self, shards: pa.ChunkedArray | pa.Array) -> Numbers:
        """Number of each shard, by its sha256 [n]; -1 for those that are not listed, or unusable."""
        array = shards.combine_chunks() if isinstance(shards, pa.ChunkedArray) else shards
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        numbers = [self._numbers.get(name, -1) if name not in self.unusable else -1 for name in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
        return np.asarray(np.array([*numbers, -1], np.int32)[indices])

    def find(self, words: Words) -> tuple[Numbers, Numbers]:
        """(number of the shard, row of view 0) of each digest, [n]; shard -1 for those that are not held."""
        self._read()
        held, places = self._places.find(words)
        return np.where(held, places[:, 0], np.int32(-1)), places[:, 1]

    def digests(self) -> Iterator[Words]:
        """All that are held, block by block."""
        self._read()
        return (words for words, _ in self._places.blocks())

    def held_by_shard(self) -> npt.NDArray[np.int64]:
        """How many digests each shard holds, by its number."""
        self._read()
        counts = np.zeros(len(self.names), np.int64)
        for _, places in self._places.blocks():
            counts += np.bincount(places[:, 0], minlength=len(counts))
        return counts

    def _list(self, shards: Iterable[FileEntry]) -> None:
        for entry in shards:
            if entry.sha256 not in self.unusable and self.shards.setdefault(entry.sha256, entry) and entry.sha256 not in self._numbers:
                self._numbers[entry.sha256] = len(self.names)
                self.names.append(entry.sha256)

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for entry, folder in unread:
            with suppress(DamagedError):
                self._add(read_tables([entry], folder, _PLACE_SCHEMA))

    def _add(self, items: pa.Table) -> None:
        self._add_places(to_words(items["digest"]), self.numbers_of(items["shard"]), items["row"].to_numpy())

    def _add_places(self, words: Words, numbers: Numbers, rows: Numbers) -> None:
        known = numbers >= 0
        self._places.add(words[known], np.stack([numbers[known], rows[known]], axis=1).astype(np.int32))


def committed_index(name: SetName) -> EmbeddingIndex:
    """All embeddings that any version of the set points at. Newest version first; a file shared by versions is read once.

    A version whose files are damaged adds nothing: this is a cache. Who builds on a version reads it himself, and is told then.
    """
    index = EmbeddingIndex()
    seen: set[str] = set()
    for version in reversed(list_versions(name.folder)):
        with suppress(DamagedError):
            manifest = read_manifest(name.folder, version)
            index.look_at((entry for entry in manifest.shards if entry.sha256 not in index.shards), name.folder)
            for entry in (entry for state in manifest.corpora.values() for entry in state.items):
                if entry.path not in seen:
                    seen.add(entry.path)
                    index.add_later(entry, name.folder, manifest.shards)
    return index
