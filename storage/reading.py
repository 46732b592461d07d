"""Embeddings of items, in their order or in that of the shards, by one thread or several. What is read does not depend on how many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.damage import MEND_LISTED
from storage.errors import DamagedError
from storage.files import FileEntry, open_listed, size_of
from storage.names import SetName
from storage.read_plan import ShardRead, by_shard, in_batches, runs
from storage.requests import require_view, require_whole
from storage.shard import ShardReader, shard_format
from storage.shard_layout import ShardLayout

PIECE_BYTES = 16 << 20  # 16 MiB: what one thread reads at a time
GAP_BYTES = 64 << 10  # 64 KiB: rows that nobody asked for are read along if there are no more of them in a row
Array = npt.NDArray[np.generic]
Positions = npt.NDArray[np.int64]
Offset = int | npt.NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Embeddings:
    """Those of one version. `items` are tables with the columns shard and row (and any others)."""

    name: SetName
    version: int
    format: str
    layout: ShardLayout
    shards: tuple[FileEntry, ...]
    views: tuple[str, ...]

    def read(self, items: pa.Table, view: int | None, threads: int = 1) -> Array:
        """[n, *shape], or [n, V, *shape] of all views, in the order of `items`. Memory: this array, and 16 MiB a thread at most."""
        offset = self._offset(view)
        names, reads = _reads(items)
        out = np.empty((items.num_rows, *np.shape(offset), *self.layout.shape), self.layout.dtype)
        size = max(1, PIECE_BYTES // (self.layout.embedding_bytes * np.size(offset)))
        with self._opener() as opened:

            def work(parts: list[ShardRead]) -> None:
                for part in parts:
                    self._fill(opened(names[part.shard]), part, names[part.shard], offset, out, part.positions)

            for _ in _in_order(in_batches(reads, size), work, threads):
                pass
        return out

    def in_storage_order(
        self, items: pa.Table, size: int, wanted: Positions | None, view: int | None, threads: int
    ) -> Iterator[tuple[Positions, Array]]:
        """(positions in `items` [n], embeddings [n, ...]) of `size` items at a time, shard by shard. wanted: positions; None for all."""
        offset = self._offset(view)
        names, reads = _reads(items, wanted)
        with self._opener() as opened:

            def work(parts: list[ShardRead]) -> tuple[Positions, Array]:
                found = np.concatenate([part.positions for part in parts])
                out = np.empty((len(found), *np.shape(offset), *self.layout.shape), self.layout.dtype)
                start = 0
                for part in parts:
                    at = np.arange(start, start := start + len(part.rows))
                    self._fill(opened(names[part.shard]), part, names[part.shard], offset, out, at)
                return found, out

            yield from _in_order(in_batches(reads, size), work, threads)

    def _offset(self, view: int | None) -> Offset:
        """What is added to the row of view 0."""
        require_view(view, self.views, str(self.name.folder))
        if view is None:
            return np.arange(len(self.views))
        return view

    def _fill(self, reader: ShardReader, read: ShardRead, shard: str, offset: Offset, out: Array, at: Positions) -> None:
        """Read rows of one shard into out[at]; `at` ascends as the rows do, or does not."""
        rows = np.add.outer(read.rows, offset).reshape(-1)
        low, high = int(read.rows[0] + np.min(offset)), int(read.rows[-1] + np.max(offset))
        if low < 0 or high >= reader.rows:
            wrong = low if low < 0 else high
            raise DamagedError(f"an item points at row {wrong} of shard {shard}, which has {reader.rows} rows: its item file is damaged")
        views = np.size(offset)
        for start, stop in runs(read.rows, max(views, GAP_BYTES // self.layout.embedding_bytes)):
            own, places = rows[start * views : stop * views], at[start:stop]
            first, last = int(own[0]), int(own[-1]) + 1
            if not _ascends(places):
                out[places] = reader.read(first, last)[own - first].reshape(-1, *out.shape[1:])
                continue
            room = out[places[0] : places[-1] + 1].reshape(-1, *self.layout.shape)
            if _ascends(own):
                reader.read_into(first, last, room)
            else:  # `clip`, because numpy makes another copy for an `out` that an error might leave half filled
                np.take(reader.read(first, last), own - first, axis=0, out=room, mode="clip")

    @contextmanager
    def _opener(self) -> Iterator[Callable[[str], ShardReader]]:
        """Opens shards by their sha256; each thread keeps the one that it read last. All are closed at the end."""
        own = threading.local()
        held: list[ExitStack] = []

        def opened(sha256: str) -> ShardReader:
            if getattr(own, "sha256", None) != sha256:
                if not hasattr(own, "stack"):
                    own.stack = ExitStack()
                    held.append(own.stack)
                own.stack.close()
                own.sha256, own.reader = None, own.stack.enter_context(closing(self.open_shard(sha256)[1]))
                own.sha256 = sha256
            reader: ShardReader = own.reader
            return reader

        try:
            yield opened
        finally:
            for stack in held:
                stack.close()

    def open_shard(self, sha256: str) -> tuple[FileEntry, ShardReader]:
        """A shard as the manifest lists it, and one that reads it. Raises DamagedError."""
        entry = next((shard for shard in self.shards if shard.sha256 == sha256), None)
        if entry is None:
            raise DamagedError(f"{self.name}: an item points at shard {sha256[:12]}, which version {self.version} does not list")
        path = self.name.folder / entry.path
        if (size := size_of(path)) not in (None, entry.bytes):
            raise DamagedError(f"the shard {path} has {size} bytes, the manifest says {entry.bytes}. {MEND_LISTED}")
        reader = open_listed(self.name.folder, entry, shard_format(self.format).reader)
        if reader.layout != self.layout or reader.rows != entry.rows:
            reader.close()
            raise DamagedError(f"the shard {path} holds {reader.rows} rows of {reader.layout}, expected {entry.rows} of {self.layout}")
        return entry, reader


def _ascends(numbers: Positions) -> bool:
    """Whether each is one more than the one before."""
    return bool((np.diff(numbers) == 1).all())


def _reads(items: pa.Table, wanted: Positions | None = None) -> tuple[list[str], list[ShardRead]]:
    """(sha256 of shards by number, what is read of each). wanted: positions; None for all."""
    column = items["shard"].combine_chunks()
    shards = column.indices.to_numpy().astype(np.int64)
    rows = items["row"].to_numpy().astype(np.int64)
    if wanted is None:
        return column.dictionary.to_pylist(), by_shard(shards, rows)
    reads = by_shard(shards[wanted], rows[wanted])
    return column.dictionary.to_pylist(), [replace(read, positions=wanted[read.positions]) for read in reads]


def _in_order(jobs: Iterable[T], work: Callable[[T], R], threads: int) -> Iterator[R]:
    """What `work` makes of each job, in their order; with more than one thread, that many jobs are done or under way ahead of time."""
    require_whole(threads, "threads", 1)
    if threads == 1:
        yield from map(work, jobs)
        return
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="permafrost-read")
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
