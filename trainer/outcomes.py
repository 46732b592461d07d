"""What became of each item: the little that every number of a single-label head can be had from, without the head.

N items, C classes; class numbers are int32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

KEPT_BYTES = 256 << 20  # of probabilities of one split: 67 million. Above that they are not kept
BLOCK = 1 << 20  # probabilities looked at together: their comparisons stay in the processor's cache
Targets = npt.NDArray[np.generic]
Probabilities = npt.NDArray[np.floating[Any]]
Positions = Sequence[int] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """By item [N]: the true and the predicted class, how probable each was said to be, and how many classes were said to be more probable
    than the true one (0 where the prediction is right). `probabilities` [N, C] float32, or None where they exceed KEPT_BYTES."""

    truth: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    true_probability: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.truth == self.predicted)

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """-log p(true class), natural logarithm."""
        return -log_of(self.true_probability)

    def take(self, positions: Positions | npt.NDArray[np.bool_]) -> Outcomes:
        """Those of some of the items."""
        chosen = np.asarray(positions)
        return Outcomes(
            truth=self.truth[chosen],
            predicted=self.predicted[chosen],
            confidence=self.confidence[chosen],
            true_probability=self.true_probability[chosen],
            rank=self.rank[chosen],
            probabilities=None if self.probabilities is None else self.probabilities[chosen],
        )


def outcomes_of(batches: Iterable[tuple[Targets, Probabilities]], classes: int) -> Outcomes:
    """From batches of (y [n], probabilities [n, C])."""
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    kept, size, rows = [np.empty((0, classes), np.float32)], 0, max(1, BLOCK // classes)
    for y, probabilities in batches:
        starts = range(0, len(y), rows)
        parts += [_of_block(y[start : start + rows].astype(np.int32), probabilities[start : start + rows]) for start in starts]
        size += 4 * probabilities.size
        kept = [*kept, probabilities.astype(np.float32, copy=False)] if size <= KEPT_BYTES else []
    empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0), np.empty(0, np.int32))
    truth, predicted, confidence, true_probability, rank = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    # Of a single batch no copy is made.
    whole = None if size > KEPT_BYTES else kept[-1] if len(kept) == 2 else np.concatenate(kept)
    return Outcomes(truth, predicted, confidence, true_probability, rank, whole)


def _of_block(y: npt.NDArray[np.int32], probabilities: Probabilities) -> tuple[npt.NDArray[Any], ...]:
    rows, predicted = np.arange(len(y)), probabilities.argmax(axis=1).astype(np.int32)
    mine = probabilities[rows, y]
    # Of equal probabilities the first class is the more probable one, as for argmax.
    before = np.arange(probabilities.shape[1]) < y[:, None]
    rank = ((probabilities > mine[:, None]) | ((probabilities == mine[:, None]) & before)).sum(axis=1, dtype=np.int32)
    return y, predicted, probabilities[rows, predicted].astype(np.float32), mine.astype(np.float64), rank


def log_of(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Natural logarithm in float64; a certain mistake costs much but not infinity."""
    return np.log(np.clip(probabilities.astype(np.float64), 1e-15, 1.0))
