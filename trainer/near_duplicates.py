"""Images of the test split that the head has as good as seen: their embeddings are nearly those of a training image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from storage.feature_set import FeatureSet

THRESHOLD = 0.98  # cosine. Of pooled features; re-encoded and resized copies lie above, other images of one product below
BLOCK_ROWS = 4096  # of either side: 64 MiB of similarities
BLOCK_NUMBERS = 1 << 24  # of embeddings in float32: 64 MiB
MOST_PRODUCTS = 2 * 10**12  # N * M * D: half a minute on two cores; of more test items a part is looked at

Rows = Iterable[tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs (number of the test item, of the training item, cosine), most similar first: the nearest training image of each test image that
    has one above the threshold. `same`: test items whose very image is in training, which are in no pair. `rows`: items looked at."""

    pairs: list[tuple[int, int, float]]
    same: int
    threshold: float
    rows: int

    def to_dict(self, keys: Callable[[list[int]], list[str]]) -> dict[str, Any]:
        """keys: of items by their numbers."""
        ours, theirs = keys([a for a, _, _ in self.pairs]), keys([b for _, b, _ in self.pairs])
        pairs = [{"test": a, "train": b, "cosine": round(pair[2], 6)} for a, b, pair in zip(ours, theirs, self.pairs, strict=True)]
        return {"rows": self.rows, "threshold": self.threshold, "same_image": self.same, "near": len(pairs), "pairs": pairs}


def near_duplicates(test: npt.NDArray[np.generic], train: Rows, same: int = 0, threshold: float = THRESHOLD) -> NearDuplicates:
    """Of embeddings [N, *shape] and batches of (embeddings [m, *shape], numbers of these training items [m]).

    A GEMM a block. Memory: the test embeddings as they are, and blocks.
    """
    best, where = np.full(len(test), -1.0, np.float32), np.zeros(len(test), np.int64)
    rows = max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // max(1, int(np.prod(test.shape[1:])))))
    for embeddings, numbers in train:
        for b in range(0, len(embeddings), rows):
            theirs = _unit(embeddings[b : b + rows]).T
            for a in range(0, len(test), rows):
                similar = _unit(test[a : a + rows]) @ theirs
                nearest = similar.argmax(axis=1)
                highest = similar[np.arange(len(similar)), nearest]
                is_better = highest > best[a : a + rows]
                best[a : a + rows][is_better] = highest[is_better]
                where[a : a + rows][is_better] = numbers[b + nearest[is_better]]
    above = np.flatnonzero(best >= threshold)
    above = above[np.argsort(-best[above], kind="stable")]
    return NearDuplicates([(int(i), int(where[i]), float(best[i])) for i in above], same, threshold, len(test))


def near_duplicates_of(
    feature_set: FeatureSet, test: npt.NDArray[np.int64], train: npt.NDArray[np.int64], threshold: float = THRESHOLD
) -> NearDuplicates:
    """Of items at these positions; the pairs are of positions, too. Of many items every so-manieth of the test items is looked at."""
    digests = feature_set.columns("digest")["digest"]
    is_same = np.asarray(pc.is_in(digests.take(pa.array(test)), value_set=digests.take(pa.array(train)).combine_chunks().unique()))
    asked = test[~is_same]
    most = max(1, MOST_PRODUCTS // max(1, len(train) * int(np.prod(feature_set.shape))))
    asked = np.sort(asked[np.linspace(0, len(asked) - 1, min(len(asked), most)).astype(np.int64)])
    batches = ((batch.embeddings, batch.positions) for batch in feature_set.batches(positions=train.tolist()))
    found = near_duplicates(feature_set.embeddings(asked), batches if len(asked) else (), int(is_same.sum()), threshold)
    return replace(found, pairs=[(int(asked[a]), b, cosine) for a, b, cosine in found.pairs])


def _unit(rows: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """[n, D] of length 1; zeros stay zeros."""
    flat = rows.reshape(len(rows), -1).astype(np.float32)
    flat /= np.maximum(1e-30, np.abs(flat).max(axis=1, keepdims=True, initial=0))  # squares of small numbers would vanish
    return np.asarray(flat / np.maximum(1e-30, np.linalg.norm(flat, axis=1, keepdims=True)))
