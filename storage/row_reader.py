"""Embeddings of any items, read into memory that is there: for those who read a set again and again in ever new orders.

Plain reads of the places where the shards hold their rows, and not memory maps: what was read does not stay in the memory of the
process (mapped pages do, up to the whole set), and a disk that fails is an error, not a signal. Shards are looked into once, and only
opened after that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.damage import damage_named
from storage.errors import DamagedError
from storage.files import FileEntry, open_at
from storage.place import Place
from storage.read_plan import FileRuns, file_runs
from storage.reading import Embeddings
from storage.shard_layout import ShardLayout

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Places:
    """Where a shard holds its rows: the first row of each block, and the byte at which the block begins."""

    entry: FileEntry
    path: Place
    rows: int
    firsts: Positions
    offsets: Positions

    def bytes_of(self, rows: Positions, width: int) -> Positions:
        block = np.searchsorted(self.firsts, rows, side="right") - 1
        return np.asarray(self.offsets[block] + (rows - self.firsts[block]) * width, np.int64)


class RowReader:
    """Reads embeddings of `items` (a table with the columns shard and row) by their numbers in it; for several threads at once.

    told: a context for each read, that says what errors mean. readers: threads for one read; what is read does not depend on them.
    """

    def __init__(self, embeddings: Embeddings, items: pa.Table, told: Callable[[], AbstractContextManager[None]], readers: int = 1) -> None:
        column = items["shard"].combine_chunks()
        self._names: list[str] = column.dictionary.to_pylist()
        self._shards = column.indices.to_numpy().astype(np.int64)
        self._rows = items["row"].to_numpy().astype(np.int64)
        self._embeddings, self._told, self._readers = embeddings, told, readers
        self._places: dict[int, _Places] = {}

    @property
    def layout(self) -> ShardLayout:
        return self._embeddings.layout

    def in_shard_order(self, numbers: Positions) -> Positions:
        """The same numbers in the order in which the shards hold them, so that a pass over them goes through each shard once."""
        return numbers[np.argsort((self._shards[numbers] << 32) + self._rows[numbers], kind="stable")]

    def read(self, numbers: Positions, views: Positions | int, out: npt.NDArray[np.generic]) -> Positions:
        """Read the embeddings of n items, each in its view, into the first n rows of `out` [m, *shape], in the order of the shards.

        Returns where each of them is in `out` [n]. Raises DamagedError, ConflictError.
        """
        shards, rows = self._shards[numbers], self._rows[numbers] + views
        order = np.argsort((shards << 32) + rows, kind="stable")  # rows are int32 in the items
        shards, rows = shards[order], rows[order]
        with self._told():
            runs = file_runs(shards, self._offsets(shards, rows), self.layout.embedding_bytes)
            self._fill(runs, out.reshape(-1).view(np.uint8))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return place

    def _offsets(self, shards: Positions, rows: Positions) -> Positions:
        """shards: ascending."""
        offsets = np.empty_like(rows)
        codes, starts = np.unique(shards, return_index=True)
        for code, (start, stop) in zip(codes.tolist(), pairwise([*starts, len(shards)]), strict=True):
            places, own = self._of_shard(code), rows[start:stop]
            if own[0] < 0 or own[-1] >= places.rows:
                wrong = own[0] if own[0] < 0 else own[-1]
                raise DamagedError(
                    f"an item points at row {wrong} of shard {self._names[code]}, which has {places.rows} rows: its item file is damaged"
                )
            offsets[start:stop] = places.bytes_of(own, self.layout.embedding_bytes)
        return offsets

    def _of_shard(self, code: int) -> _Places:
        if code not in self._places:
            entry, reader = self._embeddings.open_shard(self._names[code])
            try:
                blocks, rows = reader.blocks(), reader.rows
            finally:
                reader.close()
            firsts, offsets = ([block.first for block in blocks], [block.offset for block in blocks])
            path = self._embeddings.name.folder / entry.path
            self._places[code] = _Places(entry, path, rows, np.array(firsts, np.int64), np.array(offsets, np.int64))
        return self._places[code]

    def _fill(self, runs: FileRuns, out: npt.NDArray[np.uint8]) -> None:
        own, *others = runs.parts(self._readers) or [runs]
        if not others:
            self._read_runs(own, out)
            return
        with ThreadPoolExecutor(len(others), thread_name_prefix="permafrost-read") as pool:
            at_work = [pool.submit(self._read_runs, part, out) for part in others]
            self._read_runs(own, out)
            for done in at_work:
                done.result()

    def _read_runs(self, runs: FileRuns, out: npt.NDArray[np.uint8]) -> None:
        width = self.layout.embedding_bytes
        borders = [0, *(np.flatnonzero(np.diff(runs.shard)) + 1).tolist(), len(runs.shard)]
        firsts, lasts, offsets = (runs.first * width).tolist(), (runs.last * width).tolist(), runs.offset.tolist()
        for start, stop in pairwise(borders if len(runs.shard) else []):
            places = self._of_shard(int(runs.shard[start]))
            with damage_named(places.path, "shard"):
                file = open_at(places.path, places.entry, _open)
                try:
                    _read_into(out.data, file, zip(firsts[start:stop], lasts[start:stop], offsets[start:stop], strict=True))
                finally:
                    os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def _read_into(room: memoryview, file: int, runs: Iterable[tuple[int, int, int]]) -> None:
    """runs: bytes first .. last (exclusive) of the room are at byte offset of the file."""
    for first, last, offset in runs:
        while (got := os.preadv(file, [room[first:last]], offset)) < last - first:
            if not got:
                raise EOFError(f"it ends before byte {offset + last - first}")
            offset, first = offset + got, first + got
