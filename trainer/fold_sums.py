"""Sums over a set's features by fold: read, brought up to date or made, and then those of any items for the price of the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf

from storage.digests import to_words
from storage.errors import PermafrostError
from storage.feature_set import FeatureSet, open_set
from storage.names import SetName
from storage.statistics import FOLDS, FoldSums, fold_of, gram_of, keep_statistics, kept_versions, read_statistics, triangle_of
from trainer.arrays import Matrix, Numbers
from trainer.ridge import FeatureSums
from trainer.room import as_tensor
from trainer.rows import StoredRows, require_finite, vectors

MAX_WIDTH = 2048  # features: the sums of 20 folds then have 640 MiB
# What sums of squares may have been, by what is left of them about the mean, which has no more digits than the float32 products that went
# in. Where one item was 1e8 times as large as the others and was taken away, a head was left that guessed.
MOST_TAKEN = 30
NEAR_CONSTANT = 1e-7  # of the squared mean: what is below float32's digits of so little, `spread` takes for constant
PIVOT_ROWS = 4096
BLOCK_BYTES = 640 << 20  # 640 MiB of float32: with 4,096 rows of a fold in a block a product is at 94% of its full speed, with 1,638 at 83%


@dataclass(frozen=True)
class Folds:
    """The sums of a version, and the fold of each of its N items."""

    feature_set: FeatureSet
    sums: FoldSums
    of_item: Numbers

    def features(self, parts: Sequence[Numbers]) -> list[FeatureSums] | None:
        """Of the items at the positions of each part (each once); None where what would be left of the kept sums is too inexact."""
        found: list[FeatureSums] = []
        for part in parts:
            if (own := self._features(part)) is None:
                return None
            found.append(own)
        return found

    def _features(self, positions: Numbers) -> FeatureSums | None:
        """From a fold's sums the items that are missing are taken away, or, if more are missing than there, those that are there are
        summed."""
        wanted = np.zeros(len(self.of_item), bool)
        wanted[positions] = True
        there = np.bincount(self.of_item[wanted], minlength=FOLDS)
        whole = 2 * there > np.bincount(self.of_item, minlength=FOLDS)
        found = FeatureSums(self.sums.pivot)
        found.count, found.total = float(self.sums.counts[whole].sum()), self.sums.totals[whole].sum(axis=0)
        found.gram = gram_of(self.sums.triangles.sum(axis=0, dtype=np.float64, where=whole[:, None]), len(found.pivot))
        whole_of_item, kept = whole[self.of_item], np.diag(found.gram).copy()
        self._add(found, np.flatnonzero(wanted & ~whole_of_item), 1.0)
        squares = self.sums.squares[whole].sum(axis=0) + np.diag(found.gram) - kept
        self._add(found, np.flatnonzero(~wanted & whole_of_item), -1.0)
        return found if _is_exact(found, squares) else None

    def _add(self, found: FeatureSums, chosen: Numbers, sign: float) -> None:
        if len(chosen):
            for _, block in vectors(StoredRows(self.feature_set, chosen), np.arange(len(chosen))):
                found.add(np.asarray(block - found.pivot), sign=sign)


def folds_for(feature_set: FeatureSet) -> Folds | None:
    """None for features that are no vectors, or too wide. What is not there yet is made, and kept beside the set."""
    if len(feature_set.shape) != 1 or feature_set.shape[0] > MAX_WIDTH:
        return None
    digests = feature_set.columns("digest")["digest"]
    name = replace(feature_set.name, at=None)
    found = read_statistics(name, feature_set.manifest)
    if found is None:
        found = _updated(name, feature_set, digests) or _added(feature_set, np.arange(len(digests)), fold_of(digests), None)
        keep_statistics(name, feature_set.manifest, found)
    return Folds(feature_set, found, fold_of(digests))


def _updated(name: SetName, feature_set: FeatureSet, digests: pa.ChunkedArray) -> FoldSums | None:
    """From those of another version, if less than half of the items differ."""
    for version in reversed(kept_versions(name)):
        try:
            other = open_set(replace(name, at=str(version)))
            known = read_statistics(name, other.manifest)
            theirs = other.columns("digest")["digest"]
            added, removed = _difference(feature_set, other)
        except PermafrostError:
            continue
        if known is not None and 2 * (len(added) + len(removed)) < len(digests):
            found = _added(feature_set, added, fold_of(digests)[added], known)
            found = _added(other, removed, fold_of(theirs)[removed], found, -1.0)
            if _is_exact(_of_all(found), found.squares.sum(axis=0)):
                return found
    return None


def _of_all(sums: FoldSums) -> FeatureSums:
    gram = gram_of(sums.triangles.sum(axis=0, dtype=np.float64), len(sums.pivot))
    return FeatureSums(sums.pivot, float(sums.counts.sum()), sums.totals.sum(axis=0), gram)


def _is_exact(found: FeatureSums, squares: Matrix) -> bool:
    """Whether enough digits are left of sums of squares that were once `squares` [D]."""
    offset = found.total / found.count
    variance = np.diag(found.gram) / found.count - offset**2
    mean = found.pivot + offset
    return bool((squares / found.count <= np.maximum(MOST_TAKEN * variance, NEAR_CONSTANT * mean**2)).all())


def _difference(ours: FeatureSet, theirs: FeatureSet) -> tuple[Numbers, Numbers]:
    """Positions of what only we have, and only they; an embedding that one has more often counts so often.

    Items are the same where they have one digest and stand in one place: another embedding may have come under the same digest. After a
    compaction all have moved, and the sums are made anew.
    """
    both = np.concatenate([_embeddings(ours), _embeddings(theirs)])
    _, numbers = np.unique(both.view(np.dtype((np.void, both.itemsize * both.shape[1]))).reshape(-1), return_inverse=True)
    mine, other = (_occurrences(part) for part in np.split(numbers.reshape(-1).astype(np.int64), [ours.rows]))
    return np.flatnonzero(~np.isin(mine, other)), np.flatnonzero(~np.isin(other, mine))


def _embeddings(feature_set: FeatureSet) -> npt.NDArray[np.uint64]:
    """Of each item [N, 6]: the digest, and where its embedding stands."""
    items = feature_set.columns("digest", "shard", "row")
    shards = items["shard"].combine_chunks().dictionary_encode()
    words = np.array([int(sha256[:16], 16) for sha256 in shards.dictionary.to_pylist()], np.uint64)
    return np.column_stack([to_words(items["digest"]), words[shards.indices.to_numpy()], items["row"].to_numpy().astype(np.uint64)])


def _occurrences(numbers: Numbers) -> Numbers:
    """Each number together with how often it came before [N], as one number."""
    order = np.argsort(numbers, kind="stable")
    new = np.r_[True, numbers[order][1:] != numbers[order][:-1]][: len(numbers)]
    starts = np.flatnonzero(new)
    nth = np.empty(len(numbers), np.int64)
    nth[order] = np.arange(len(numbers)) - np.repeat(starts, np.diff(np.r_[starts, len(numbers)]))
    return numbers << 32 | nth


def _added(feature_set: FeatureSet, positions: Numbers, folds: Numbers, known: FoldSums | None, sign: float = 1.0) -> FoldSums:
    """The sums with those of the items at `positions`, whose folds are `folds`, or (sign -1) without them; `known` is changed."""
    width = feature_set.shape[0]
    pivot = known.pivot if known else None
    change: dict[int, FeatureSums] = {}  # of the folds that items are of: those of a few items cost no more than their products
    rows = StoredRows(feature_set, positions, block_bytes=BLOCK_BYTES)
    for part, block in rows.blocks(np.arange(len(positions))):
        x = as_tensor(block.reshape(len(part), width))
        if pivot is None:
            pivot = np.asarray(tf.reduce_mean(tf.cast(x[:PIVOT_ROWS], tf.float32), 0))
        for fold, own in _by_fold(folds[part]):
            # np.asarray looks at TensorFlow's memory, where .numpy() copies it.
            offsets = np.asarray(tf.cast(tf.gather(x, own), tf.float32) - pivot)
            change.setdefault(fold, FeatureSums(pivot)).add(offsets, sign=sign)
        del x, block  # the memory of a block is used again once nobody holds it
    if not all(each.finite for each in change.values()):
        require_finite(rows, np.arange(len(positions)))
    assert pivot is not None, "no items"
    found = known or FoldSums.zero(pivot)
    for fold, mine in change.items():
        found.counts[fold] += mine.count
        found.totals[fold] += mine.total
        found.triangles[fold] += triangle_of(mine.gram)
    if sign > 0:
        found.note_squares()
    return found


def _by_fold(folds: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Each fold among these [m], and where they are of it. One at a time is gathered and cast: ordering and casting whole blocks took 2 GB
    more at the peak."""
    order = np.argsort(folds, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(folds[order])) + 1):
        yield int(folds[own[0]]), own
