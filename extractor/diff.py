"""What a listing means for a set: which items are known, and which have to be read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from extractor.bad_images import BadImages
from extractor.corpus import BYTES, ITEM_COLUMNS, LOCATION, OWN_PREFIX, SETS, Items
from extractor.reasons import PASSING_REASONS
from storage.digests import DigestMap, to_words, words_of
from storage.index import EmbeddingIndex
from storage.row_file import RowFile, Rows, RowWriter, aligned, write_rows
from storage.row_sorter import RowSorter

# What is known of a key: its stamp, and its digest or its reject. shard (a number of the index) and row are null where only the digest
# says where the embedding is.
KNOWN_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("stamp", pa.string()),
        ("digest", pa.binary(32)),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
    ]
)

# What a decided row has beside its item.
STATE, DIGEST, REASON, MESSAGE, SHARD, ROW = (f"{OWN_PREFIX}{name}" for name in ("state", "digest", "reason", "message", "shard", "row"))
UNCHANGED, CHANGED, NEW = np.int8(0), np.int8(1), np.int8(2)  # the last two are to be read
_PLACE = f"{OWN_PREFIX}place"


@dataclass(frozen=True)
class Diff:
    """Before anything is read. What the new and changed items are, apart from that, their bytes tell (`extractor.novelty`).

    decided: the listing's rows, with STATE and what is known of each: of an unchanged one where it stands, of a changed one where it stood.
    to_read: in the order of their places, so that a container is read front to back even where its keys are in another order.
    gone: digests (`digest`) of good images whose keys are no longer listed.
    """

    decided: RowFile
    to_read: Items
    gone: RowFile
    changed: int  # keys that were known with another stamp, or whose reject may have passed
    deleted: int  # known, and no longer listed
    moved: int  # new keys with the stamp of a deleted one: renamed, in all likelihood
    bytes_to_read: int | None  # None: of some the source does not say it

    @property
    def new(self) -> int:
        """Keys that were not known."""
        return len(self.to_read) - self.changed


def diff(
    items: Items,
    committed: Rows,
    recovered: Rows,
    bad: BadImages,
    index: EmbeddingIndex,
    rehash: bool = False,
    retry: Collection[str] = (),
) -> Diff:
    """Compare a listing with what is known by key; an item is unchanged if its stamp is, and its reject (if any) is final.

    committed, recovered: KNOWN_COLUMNS by key, of the newest version, which has the first word, and of unfinished runs, which count where
    they saw the listed state of a file and the version did not. What neither says the place of, nor the index, is not known, unless it
    is one of the bad images of those runs.
    rehash: trust no stamp, so that every item is read, and its bytes tell. retry: further reasons whose rejects are read again.
    """
    work = _Work(items, bad, index, rehash, pa.array(sorted({*PASSING_REASONS, *retry}), pa.string()))
    for block, of_version, of_runs in aligned([items.rows, committed, recovered], "key"):
        work.compare(block, of_version, of_runs)
    return work.finish()


def reading_order(blocks: Iterable[pa.Table], columns: pa.Schema = ITEM_COLUMNS) -> Items:
    """Items by location; by key where that is the location. columns: what is kept of them."""
    sorter = RowSorter(columns.append(pa.field(_PLACE, pa.string())), [_PLACE, "key"])
    for block in blocks:
        has_own = pc.not_equal(block[LOCATION], "")
        sorter.add(block.select(columns.names).append_column(_PLACE, pc.if_else(has_own, block[LOCATION], block["key"])))
    return Items(write_rows(columns, (block.drop_columns([_PLACE]) for block in sorter.blocks())))


def union(parts: Sequence[Items]) -> Items:
    """The items of all parts, each key once, in reading order; of several parts with SETS, which of them have it."""
    if len(parts) == 1:
        return parts[0]
    return reading_order(_together(parts), ITEM_COLUMNS.append(pa.field(SETS, pa.int64())))


def _together(parts: Sequence[Items]) -> Iterator[pa.Table]:
    by_key = []
    for part in parts:
        by_key.append(RowSorter(ITEM_COLUMNS, ["key"]))
        for block in part.rows.blocks():
            by_key[-1].add(block)
    for of_parts in aligned(by_key, "key"):
        rows = pa.concat_tables(of_parts)
        numbers = rows["key"].combine_chunks().dictionary_encode().indices.to_numpy()
        _, first = np.unique(numbers, return_index=True)
        bits = np.zeros(len(first), np.int64)
        np.bitwise_or.at(bits, numbers, np.left_shift(1, np.repeat(np.arange(len(parts)), [table.num_rows for table in of_parts])))
        yield rows.take(pa.array(first)).append_column(SETS, pa.array(bits))


def match(keys: pa.ChunkedArray, among: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Position of each key in `among`; -1 where it is not there."""
    return np.asarray(pc.index_in(keys, value_set=among.combine_chunks()).fill_null(-1).to_numpy(), np.int64)


def taken(table: pa.Table, positions: npt.NDArray[np.int64]) -> pa.Table:
    """The rows at these positions; nulls for -1."""
    return table.take(pa.array(positions, mask=positions < 0))


def replaced(column: pa.ChunkedArray, flags: npt.NDArray[np.bool_], values: list[str]) -> pa.ChunkedArray:
    """The column with these values where the flags are set."""
    filled = pc.replace_with_mask(column.combine_chunks(), pa.array(flags), pa.array(values, pa.string()))
    return pa.chunked_array([filled])


