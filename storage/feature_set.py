"""A feature set at one version: what it is, and its items and embeddings as NumPy or Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.asked_version import read_asked
from storage.cache_room import tell_of_small_cache
from storage.digest_lookup import DigestLookup
from storage.errors import DamagedError, NotFoundError
from storage.files import FileEntry
from storage.golden import GoldenImages, read_golden
from storage.item_rows import ItemRows
from storage.items import REJECT_SCHEMA, read_items, read_tables, require_columns
from storage.key_lookup import KeyLookup
from storage.manifest import Manifest
from storage.more import and_more
from storage.names import SetName, parse_set
from storage.reading import Embeddings
from storage.requests import (
    corpus_of_request,
    digests_in_order,
    keys_in_order,
    positions_of,
    require_column_names,
    require_range,
    require_whole,
)
from storage.restored import require_none_restored
from storage.rewritten import rewriting_told
from storage.row_reader import RowReader
from storage.set_description import SetDescription, read_description
from storage.shard import embedding_bytes
from storage.shard_layout import ShardLayout
from storage.space import Space
from storage.store import require_store
from storage.versions import list_versions, version_path

__all__ = ["Batch", "FeatureSet", "SetDescription", "open_set", "read_description"]

DEFAULT_BATCH_BYTES = 16 << 20  # 16 MiB of embeddings a batch, all views of it counted
THREADS = 4  # that read into one array: on 2 cores as fast as 2, in a bucket they wait for the network together

_RESULT = "what is to be read"


@dataclass(frozen=True)
class Batch:
    """`keys` of n items, their `embeddings` [n, *shape] in the stored dtype ([n, V, *shape] if all V views were asked for), and their
    `positions` [n] in the items table."""

    keys: list[str]
    embeddings: npt.NDArray[np.generic]
    positions: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FeatureSet:
    """One immutable version of a set. Reading needs neither TensorFlow nor Ray nor write access."""

    name: SetName
    description: SetDescription
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<FeatureSet {self.name.folder}@{self.version}: {self.rows} x {list(self.shape)} {self.description.dtype}>"

    @property
    def space(self) -> Space:
        return self.description.space

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def rows(self) -> int:
        """Items that have an embedding."""
        return self.manifest.counts["rows"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.description.shape

    @property
    def views(self) -> tuple[str, ...]:
        """What each view of an image is, by number; 0 is the plain image."""
        return self.space.views

    @property
    def embedding_bytes(self) -> int:
        return embedding_bytes(self.shape, self.description.dtype)

    @cached_property
    def items(self) -> pa.Table:
        """All items (key, corpus, digest, stamp, shard, row, label, split, then their attributes), sorted by (corpus, key)."""
        with self._rewriting_told():
            return read_items(self._item_files, self.name.folder)

    @cached_property
    def rejects(self) -> pa.Table:
        """Items without an embedding: key, corpus, digest, stamp, reason, message."""
        entries = [state.rejects for _, state in sorted(self.manifest.corpora.items()) if state.rejects]
        with self._rewriting_told():
            return read_tables(entries, self.name.folder, REJECT_SCHEMA)

    def golden(self) -> GoldenImages:
        with self._rewriting_told():
            return read_golden(self.manifest.golden, self.name.folder, self.shape, self.description.dtype)

    def columns(self, *names: str) -> pa.Table:
        """These columns of all items, in item order; the others are not read. Raises UsageError for one that no item has."""
        require_column_names(names)
        with self._rewriting_told():
            if "items" not in self.__dict__:
                return read_items(self._item_files, self.name.folder, names)
            require_columns(names, self.items.column_names)
            return self.items.select(names)

    def to_numpy(self, view: int | None = 0, threads: int = THREADS) -> tuple[list[str], npt.NDArray[np.generic]]:
        """(keys, embeddings [N, *shape] in the stored dtype), in item order. Needs memory for all N, and the keys as Python's texts.

        view: the number of one; None for all V of them, [N, V, *shape]. Raises UsageError for one that the set has not.
        """
        embeddings = self.embeddings(view=view, threads=threads)
        return self._places["key"].to_pylist(), embeddings

    def embeddings(
        self, positions: Sequence[int] | npt.NDArray[np.int64] | None = None, view: int | None = 0, threads: int = THREADS
    ) -> npt.NDArray[np.generic]:
        """[n, *shape] in the stored dtype, of the items at these positions and in their order; None for all. view: as in `to_numpy`."""
        wanted = self._places if positions is None else self._places.take(pa.array(self._inside(positions)))
        with self._rewriting_told():
            return self._embeddings.read(wanted, view, threads)

    def to_arrow(self) -> pa.Table:
        """Items joined with view 0 as a fixed-size list column `embedding` (flattened, stored dtype), in item order."""
        flat = pa.array(self.embeddings().reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(self.shape)))
        shape = {b"shape": str(list(self.shape)).encode()}
        return self.items.append_column(pa.field("embedding", column.type, metadata=shape), column)

    def batches(
        self,
        batch_size: int | None = None,
        positions: Sequence[int] | npt.NDArray[np.int64] | None = None,
        view: int | None = 0,
        threads: int = 1,
    ) -> Iterator[Batch]:
        """All items in storage order: each shard is read once, front to back. Use `to_numpy` for item order.

        batch_size: items a batch (the last may be smaller); None for about 16 MiB of embeddings. positions: of the wanted items in the
        items table; None for all. view: as in `to_numpy`. threads: with 1 a batch is read when it is asked for, with more they read
        ahead, and memory is that of `threads` + 1 batches. Batches are the same.
        """
        size = batch_size if batch_size is not None else max(1, DEFAULT_BATCH_BYTES // (len(self.views) * self.embedding_bytes))
        require_whole(size, "batch_size", 1)
        tell_of_small_cache(self.name.folder, self.manifest.shards, self._item_files)
        keys = self._places["key"].combine_chunks()
        wanted = None if positions is None else self._inside(positions)
        with self._rewriting_told():
            for found, embeddings in self._embeddings.in_storage_order(self._places, size, wanted, view, threads):
                yield Batch(keys.take(pa.array(found)).to_pylist(), embeddings, found)

    def row_reader(self, positions: Sequence[int] | npt.NDArray[np.int64], readers: int = 1) -> RowReader:
        """Reads the items at these positions, by their numbers among them, again and again in any order. readers: threads for one read."""
        require_whole(readers, "readers", 1)
        tell_of_small_cache(self.name.folder, self.manifest.shards, self._item_files)
        wanted = self._places.select(["shard", "row"]).take(pa.array(self._inside(positions)))
        return RowReader(self._embeddings, wanted, self._rewriting_told, readers)

    def read(self, start: int, stop: int, view: int | None = 0) -> Batch:
        """Items start to stop (exclusive), in item order: only what they stand in is read. Raises UsageError for a range outside."""
        require_range(start, stop, self.rows, str(self.name))
        return self._batch(np.arange(start, stop), view)

    def by_key(self, keys: Sequence[str], corpus: str | None = None, view: int | None = 0) -> Batch:
        """The items of these keys, in their order. Milliseconds among millions: the items are not read, only looked through.

        Raises NotFoundError that names a key that is not there (`positions_of_keys` says which are), UsageError for one that several
        corpora have, if none is named.
        """
        positions = self.positions_of_keys(asked := keys_in_order(keys, _RESULT), corpus)
        self._require_found(positions, [repr(key) for key in asked], "key", "positions_of_keys")
        return self._batch(positions, view)

    def by_digest(self, digests: Sequence[bytes], view: int | None = 0) -> Batch:
        """The first item of each of these images (sha256, 32 bytes), in their order. Raises NotFoundError."""
        positions = self.positions_of_digests(asked := digests_in_order(digests, _RESULT))
        self._require_found(positions, [digest.hex() for digest in asked], "digest", "positions_of_digests")
        return self._batch(positions, view)

    def positions_of_keys(self, keys: Sequence[str], corpus: str | None = None) -> npt.NDArray[np.int64]:
        """Where the items of these keys are in `items` [n]; -1 for what is not there. Raises UsageError as `by_key`."""
        asked = keys_in_order(keys, _RESULT)
        with self._rewriting_told():
            return self._keys.find(asked, corpus_of_request(corpus))

    def positions_of_digests(self, digests: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Where the first item of each of these images is in `items` [n]; -1 for what is not there.

        The first call reads all digests: 0.15 s a million. Raises UsageError for what is no sha256.
        """
        asked = digests_in_order(digests, _RESULT)
        with self._rewriting_told():
            return self._digests.find(asked)

    def __reduce__(self) -> tuple[type[FeatureSet], tuple[SetName, SetDescription, Manifest]]:
        return FeatureSet, (self.name, self.description, self.manifest)  # without what was read of it

    def _inside(self, positions: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return positions_of(positions, self.rows, str(self.name))

    def _rewriting_told(self) -> AbstractContextManager[None]:
        return rewriting_told(self.name, self.manifest)

    @property
    def _item_files(self) -> list[FileEntry]:
        return [entry for _, state in sorted(self.manifest.corpora.items()) for entry in state.items]

    @cached_property
    def _places(self) -> pa.Table:
        return self.columns("key", "shard", "row")

    @cached_property
    def _embeddings(self) -> Embeddings:
        layout = ShardLayout(self.shape, self.description.dtype, self.space.id)
        return Embeddings(self.name, self.version, self.description.shard_format, layout, self.manifest.shards, self.views)

    @cached_property
    def _keys(self) -> KeyLookup:
        corpora = {corpus: state.items for corpus, state in sorted(self.manifest.corpora.items())}
        return KeyLookup(corpora, self.name)

    @cached_property
    def _digests(self) -> DigestLookup:
        return DigestLookup(self._item_files, self.name.folder)

    def _batch(self, positions: npt.NDArray[np.int64], view: int | None) -> Batch:
        with self._rewriting_told():
            found = ItemRows(self._item_files, self.name.folder).take(positions, ("key", "shard", "row"))
            return Batch(found["key"].to_pylist(), self._embeddings.read(found, view), positions)

    def _require_found(self, positions: npt.NDArray[np.int64], asked: list[str], what: str, way_out: str) -> None:
        missing = [name for name, position in zip(asked, positions, strict=True) if position < 0]
        if missing:
            raise NotFoundError(
                f"{self.name} has no item of {what} {missing[0]}{and_more(missing)} in version {self.version}; {way_out} says which it has"
            )


def open_set(uri: str | Path | SetName) -> FeatureSet:
    """Open `ROOT/TEAM/SET[@VERSION|@TAG]` for reading; without '@' the newest version.

    Where the newest version is lost, the newest that is left, and a warning is logged. Raises UsageError (malformed name), NotFoundError
    (no such store, set, version or tag), DamagedError (also for a version or tag that is lost, and for one with what was taken down).
    """
    name = uri if isinstance(uri, SetName) else parse_set(uri)
    require_store(name.root)
    description = read_description(name)
    manifest = read_asked(name, list_versions(name.folder))
    if manifest.space_id != description.space.id:
        raise DamagedError(f"{version_path(name.folder, manifest.version)} is of another feature space than the set's set.json")
    require_none_restored(name, manifest)
    return FeatureSet(name, description, manifest)
