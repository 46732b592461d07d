"""What was taken down in a store: tombstones, which everybody honours from then on, and what became of the files that held it.

`<root>/takedowns/<id>.json` is a tombstone, `record-<id>.json` says which items were found and which files left. Neither ever changes, so
whoever has read one need not read it again. Keys stand there as their sha256 only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.damage import MEND
from storage.errors import AlreadyExistsError, DamagedError, NotFoundError
from storage.files import FileEntry, create_exclusive, list_names, read_bytes, to_json, write_atomic
from storage.lost_tombstones import WAY_OUT, lost_tombstones, require_none_lost, takedowns_told
from storage.names import SetName
from storage.place import Place
from storage.sealed import read_sealed, seal
from storage.takedown_receipts import RECEIPTS, receipt_names
from storage.web_root import TAKEDOWNS as FOLDER

RECORD = "record-"
TAKEN_DOWN = "taken-down"  # reason of what is skipped, and what stands where a key stood
TOMBSTONE_FORMAT = 1
THREADS = 8
_UNKNOWN_STAMPS = ("", "imported")  # such a stamp says nothing of a file


@dataclass(frozen=True)
class Tombstone:
    """set: TEAM/SET, or None for all sets of the store. images: their digests. keys: (corpus, or None for any; sha256 of the key)."""

    set: str | None
    images: tuple[str, ...] = ()
    keys: tuple[tuple[str | None, str], ...] = ()

    @property
    def id(self) -> str:
        return hashlib.sha256(to_json(asdict(self))).hexdigest()[:20]


@dataclass(frozen=True)
class KnownFile:
    """An item that was an image taken down: later extractions know the file by key and stamp (their sha256), and need not read it."""

    image: str
    corpus: str
    key: str
    stamp: str | None


@dataclass(frozen=True)
class Gone:
    """A file that left a set. now: what took its place. rows: of a shard, those that were left out, ascending."""

    set: str
    path: str
    sha256: str
    now: tuple[FileEntry, ...] = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Record:
    """What was found, and what left."""

    known: tuple[KnownFile, ...] = ()
    gone: tuple[Gone, ...] = ()


@dataclass(frozen=True)
class Tombstones:
    """All that was taken down, as far as it concerns one set. names: of the files that say so."""

    names: frozenset[str] = frozenset()
    images: frozenset[bytes] = frozenset()
    keys: frozenset[tuple[str | None, str]] = frozenset()
    known: frozenset[KnownFile] = frozenset()
    gone: Mapping[str, Gone] = field(default_factory=dict)  # by path

    def __bool__(self) -> bool:
        return bool(self.images or self.keys)

    def knowing(self, known: Iterable[KnownFile]) -> Tombstones:
        return replace(self, known=self.known | frozenset(known))

    def adding(self, stone: Tombstone) -> Tombstones:
        """The same with a tombstone that concerns the set."""
        images = frozenset(map(bytes.fromhex, stone.images))
        return replace(self, images=self.images | images, keys=self.keys | frozenset(stone.keys))

    def taken_by_image(self, digests: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Whether each digest (null where not known) is of an image that was taken down."""
        if not self.images:
            return np.zeros(len(digests), bool)
        wanted = pa.array(sorted(self.images), pa.binary(32))
        return np.asarray(pc.is_in(digests.cast(pa.binary(32)), value_set=wanted).to_numpy(zero_copy_only=False), bool)

    def taken_by_key(self, table: pa.Table, corpus: str | None = None) -> npt.NDArray[np.bool_]:
        """Whether each row's key was taken down. table: with key, and corpus unless all rows are of one.

        It hashes each key: a second a million.
        """
        if not self.keys:
            return np.zeros(table.num_rows, bool)
        corpora = [corpus] * table.num_rows if corpus is not None else table["corpus"].to_pylist()
        return np.array([self.holds_key(*pair) for pair in zip(corpora, table["key"].to_pylist(), strict=True)], bool)

    def taken(self, table: pa.Table, corpus: str | None = None) -> npt.NDArray[np.bool_]:
        """Whether each row has to go. table: with key, digest, and corpus unless all rows are of one.

        An image whose bytes could not be read when the row was made goes by the names that it is known by.
        """
        gone = self.taken_by_image(table["digest"]) | self.taken_by_key(table, corpus)
        unread = np.flatnonzero(table["digest"].is_null().to_numpy() & ~gone) if self.known else ()
        names = {(file.corpus, file.key) for file in self.known} if len(unread) else ()
        for row in unread:
            own = corpus if corpus is not None else table["corpus"][int(row)].as_py()
            gone[row] = (own, hashed(table["key"][int(row)].as_py())) in names
        return gone

    def holds_key(self, corpus: str, key: str) -> bool:
        name = hashed(key)
        return (corpus, name) in self.keys or (None, name) in self.keys

    def skips(self, corpus: str, key: str, stamp: str) -> bool:
        """Whether an item of a listing is taken down, as far as that can be told without reading it."""
        name = hashed(key)
        if (corpus, name) in self.keys or (None, name) in self.keys:
            return True
        return stamp not in _UNKNOWN_STAMPS and (corpus, name, hashed(stamp)) in self._states

    @cached_property
    def _states(self) -> frozenset[tuple[str, str, str | None]]:
        return frozenset((file.corpus, file.key, file.stamp) for file in self.known)

    def names_of_keys(self) -> frozenset[str]:
        """sha256 of all keys that were taken down, or that images had."""
        return frozenset({name for _, name in self.keys} | {file.key for file in self.known})