class _Work:
    """The comparison under way: one block of keys after the other."""

    def __init__(self, items: Items, bad: BadImages, index: EmbeddingIndex, rehash: bool, passing: pa.Array) -> None:
        self._bad, self._index, self._rehash, self._passing = bad, index, rehash, passing
        known = [("digest", DIGEST), ("reason", REASON), ("message", MESSAGE), ("shard", SHARD), ("row", ROW)]
        self._fields = [pa.field(STATE, pa.int8()), *(pa.field(own, KNOWN_COLUMNS.field(name).type) for name, own in known)]
        self._decided = RowWriter(pa.schema([*items.rows.schema, *self._fields]))
        self._gone = RowWriter(pa.schema([("digest", pa.binary(32))]))
        self._gone_stamps = DigestMap()
        self._changed = self._deleted = self._bytes = 0
        self._sizes_known = True

    def compare(self, items: pa.Table, committed: pa.Table, recovered: pa.Table) -> None:
        known, usable = self._located(pa.concat_tables([committed, recovered]))
        self._note_gone(known.slice(0, committed.num_rows), usable[: committed.num_rows], items)
        if not items.num_rows:
            return
        of_version, of_runs = match(items["key"], committed["key"]), match(items["key"], recovered["key"])
        of_runs[of_runs >= 0] += committed.num_rows
        of_version[~usable[of_version]] = -1  # the last of `usable` stands for -1
        of_runs[~usable[of_runs]] = -1
        same_version, same_run = (self._same_stamp(items, known, at) for at in (of_version, of_runs))
        chosen = np.where(same_run & ~same_version, of_runs, of_version)
        before = taken(known, chosen)
        may_pass = pc.is_in(before["reason"], value_set=self._passing).to_numpy()
        unchanged = (same_version | same_run) & ~may_pass & (not self._rehash)
        state = np.where(unchanged, UNCHANGED, np.where(chosen >= 0, CHANGED, NEW))
        self._changed += int((state == CHANGED).sum())
        sizes = items[BYTES].filter(pa.array(~unchanged))
        self._sizes_known = self._sizes_known and sizes.null_count == 0
        self._bytes += pc.sum(sizes).as_py() or 0
        columns = [pa.array(state), *(before[name] for name in ("digest", "reason", "message", "shard", "row"))]
        self._decided.append(pa.table([*items.columns, *columns], schema=self._decided.schema))

    def finish(self) -> Diff:
        decided = self._decided.finish()
        to_read = reading_order(_of_state(block, CHANGED, NEW) for block in decided.blocks())
        moved = self._count_moved(decided) if len(self._gone_stamps) else 0
        sizes = self._bytes if self._sizes_known else None
        return Diff(decided, to_read, self._gone.finish(), self._changed, self._deleted, moved, sizes)

    def _located(self, known: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
        """The same with all places that the index knows and all rejects, and of each row whether it is one or has a place; a last False is
        added."""
        shards, rows = (known[name].fill_null(-1).to_numpy().copy() for name in ("shard", "row"))
        rejected = known["reason"].is_valid().to_numpy()
        lost = ~rejected & (shards < 0)
        if lost.any():
            shards[lost], rows[lost] = self._index.find(to_words(known["digest"].filter(pa.array(lost))))
            for name, values in (("shard", shards), ("row", rows)):
                known = known.set_column(known.schema.get_field_index(name), name, pa.array(values, pa.int32()))
            lost &= shards < 0
            is_bad, reasons, messages = self._bad.why(known["digest"].filter(pa.array(lost)))
            lost[lost] = is_bad
            for name, texts in (("reason", reasons), ("message", messages)):
                known = known.set_column(known.schema.get_field_index(name), name, replaced(known[name], lost, texts))
            rejected = rejected | lost
        return known, np.append(rejected | (shards >= 0), False)

    @staticmethod
    def _same_stamp(items: pa.Table, known: pa.Table, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        same = pc.equal(taken(known.select(["stamp"]), at)["stamp"], items["stamp"]).fill_null(False)
        return np.asarray(same.to_numpy(), bool)

    def _note_gone(self, committed: pa.Table, usable: npt.NDArray[np.bool_], items: pa.Table) -> None:
        gone = committed.filter(pa.array((match(committed["key"], items["key"]) < 0) & usable))
        self._deleted += gone.num_rows
        good = gone.filter(gone["reason"].is_null())
        if good.num_rows:
            self._gone.append(good.select(["digest"]))
            self._gone_stamps.add(words_of(_hashed(good["stamp"])))

    def _count_moved(self, decided: RowFile) -> int:
        new = (_of_state(block, NEW)["stamp"] for block in decided.blocks())
        return sum(int(self._gone_stamps.holds(words_of(_hashed(stamps))).sum()) for stamps in new if len(stamps))


def _of_state(block: pa.Table, *states: np.int8) -> pa.Table:
    return block.filter(pa.array(np.isin(block[STATE].to_numpy(), states)))


def _hashed(texts: pa.ChunkedArray) -> list[bytes]:
    """Stamps of ten million deleted items take 320 MB as hashes, on disk, and several times that as Python objects."""
    return [hashlib.sha256(text.encode()).digest() for text in texts.to_pylist()]
