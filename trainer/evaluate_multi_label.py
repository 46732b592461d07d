"""How good predictions of any number of classes an item are: average precision, F1. Plain NumPy, with scikit-learn's definitions.

N items, C classes; y [N, C] is 1 where an item has a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluate import log_of, mean_of, ratio

THRESHOLD = 0.5  # a class is predicted above this probability


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """By class [C]: items that have it and are predicted to (`hits`), that have it (`support`), that are predicted to (`predicted`)."""

    classes: tuple[str, ...]
    rows: int
    hits: npt.NDArray[np.int64]
    support: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    average_precision: npt.NDArray[np.float64]  # NaN for a class that no item has
    log_loss: float  # mean over items and classes of -log p(what is true), natural logarithm

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        return ratio(self.hits, self.predicted)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        return ratio(self.hits, self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        return ratio(2 * self.hits, self.support + self.predicted)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur as truth or as prediction."""
        return mean_of(self.f1[self.support + self.predicted > 0])

    @property
    def micro_f1(self) -> float:
        return float(ratio(2 * self.hits.sum(), (self.support + self.predicted).sum()))

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes that some item has; of the others there is nothing to say."""
        return mean_of(self.average_precision[self.support > 0])

    def headline(self) -> dict[str, float]:
        return {"mAP": self.mean_average_precision, "macro F1": self.macro_f1, "micro F1": self.micro_f1, "log loss": self.log_loss}

    def to_dict(self) -> dict[str, Any]:
        columns = zip(self.average_precision, self.precision, self.recall, self.f1, self.support, strict=True)
        per_class = {
            name: {
                "average_precision": None if np.isnan(a) else float(a),
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "support": int(s),
            }
            for name, (a, p, r, f, s) in zip(self.classes, columns, strict=True)
        }
        return {
            "rows": self.rows,
            "mean_average_precision": self.mean_average_precision,
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
            "log_loss": self.log_loss,
            "per_class": per_class,
        }


def evaluate_multi_label(
    batches: Iterable[tuple[npt.NDArray[np.generic], npt.NDArray[np.floating[Any]]]], classes: Sequence[str]
) -> MultiLabelEvaluation:
    """Evaluate batches of (y [n, C], probabilities [n, C]). All N * C probabilities are kept: average precision ranks the items."""
    none = (np.zeros((0, len(classes)), bool), np.zeros((0, len(classes)), np.float32))
    parts = [none, *((np.asarray(y, bool), p) for y, p in batches)]
    y, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    predicted = probabilities > THRESHOLD
    losses = (-log_of(np.where(y[:, c], probabilities[:, c], 1 - probabilities[:, c])).sum() for c in range(len(classes)))
    return MultiLabelEvaluation(
        classes=tuple(classes),
        rows=len(y),
        hits=(y & predicted).sum(axis=0),
        support=y.sum(axis=0),
        predicted=predicted.sum(axis=0),
        average_precision=np.array([average_precision(y[:, c], probabilities[:, c]) for c in range(len(classes))]),
        log_loss=float(sum(losses) / max(1, y.size)),
    )


def average_precision(y: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating[Any]]) -> float:
    """Sum over the distinct scores, from the highest, of (recall gained) * precision; NaN where no item has the class."""
    if not y.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(y) - 1)
    hits = np.cumsum(y[order])[last_of_ties]
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / (last_of_ties + 1)).sum())
