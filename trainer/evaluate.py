"""How good predictions are: accuracy, F1, confusion. Plain NumPy, with scikit-learn's definitions.

N items, C classes; y_true [N] and y_pred [N] are class numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Evaluation:
    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]  # [C true, C predicted]
    log_loss: float  # mean of -log p(true class), natural logarithm

    @property
    def support(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(1, self.confusion.sum()))

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        return ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        return ratio(np.diag(self.confusion), self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        return ratio(2 * np.diag(self.confusion), self.support + self.confusion.sum(axis=0))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur as truth or as prediction."""
        occurs = self.support + self.confusion.sum(axis=0) > 0
        return mean_of(self.f1[occurs])

    def headline(self) -> dict[str, float]:
        return {"accuracy": self.accuracy, "macro F1": self.macro_f1, "log loss": self.log_loss}

    def to_dict(self) -> dict[str, Any]:
        per_class = {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(self.classes, self.precision, self.recall, self.f1, self.support, strict=True)
        }
        return {
            "rows": int(self.confusion.sum()),
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
        }


def evaluate(batches: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.floating[Any]]]], classes: Sequence[str]) -> Evaluation:
    """Evaluate batches of (y_true [n], class probabilities [n, C]); only the confusion matrix is kept between them."""
    count = len(classes)
    confusion, loss = np.zeros((count, count), np.int64), 0.0
    for y_true, probabilities in batches:
        pairs = y_true * count + probabilities.argmax(axis=1)
        confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)
        loss -= float(log_of(probabilities[np.arange(len(y_true)), y_true]).sum())
    return Evaluation(tuple(classes), confusion, loss / max(1, int(confusion.sum())))


def log_of(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Natural logarithm in float64; a certain mistake costs much but not infinity."""
    return np.log(np.clip(probabilities.astype(np.float64), 1e-15, 1.0))


def ratio(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.asarray(numerator / np.where(denominator == 0, 1, denominator))


def mean_of(values: npt.NDArray[np.float64]) -> float:
    """Their mean, 0 where there are none."""
    return float(values.mean()) if len(values) else 0.0
