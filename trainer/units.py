"""What must not be torn apart: the items of one image, and those of one group, as numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.digests import Words
from storage.statistics import FOLDS
from trainer.label_column import Rows

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Units:
    """`of_item`: the unit of each of L items [L], from 0. `hashes` [U]: what a unit is drawn by; it follows from its images, or the
    names of its groups, alone. `grouped`: units are groups, and count by their items; images count one each, however many items."""

    of_item: Rows
    hashes: Hashes
    grouped: bool = False

    def __len__(self) -> int:
        return len(self.hashes)

    def draws(self, seed: int, purpose: str) -> Hashes:
        """An even random number for each unit [U], by seed and purpose; the same for the same unit among any others."""
        key = _key(f"{seed} {purpose}")
        return _mixed(_mixed(self.hashes + key) ^ key)

    def places(self, seed: int) -> Hashes:
        """A number for each unit [U], even over all of 64 bits, in which the images of a fold (`storage.statistics`) stand together: the
        folds are in an order drawn by the seed, and within a fold so are the units. Shares of a twentieth are then whole folds, of
        which the sums are known."""
        order = np.argsort(_mixed(np.arange(FOLDS, dtype=np.uint64) + _key(f"{seed} order of folds")))
        rank = np.argsort(order).astype(np.uint64)
        return np.asarray(rank[self.hashes % np.uint64(FOLDS)] * np.uint64(2**64 // FOLDS) + self.draws(seed, "places") // np.uint64(FOLDS))

    def weights(self, items: Rows) -> npt.NDArray[np.int64]:
        """What each unit counts [U], of these items alone."""
        counts = np.bincount(self.of_item[items], minlength=len(self))
        return counts if self.grouped else np.minimum(counts, 1)


def units_of_images(images: Words) -> Units:
    """A unit an image, from the digests of L items [L, 4]. Images that agree in 64 bits of sha256 would be one unit: that does no harm."""
    hashes, of_item = np.unique(images[:, 0], return_inverse=True)
    return Units(of_item.reshape(-1), hashes)


def units_of_groups(images: Words, groups: pa.ChunkedArray | pa.Array) -> Units:
    """A unit is all items that are tied by an image or a group in common, over any number of steps. groups: [L], without nulls."""
    encoded = (groups.combine_chunks() if isinstance(groups, pa.ChunkedArray) else groups).dictionary_encode()
    group = encoded.indices.to_numpy().astype(np.int64)
    names = np.array([_text_hash(name) for name in encoded.dictionary.to_pylist()], np.uint64)
    image = units_of_images(images).of_item + len(names)
    roots = _connected(group, image, len(names) + int(image.max(initial=0)) + 1)
    _, unit_of_group = np.unique(roots[: len(names)], return_inverse=True)  # each unit has a group
    unit_of_group = unit_of_group.reshape(-1)
    hashes = np.full(int(unit_of_group.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(hashes, unit_of_group, names)
    return Units(unit_of_group[group], hashes, grouped=True)


def ordered(classes: npt.NDArray[np.integer[Any]], draws: Hashes) -> Rows:
    """Positions by class (from 0), then draw. A third of np.lexsort's time: NumPy sorts 16 bits by their digits."""
    by_draw = np.argsort(draws)
    kind = np.uint16 if classes.max(initial=0) < 1 << 16 else np.int64
    return by_draw[np.argsort(classes[by_draw].astype(kind), kind="stable")]


def _connected(a: Rows, b: Rows, nodes: int) -> Rows:
    """The least node of the connected part of each node, for edges between a[i] and b[i].

    Union-find in whole arrays: each root hooks onto the least root that it has an edge to, then all paths are shortened to their roots.
    """
    parents = np.arange(nodes)
    while True:
        of_a, of_b = parents[a], parents[b]
        apart = of_a != of_b
        if not apart.any():
            return parents
        a, b, of_a, of_b = a[apart], b[apart], of_a[apart], of_b[apart]
        np.minimum.at(parents, np.maximum(of_a, of_b), np.minimum(of_a, of_b))
        while not np.array_equal(shorter := parents[parents], parents):
            parents = shorter


def _key(text: str) -> Hashes:
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], ">u8").astype(np.uint64)


def _text_hash(value: Any) -> int:
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big")


def _mixed(numbers: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): a one-to-one map that makes neighbours independent."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))