NOTHING = Tombstones()


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def known_file(image: bytes, corpus: str, key: str, stamp: str) -> KnownFile:
    return KnownFile(image.hex(), corpus, hashed(key), None if stamp in _UNKNOWN_STAMPS else hashed(stamp))


def set_label(name: SetName) -> str:
    return f"{name.team}/{name.name}"


def leave_tombstone(root: Place, tombstone: Tombstone) -> None:
    """Whoever reads or writes the store honours it from now on. No error if it is there."""
    _create(root, f"{tombstone.id}.json", {"kind": "tombstone", **asdict(tombstone)})


def leave_record(root: Place, record: Record) -> None:
    value = {"kind": "record", **asdict(record)}
    _create(root, f"{RECORD}{hashlib.sha256(to_json(value)).hexdigest()[:20]}.json", value)


def takedown_names(root: Place) -> frozenset[str]:
    return frozenset(entry for entry in list_names(root / FOLDER) if entry.endswith(".json"))


def unfinished(root: Place) -> list[str]:
    """Ids of takedowns that have no receipt: at work, or cut off."""
    tombstones = [entry.removesuffix(".json") for entry in takedown_names(root) if not entry.startswith(RECORD)]
    done = {entry.partition(".")[0] for entry in receipt_names(root)} if tombstones else ()
    return sorted(entry for entry in tombstones if entry not in done)


def read_tombstones(name: SetName, coming: Tombstone | None = None) -> Tombstones:
    """What was taken down in the set's store, as far as it concerns the set. coming: is about to be left.

    Raises DamagedError, also where a tombstone is lost: whoever writes must know them all.
    """
    values, lost = _read_all(name.root, coming)
    if lost:
        values, lost = _read_all(name.root, coming)  # a takedown may have begun while folders were listed
    require_none_lost(name.root / FOLDER, lost)
    return concerning(name, values)


def _read_all(root: Place, coming: Tombstone | None) -> tuple[dict[str, Tombstone | Record], dict[str, str]]:
    """(all of them by name, those that are lost)."""
    there = list_names(root / FOLDER)
    told = takedowns_told(root)
    anew = {f"{coming.id}.json": coming} if coming else {}  # whatever is there now
    entries = [entry for entry in {*there, *told} if entry.endswith(".json") and entry not in anew]  # a listing may be behind
    receipts = receipt_names(root) if RECEIPTS in there else []
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(entries, pool.map(partial(_read_needed, root), entries), strict=True)) if entries else {}
    values = {entry: value for entry, value in found.items() if value is not None} | anew
    return values, lost_tombstones(values, {entry for entry in told if not entry.startswith(RECORD)}, receipts, *split(values))


def _read_needed(root: Place, entry: str) -> Tombstone | Record | None:
    """As `read_one`, for who cannot go on without it."""
    try:
        return read_one(root, entry)
    except DamagedError as error:
        way_out = MEND if entry.startswith(RECORD) else f"So that nothing that was taken down comes back, {WAY_OUT}"
        raise DamagedError(f"{error}. {way_out}") from None


def split(values: Mapping[str, Tombstone | Record]) -> tuple[list[Tombstone], dict[str, Record]]:
    """Tombstones, and records by name."""
    stones = [value for value in values.values() if isinstance(value, Tombstone)]
    return stones, {name: value for name, value in values.items() if isinstance(value, Record)}


def concerning(name: SetName, values: Mapping[str, Tombstone | Record]) -> Tombstones:
    """What tombstones and records, by their names, say of a set."""
    if not values:
        return NOTHING
    own = set_label(name)
    of_all, by_name = split(values)
    stones, records = [stone for stone in of_all if stone.set in (None, own)], by_name.values()
    images = {image for stone in stones for image in stone.images}
    return Tombstones(
        frozenset(values),
        frozenset(map(bytes.fromhex, images)),
        frozenset(key for stone in stones for key in stone.keys),
        frozenset(file for record in records for file in record.known if file.image in images),
        {gone.path: gone for record in records for gone in record.gone if gone.set == own},
    )


def read_one(root: Place, entry: str) -> Tombstone | Record | None:
    """None if it has gone meanwhile. Raises DamagedError."""
    place = root / FOLDER / entry
    with suppress(NotFoundError):
        what = "record of a takedown" if entry.startswith(RECORD) else "tombstone"
        value = read_sealed(place, what)
        if value.pop("format", None) != TOMBSTONE_FORMAT:
            raise DamagedError(f"{place}: a {what} of another format than {TOMBSTONE_FORMAT}, which this program reads")
        try:
            return _parse(value.pop("kind"), value)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{place}: not a valid {what} ({type(error).__name__}: {error})") from None
    return None


def _parse(kind: str, value: Mapping[str, Any]) -> Tombstone | Record:
    if kind == "tombstone":
        return Tombstone(value["set"], tuple(value["images"]), tuple((corpus, key) for corpus, key in value["keys"]))
    return Record(tuple(KnownFile(**each) for each in value["known"]), tuple(map(parse_gone, value["gone"])))


def parse_gone(value: Mapping[str, Any]) -> Gone:
    """Of a record or a receipt. Raises KeyError, TypeError."""
    now = tuple(FileEntry(**entry) for entry in value["now"])
    return Gone(value["set"], value["path"], value["sha256"], now, tuple(value["rows"]))


def _create(root: Place, entry: str, value: Mapping[str, Any]) -> None:
    place, data = root / FOLDER / entry, seal({"format": TOMBSTONE_FORMAT, **value})
    try:
        create_exclusive(place, data)
    except AlreadyExistsError:
        if read_bytes(place) != data:  # the name goes by the content, so that one is damaged
            write_atomic(place, data)
