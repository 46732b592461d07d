"""What labels belong to: keys, images by their digest, or the items in their own order; each as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.digests import DigestMap, Words, from_words, to_words
from trainer.arrays import Numbers


class Keys(Protocol):
    """K different names of items or images, numbered from 0."""

    def __len__(self) -> int: ...

    def numbers_of(self, items: pa.Table) -> Numbers:
        """The number of the name of each item [n], -1 where it is none of these."""
        ...

    def show(self, number: int) -> str: ...

    def show_item(self, items: pa.Table, row: int) -> str:
        """The same sort of name of an item."""
        ...


@dataclass(frozen=True)
class ItemKeys:
    """keys: string [K]."""

    keys: pa.Array

    def __len__(self) -> int:
        return len(self.keys)

    def numbers_of(self, items: pa.Table) -> Numbers:
        found: Numbers = pc.index_in(items["key"], value_set=self.keys).fill_null(-1).to_numpy().astype(np.int64)
        return found

    def show(self, number: int) -> str:
        return str(self.keys[number].as_py())

    def show_item(self, items: pa.Table, row: int) -> str:
        return str(items["key"][row].as_py())


class ImageDigests:
    """Content digests; words [K, 4]."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self._numbers = DigestMap(1)
        self._numbers.add(words, np.arange(len(words), dtype=np.int32)[:, None])

    def __len__(self) -> int:
        return len(self.words)

    def numbers_of(self, items: pa.Table) -> Numbers:
        held, numbers = self._numbers.find(to_words(items["digest"]))
        return np.where(held, numbers[:, 0], -1).astype(np.int64)

    def show(self, number: int) -> str:
        return str(from_words(self.words[number : number + 1])[0].as_py().hex())

    def show_item(self, items: pa.Table, row: int) -> str:
        return str(items["digest"][row].as_py().hex())


@dataclass(frozen=True)
class ItemOrder:
    """The items themselves, by their place in the table; for labels that they carry."""

    items: pa.Table

    def __len__(self) -> int:
        return int(self.items.num_rows)

    def numbers_of(self, items: pa.Table) -> Numbers:
        assert items.num_rows == len(self), "the labels are those of other items"
        return np.arange(len(self))

    def show(self, number: int) -> str:
        return self.show_item(self.items, number)

    def show_item(self, items: pa.Table, row: int) -> str:
        return str(items["key"][row].as_py())


def digest_order(words: Words) -> Numbers:
    """Positions by ascending digest, equal ones as they come. The first 64 bits tell nearly all apart, in a fifth of lexsort's time."""
    order = np.argsort(words[:, 0], kind="stable")
    if (words[order[1:], 0] == words[order[:-1], 0]).any():
        return np.lexsort(words.T[::-1])
    return order


def number_digests(words: Words) -> tuple[ImageDigests, Numbers]:
    """The different ones of digests [m, 4], and the number of each [m]."""
    order = digest_order(words)
    ordered = words[order]
    fresh = np.ones(len(words), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.minimum.reduceat(order, np.flatnonzero(fresh)) if len(words) else np.zeros(0, np.int64)
    # Numbers in the order in which the digests came, so that examples are the first ones of the file.
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers = np.empty(len(words), np.int64)
    numbers[order] = rank[np.cumsum(fresh) - 1]
    return ImageDigests(words[np.sort(first)]), numbers


def look_up(held: Numbers, wanted: Numbers) -> Numbers:
    """The place of each wanted number among those held, which are different; -1 where it is none of them."""
    if not len(held):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(held, kind="stable")
    places = np.minimum(np.searchsorted(held[order], wanted), len(held) - 1)
    found = order[places]
    return np.where(held[found] == wanted, found, -1)
