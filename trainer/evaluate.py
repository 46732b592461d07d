"""How good predictions are: accuracy, F1, confusion. Plain NumPy, with scikit-learn's definitions.

N items, C classes; y_true [N] and y_pred [N] are class numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        return _ratio(np.diag(self.confusion), self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        return _ratio(2 * np.diag(self.confusion), self.support + self.confusion.sum(axis=0))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur as truth or as prediction."""
        occurs = self.support + self.confusion.sum(axis=0) > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0

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


def evaluate(y_true: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating[Any]], classes: Sequence[str]) -> Evaluation:
    """Evaluate class probabilities [N, C] against y_true [N]."""
    count = len(classes)
    y_pred = probabilities.argmax(axis=1)
    confusion = np.bincount(y_true * count + y_pred, minlength=count * count).reshape(count, count)
    chosen = probabilities[np.arange(len(y_true)), y_true].astype(np.float64)
    log_loss = float(-np.log(np.clip(chosen, 1e-15, 1.0)).mean()) if len(y_true) else 0.0
    return Evaluation(tuple(classes), confusion.astype(np.int64), log_loss)


def _ratio(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.asarray(numerator / np.where(denominator == 0, 1, denominator))
