"""Many content digests in little memory: sorted arrays with a few numbers for each, mapped from unnamed files when they are large."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.temporary import reserve, temporary_file

WORDS = 4  # of 64 bits in a sha256
Words = npt.NDArray[np.uint64]  # [n, WORDS]; their order is that of the bytes
MAPPED_ROWS = 1 << 18  # arrays of more rows lie in files: 8 MiB of digests
COPY_ROWS = 1 << 18  # moved from map to map at a time
WAITING_ROWS = 1 << 13  # added before they are taken in: receipts of 300 images cost 0.1 ms each instead of 0.9


def to_words(digests: pa.ChunkedArray | pa.Array) -> Words:
    """Digests of 32 bytes without nulls, as words."""
    array = digests.combine_chunks() if isinstance(digests, pa.ChunkedArray) else digests
    if not len(array):
        return np.zeros((0, WORDS), np.uint64)
    held = np.frombuffer(array.buffers()[1], ">u8", len(array) * WORDS, array.offset * WORDS * 8)
    return held.astype(np.uint64).reshape(-1, WORDS)


def from_words(words: Words) -> pa.Array:
    """The digests, binary(32)."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(WORDS * 8), len(words), [None, pa.py_buffer(words.astype(">u8").tobytes())])


def words_of(digests: Sequence[bytes]) -> Words:
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, WORDS)


@dataclass(frozen=True)
class _Table:
    """Digests sorted by their first word, each once, and `values` [n, k] that belong to them.

    Two images whose sha256 agree in 64 bits hardly exist, unless somebody made them on purpose: they stand side by side, and are told
    apart by their other words.
    """

    first: Words  # [n]
    words: Words
    values: npt.NDArray[np.int32]

    def find(self, wanted: Words) -> npt.NDArray[np.int64]:
        """Position of each wanted digest; -1 where it is not held."""
        n, found = len(self.first), np.full(len(wanted), -1, np.int64)
        if not n:
            return found
        order = np.argsort(wanted[:, 0])  # neighbours in the table are neighbours in the memory caches, and in the file
        at = np.empty(len(wanted), np.int64)
        at[order] = np.searchsorted(self.first, wanted[order, 0])
        asked = np.flatnonzero(at < n)
        asked = asked[self.first[at[asked]] == wanted[asked, 0]]
        while len(asked):
            same = (self.words[at[asked]] == wanted[asked]).all(axis=1)
            found[asked[same]] = at[asked[same]]
            asked = asked[~same]
            at[asked] += 1
            asked = asked[at[asked] < n]
            asked = asked[self.first[at[asked]] == wanted[asked, 0]]
        return found


