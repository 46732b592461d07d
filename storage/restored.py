"""What was taken down and is back: an older folder of a set laid over it from a backup, or files of one.

Records name each file that left for a takedown. One of that name may be there with good reason (another key brought the same bytes), so it
is looked into. What had expired before the takedown, or lay in another store then, no record names. So where images were taken down, the
digests in item files are compared, too: each file once a process, since its name says what is in it, and on disks only, for from a bucket
it would have to come first. It takes 0.1 s a million items. Keys would have to be hashed, a second a million: full verification does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.damage import damage_named
from storage.errors import DamagedError, NotFoundError, PermafrostError
from storage.files import FileEntry, list_names, open_listed, open_proven, size_of
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place
from storage.set_description import read_description
from storage.shard import shard_format
from storage.store import is_behind_web
from storage.takedown_receipts import receipt_names
from storage.tombstones import RECORD, THREADS, Record, Tombstone, Tombstones, concerning, read_one, takedown_names

FOLDERS = ("items", "rejects", "golden", "shards")  # those that are read fastest come first
MOST_TOMBSTONES = 100_000
MOST_ITEM_FILES = 100_000
_Holds = Callable[[SetName, FileEntry, Tombstones], bool]


def require_none_restored(name: SetName, manifest: Manifest) -> None:
    """Raises DamagedError for a version that lists what a finished takedown of its store took out."""
    for entry in _holding(name, manifest.files, _finished_takedowns(name), full=False):
        raise DamagedError(
            f"version {manifest.version} of {name.folder} holds what was taken down: by {entry.path} it is back, from a backup, say. "
            f"{way_out(name)}"
        )


def restored_files(name: SetName, listed: Iterable[FileEntry], full: bool) -> list[FileEntry]:
    """All such files of a set, whether a version lists them or not. listed: by versions; a web server lists nothing else.

    full: look into all files, of a remote store but for shards that no record names; else into those that opening a version looks into.
    """
    stones = _finished_takedowns(name)
    there = {entry.path: entry for entry in listed}
    for folder in FOLDERS if stones else ():
        for each in list_names(name.folder / folder):
            path = f"{folder}/{each}"
            there.setdefault(path, FileEntry(path, each.partition(".")[0], 0, 0))
    return list(_holding(name, there.values(), stones, full))


def way_out(name: SetName) -> str:
    where = " in the store's own folder or bucket" if is_behind_web(name.root) else ""
    return f"`permafrost store repair {name.folder}`{where} takes it out again"


def _holding(name: SetName, entries: Iterable[FileEntry], stones: Tombstones, full: bool) -> Iterator[FileEntry]:
    for entry in sorted(entries, key=lambda entry: FOLDERS.index(_folder_of(entry))) if stones else ():
        size = size_of(name.folder / entry.path) if (holds := _look(name, entry, stones, full)) else None
        with suppress(DamagedError, FileNotFoundError):  # which is told for itself
            if holds and size is not None and holds(name, replace(entry, bytes=size), stones):
                yield entry


def _look(name: SetName, entry: FileEntry, stones: Tombstones, full: bool) -> _Holds | None:
    """How to look into a file. None: it is not looked into."""
    folder, is_near = _folder_of(entry), isinstance(name.folder, Path)
    if entry.path in stones.gone or (full and (is_near or folder != "shards")):
        return _HOLDS[folder]
    return _items_hold_image if is_near and folder == "items" and stones.images else None


def _folder_of(entry: FileEntry) -> str:
    return entry.path.partition("/")[0]


def _finished_takedowns(name: SetName) -> Tombstones:
    """Of those that can be read. While one is at work, readers see what was before it or what comes after."""
    with suppress(PermafrostError, OSError):  # readers go on where none can be
        names = takedown_names(name.root)
        if not names:
            return Tombstones()
        done = {entry.partition(".")[0] for entry in receipt_names(name.root)}  # a web server lists none
        wanted = [each for each in names if each.startswith(RECORD) or each.partition(".")[0] in done or is_behind_web(name.root)]
        with ThreadPoolExecutor(THREADS) as pool:
            found = zip(wanted, pool.map(partial(_read_if_sound, name.root), wanted), strict=True)
            return concerning(name, {each: value for each, value in found if value})
    return Tombstones()


def _read_if_sound(root: Place, entry: str) -> Tombstone | Record | None:
    with suppress(PermafrostError, OSError):
        return _read_once(root, entry)
    return None


@lru_cache(maxsize=MOST_TOMBSTONES)
def _read_once(root: Place, entry: str) -> Tombstone | Record:
    """They never change, and their names follow from what is in them. Raises NotFoundError, DamagedError."""
    if (found := read_one(root, entry)) is None:
        raise NotFoundError(entry)
    return found


def _table_holds(name: SetName, entry: FileEntry, stones: Tombstones) -> bool:
    """Of items or rejects."""
    return bool(stones.taken(_columns(name, entry, ["key", "corpus", "digest"])).any())


def _items_hold_image(name: SetName, entry: FileEntry, stones: Tombstones) -> bool:
    items = name.folder / entry.path
    return isinstance(items, Path) and _holds_image(items, stones.images)


@lru_cache(maxsize=MOST_ITEM_FILES)
def _holds_image(items: Path, images: frozenset[bytes]) -> bool:
    """Raises DamagedError."""
    with damage_named(items, "file"):
        return bool(Tombstones(images=images).taken_by_image(pq.read_table(items, columns=["digest"])["digest"]).any())


def _golden_holds(name: SetName, entry: FileEntry, stones: Tombstones) -> bool:
    return bool(stones.taken_by_image(_columns(name, entry, ["digest"])["digest"]).any())


def _shard_holds(name: SetName, entry: FileEntry, stones: Tombstones) -> bool:
    """By images: what an item of a key points at, its item file tells. Whoever looks into all shards has compared their bytes before."""
    with closing(open_listed(name.folder, entry, shard_format(read_description(name).shard_format).reader)) as reader:
        return bool(stones.taken_by_image(pa.chunked_array([pa.array(reader.digests(), pa.binary(32))])).any())


def _columns(name: SetName, entry: FileEntry, columns: list[str]) -> pa.Table:
    with damage_named(name.folder / entry.path, "file"):
        return open_proven(name.folder, entry, partial(pq.read_table, columns=columns))


_HOLDS: dict[str, _Holds] = {
    "items": _table_holds,
    "rejects": _table_holds,
    "golden": _golden_holds,
    "shards": _shard_holds,
}
