"""Takedown in the cache of this machine: by the names of the files that left a store, and by what files of the cache hold."""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.disk import Disk
from storage.errors import PermafrostError
from storage.place import Place, RemotePlace
from storage.shard import SHARD_FORMATS
from storage.shard_cache import cache_folder, cached_files, forget
from storage.tombstones import Record, Tombstone, Tombstones, read_one, takedown_names

_MARK = "takedown-"


def purge_cache(stones: Tombstones) -> int:
    """Remove what left the store, and whatever else holds an image that was taken down; returns the number of files."""
    removed = sum(forget(gone.sha256) for gone in stones.gone.values())
    for path in cached_files() if stones.images else ():
        with suppress(PermafrostError, OSError):
            digests = _digests(path)
            if digests is None or stones.taken_by_image(digests).any():
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def honour_takedowns(root: Place) -> None:
    """Of what was taken down in a remote store since this machine last opened it, remove what its cache holds.

    One request where nothing is new. A store whose tombstones cannot be read is read on: they are read again at the next opening.
    """
    if not isinstance(root, RemotePlace) or not cache_folder().is_dir():
        return
    with suppress(PermafrostError, OSError):
        for entry in sorted(takedown_names(root)):
            if not _mark(root, entry).exists():
                _honour(root, entry)


def _honour(root: Place, entry: str) -> None:
    with suppress(PermafrostError, OSError):
        found = read_one(root, entry)
        if isinstance(found, Record):
            purge_cache(Tombstones(gone={gone.path: gone for gone in found.gone}))
        elif isinstance(found, Tombstone):
            purge_cache(Tombstones(images=frozenset(map(bytes.fromhex, found.images))))
        Disk().replace(str(_mark(root, entry)), b"")


def _mark(root: Place, entry: str) -> Path:
    """Says that this machine has honoured a tombstone or record, which never change."""
    return cache_folder() / f"{_MARK}{hashlib.sha256(f'{root}/{entry}'.encode()).hexdigest()}"


def _digests(path: Path) -> pa.ChunkedArray | None:
    """Of a listed file of any kind; None of one that cannot be read, which would have to be fetched anew anyway."""
    if path.name.startswith("."):  # another process is fetching it
        return pa.chunked_array([], pa.binary(32))
    with suppress(PermafrostError, OSError, pa.ArrowException, KeyError):
        if path.suffix != ".h5":
            return pq.read_table(path, columns=["digest"])["digest"]
        with closing(SHARD_FORMATS["hdf5"].reader(path)) as reader:
            return pa.chunked_array([pa.array(reader.digests(), pa.binary(32))])
    return None