class DigestMap:
    """Digests with `width` numbers each. What is added first stays: a digest that is held already is passed over.

    Tables of like size are joined as they come, so that there are few; each digest is moved about log2(n) times. What is added in small
    portions waits until there are WAITING_ROWS of it, or somebody asks.
    Memory: 8 bytes a digest, and twice that while tables are joined; the rest is mapped from files.
    """

    def __init__(self, width: int = 0) -> None:
        self._width = width
        self._tables: list[_Table] = []  # the older and larger ones first
        self._waiting: list[_Part] = []

    def __len__(self) -> int:
        self._take_in()
        return sum(len(table.first) for table in self._tables)

    def add(self, words: Words, values: npt.NDArray[np.int32] | None = None) -> None:
        """values: [n, width]."""
        self._waiting.append((words, np.zeros((len(words), 0), np.int32) if values is None else values))
        if sum(len(each) for each, _ in self._waiting) >= WAITING_ROWS:
            self._take_in()

    def _take_in(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        table = _joined(waiting, self._width)
        fresh = ~self.holds(table.words)
        if not fresh.any():
            return
        parts = [(table.words[fresh], table.values[fresh])]
        while self._tables and len(self._tables[-1].first) < 2 * sum(len(words) for words, _ in parts):
            joined = self._tables.pop()
            parts.insert(0, (joined.words, joined.values))
        self._tables.append(_joined(parts, self._width))

    def find(self, words: Words) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        """(whether each is held, its values [n, width]; zero where it is not)."""
        self._take_in()
        held, values = np.zeros(len(words), bool), np.zeros((len(words), self._width), np.int32)
        for table in self._tables:
            missing = np.flatnonzero(~held)
            at = table.find(words[missing])
            hits = at >= 0
            held[missing[hits]] = True
            values[missing[hits]] = table.values[at[hits]]
        return held, values

    def holds(self, words: Words) -> npt.NDArray[np.bool_]:
        return self.find(words)[0]

    def words(self) -> Words:
        """All digests, in memory, in no order that counts."""
        self._take_in()
        return np.concatenate([np.zeros((0, WORDS), np.uint64), *(table.words for table in self._tables)])

    def blocks(self) -> Iterator[tuple[Words, npt.NDArray[np.int32]]]:
        """All digests and their values, in no order that counts."""
        self._take_in()
        for table in self._tables:
            for start in range(0, len(table.first), COPY_ROWS):
                yield np.array(table.words[start : start + COPY_ROWS]), np.array(table.values[start : start + COPY_ROWS])


_Part = tuple[Words, npt.NDArray[np.int32]]  # digests and their values


def _joined(parts: list[_Part], width: int) -> _Table:
    """One table of several arrays; of equal digests the first one counts."""
    order = _sorted_order(parts)
    words = _room((len(order), WORDS), np.uint64)
    values = _room((len(order), width), np.int32)
    kept = 0
    last: Words | None = None
    for start in range(0, len(order), COPY_ROWS):
        block, numbers = _gather(parts, order[start : start + COPY_ROWS], width)
        fresh = _first_of_each(block, last)
        last = block[-1]
        words[kept : kept + len(fresh)], values[kept : kept + len(fresh)] = block[fresh], numbers[fresh]
        kept += len(fresh)
    return _Table(np.ascontiguousarray(words[:kept, 0]), words[:kept], values[:kept])


def _sorted_order(parts: list[_Part]) -> npt.NDArray[np.intp]:
    """Positions in all parts together, by digest; equal digests in the order of their parts."""
    first = np.concatenate([words[:, 0] for words, _ in parts])
    order = np.argsort(first, kind="stable")
    first = first[order]
    ties = np.zeros(len(first), bool)
    ties[1:] = first[1:] == first[:-1]
    ties[:-1] |= ties[1:]
    if ties.any():  # mostly equal digests, and then this changes nothing
        tied, _ = _gather(parts, order[ties], 0)
        order[ties] = order[ties][np.lexsort(tied.T[::-1])]  # stable
    return order


def _gather(parts: list[_Part], positions: npt.NDArray[np.intp], width: int) -> _Part:
    words, values = np.empty((len(positions), WORDS), np.uint64), np.empty((len(positions), width), np.int32)
    ends = np.cumsum([len(each) for each, _ in parts])
    owner = np.searchsorted(ends, positions, side="right")
    for i, (each, of_each) in enumerate(parts):
        mine = owner == i
        at = positions[mine] - (ends[i] - len(each))
        words[mine] = each[at]
        if width:
            values[mine] = of_each[at]
    return words, values


def _first_of_each(words: Words, before: Words | None = None) -> npt.NDArray[np.intp]:
    """Positions of rows that differ from the row above. before: the row above the first."""
    differs = np.ones(len(words), bool)
    differs[1:] = (words[1:] != words[:-1]).any(axis=1)
    if before is not None and len(words):
        differs[0] = bool((words[0] != before).any())
    return np.flatnonzero(differs)


def _room(shape: tuple[int, int], dtype: type) -> Any:
    """An array in memory, or in an unnamed file if it is large."""
    if shape[0] <= MAPPED_ROWS or not shape[1]:
        return np.empty(shape, dtype)
    file = temporary_file()
    reserve(file, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.memmap(file, dtype, "r+", shape=shape)
