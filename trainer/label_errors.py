"""Labels that are likely wrong, by confident learning: Northcutt, Jiang, Chuang, "Confident Learning" (JAIR 70, 2021).

The threshold of class j is the mean probability of j over the items labelled j. An item counts as another class j if its probability of j
reaches that threshold, most probable one first. Probabilities must be those of a head that did not learn from the items: of validation and
test, or of folds. N items, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 20


@dataclass(frozen=True)
class LabelErrors:
    """`positions` [M] of the items, most doubtful first: by how much more probable the suggested class is than the given one."""

    positions: npt.NDArray[np.int64]
    given: npt.NDArray[np.int32]
    suggested: npt.NDArray[np.int32]
    margin: npt.NDArray[np.float64]
    rows: int  # items looked at

    @property
    def share(self) -> float:
        return len(self.positions) / max(1, self.rows)

    def pairs(self, classes: Sequence[str]) -> list[tuple[str, str, int]]:
        """(given, suggested, count), most frequent first."""
        pairs, counts = np.unique(np.stack([self.given, self.suggested], axis=1), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return [(classes[pairs[i, 0]], classes[pairs[i, 1]], int(counts[i])) for i in order]

    def to_dict(self, classes: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
        """keys: of the items looked at [N]."""
        items = [
            {"key": keys[i], "label": classes[a], "suggested": classes[b], "margin": float(margin)}
            for i, a, b, margin in zip(self.positions.tolist(), self.given, self.suggested, self.margin, strict=True)
        ]
        return {"rows": self.rows, "likely_errors": len(items), "share": self.share, "items": items}


def label_errors(y: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]) -> LabelErrors:
    """Of class numbers [N] and out-of-sample probabilities [N, C]."""
    thresholds = _thresholds(y, probabilities)
    size = max(1, BLOCK // max(1, probabilities.shape[1]))
    suggested = [_confident(probabilities[i : i + size], y[i : i + size], thresholds) for i in range(0, len(y), size)]
    found = np.concatenate([np.empty(0, np.int64), *suggested])
    positions = np.flatnonzero(found != y)
    margin = (probabilities[positions, found[positions]] - probabilities[positions, y[positions]]).astype(np.float64)
    order = np.argsort(-margin, kind="stable")
    positions, margin = positions[order], margin[order]
    return LabelErrors(positions, y[positions].astype(np.int32), found[positions].astype(np.int32), margin, len(y))


def _thresholds(y: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """By class [C]; infinite for one that no item is labelled with, which is then suggested to none."""
    classes = probabilities.shape[1]
    counts = np.bincount(y, minlength=classes)
    sums = np.bincount(y, probabilities[np.arange(len(y)), y], classes)
    return np.where(counts > 0, sums / np.maximum(1, counts), np.inf)


def _confident(
    probabilities: npt.NDArray[np.floating[Any]], y: npt.NDArray[np.integer[Any]], thresholds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """The class that each item is confidently counted as; its own where there is none."""
    reached = probabilities >= thresholds - 1e-6  # as the paper's authors do: a mean of equal numbers is not quite that number
    best = np.where(reached, probabilities, -1).argmax(axis=1)
    return np.where(reached.any(axis=1), best, y)
