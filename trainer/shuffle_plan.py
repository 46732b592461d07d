"""Which item stands where in an epoch: index arithmetic only, a function of sizes, seed, epoch and share.

L items in the order of the items table are cut into blocks. An epoch is the blocks in a random order, cut into windows, and each window
in a random order of its own. So any part of an epoch can be told without the rest, and is read from a few blocks. Neither row groups and
chunks, nor the number of readers, nor the memory at hand are part of it.

Random is a hash (splitmix64, Steele et al. 2014), not a generator of NumPy or TensorFlow: their streams may change with a release (NEP 19),
and a position saved before must go on after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from storage.errors import UsageError
from trainer.arrays import Numbers

# A window is what is shuffled evenly, and a block what is read in one piece: 128 of them make a window, so that one of a corpus sorted by
# class has items of up to 128 places in it. Rows a CPU second of streaming (vectors of 2048 float16, a busy machine, one reader, medians of
# three in turn): windows of 16 MiB in blocks of 64 KiB 320,000, of 128 KiB 383,000; of 32 MiB in 128 KiB 416,000. But with 32 MiB a process
# that streams peaks at 1,070 MiB, TensorFlow included, with 16 MiB at 971.
WINDOW_BYTES = 16 << 20  # 16 MiB
BLOCK_BYTES = 128 << 10  # 128 KiB

_BLOCKS, _WINDOW, _VIEW = 1, 2, 3  # what a hash is for: the same one would tie an item's view to its place in the epoch
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Share:
    """The part of an epoch that trainer `index` of `count` takes: together they take each item once."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if type(self.index) is not int or type(self.count) is not int or not 0 <= self.index < self.count:
            raise UsageError(f"a share is (index, count) with 0 <= index < count; got ({self.index!r}, {self.count!r})")

    def of(self, size: int) -> tuple[int, int]:
        """First (inclusive) and last (exclusive) of this share; shares differ by one at most."""
        return size * self.index // self.count, size * (self.index + 1) // self.count


@dataclass(frozen=True)
class ShufflePlan:
    """The epochs of `items` items, in blocks and windows of so many; seed None: in their own order."""

    items: int
    block: int
    window: int
    seed: int | None
    share: Share = Share()

    @classmethod
    def of(cls, items: int, embedding_bytes: int, seed: int | None, share: Share = Share()) -> ShufflePlan:
        """A power of two makes a window, so that batches that are one end where windows do, and blocks are read whole."""
        block, window = (1 << max(0, (size // embedding_bytes).bit_length() - 1) for size in (BLOCK_BYTES, WINDOW_BYTES))
        return cls(items, block, window, seed, share)

    @property
    def size(self) -> int:
        """Items of an epoch in this share."""
        first, last = self.share.of(self.items)
        return last - first

    def order(self, epoch: int, start: int, stop: int) -> Numbers:
        """The numbers of the items at places start (inclusive) to stop (exclusive) of this share's epoch."""
        first, _ = self.share.of(self.items)
        if self.seed is None:
            return np.arange(first + start, first + stop)
        parts = [np.zeros(0, np.int64)]
        for window in range(start // self.window, -(-stop // self.window)):
            low, high = window * self.window, min((window + 1) * self.window, self.size)
            mixed = permutation(high - low, self.seed, epoch, _WINDOW, window)
            parts.append(low + mixed[max(start, low) - low : min(stop, high) - low])
        return self._items_at(epoch, first + np.concatenate(parts))

    def views(self, epoch: int, items: Numbers, views: int) -> Numbers:
        """The view in which each of these items is seen in this epoch; 0 without a seed."""
        if self.seed is None or views == 1:
            return np.zeros_like(items)
        return (_hashes(items.astype(np.uint64), self.seed, epoch, _VIEW) % np.uint64(views)).astype(np.int64)

    def segments(self, batch_size: int) -> Numbers:
        """Batches (first ..., last exclusive) that are read together: those that begin in one window. [n + 1]"""
        windows = np.arange(-(-self.size // self.window) + 1) * self.window
        return np.unique(-(-np.minimum(windows, self.size) // batch_size))

    def _items_at(self, epoch: int, places: Numbers) -> Numbers:
        """The item at each place of the epoch before windows are mixed: whole blocks one after the other, the short one somewhere."""
        assert self.seed is not None
        blocks = permutation(-(-self.items // self.block), self.seed, epoch, _BLOCKS)
        missing = -self.items % self.block
        after_short = (int(np.argmax(blocks == len(blocks) - 1)) + 1) * self.block - missing if missing else self.items
        places = places + missing * (places >= after_short)
        return np.asarray(blocks[places // self.block] * self.block + places % self.block, np.int64)


@lru_cache(maxsize=4)
def permutation(size: int, *salt: int) -> Numbers:
    """0 .. size - 1 in an order drawn by the salt; not to be written to."""
    numbers = np.arange(size, dtype=np.uint64)
    low = np.uint64((1 << size.bit_length()) - 1)
    # The number in the low bits makes each key another one, so that sorting has one outcome, and is what is left of it.
    keys = (_hashes(numbers, *salt) & ~low) | numbers
    keys.sort()
    found = (keys & low).astype(np.int64)
    found.flags.writeable = False
    return found


def _hashes(numbers: npt.NDArray[np.uint64], *salt: int) -> npt.NDArray[np.uint64]:
    state = 0
    for value in salt:
        state = _mixed(state ^ (value & _MASK))
    z = numbers * np.uint64(_GOLDEN) + np.uint64(state)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def _mixed(state: int) -> int:
    z = (state + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
