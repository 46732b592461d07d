"""How good predictions are: accuracy, F1, confusion, calibration, with intervals. Plain NumPy, with scikit-learn's definitions.

N items, C classes; y_true [N] and y_pred [N] are class numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.calibration import Calibration, calibration, fit_temperature, scaled
from trainer.intervals import Interval, percentile_interval, resampled, resampled_means
from trainer.outcomes import Outcomes, Probabilities, Targets, outcomes_of
from trainer.resampled_confusion import ConfusionSamples, resample_confusion

SEED = 0  # of the intervals: equal predictions have equal ones
TOPS = (2, 3, 5, 10)


@dataclass(frozen=True)
class Evaluation:
    """`temperature`: by which validation found the logits should be divided; None where there was no validation."""

    classes: tuple[str, ...]
    outcomes: Outcomes
    temperature: float | None = None

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Items [C true, C predicted]."""
        count = len(self.classes)
        pairs = self.outcomes.truth.astype(np.int64) * count + self.outcomes.predicted
        return np.bincount(pairs, minlength=count * count).reshape(count, count)

    @cached_property
    def log_loss(self) -> float:
        """Mean of -log p(true class), natural logarithm."""
        return mean_of(self.outcomes.losses)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """By item [N]."""
        return self.outcomes.right

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """By item [N]."""
        return self.outcomes.losses

    @property
    def rows(self) -> int:
        return len(self.outcomes)

    @property
    def support(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.confusion.sum(axis=1))

    def support_of(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """By class [C], among the chosen items [N]."""
        return np.bincount(self.outcomes.truth[chosen], minlength=len(self.classes))

    @property
    def accuracy(self) -> float:
        """Also micro F1: each item has one class and one prediction."""
        return float(np.trace(self.confusion) / max(1, self.rows))

    @property
    def leading(self) -> float:
        """The number that comes first where there is room for one."""
        return self.accuracy

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur as truth."""
        return mean_of(self.recall[self.support > 0])

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

    @property
    def tops(self) -> tuple[int, ...]:
        """The k for which it says something that the true class is among the k most probable."""
        return tuple(k for k in TOPS if k < len(self.classes))

    def top_accuracy(self, k: int) -> float:
        return mean_of(self.outcomes.rank < k)

    @cached_property
    def calibration(self) -> Calibration:
        return calibration(self.outcomes.confidence, self.outcomes.right)

    @cached_property
    def scaled(self) -> tuple[Calibration, float] | None:
        """Calibration and log loss with the temperature; None without one, or where probabilities were too many to be kept."""
        if self.temperature is None or (outcomes := scaled(self.outcomes, self.temperature)) is None:
            return None
        return calibration(outcomes.confidence, outcomes.right, self.temperature), mean_of(outcomes.losses)

    @cached_property
    def samples(self) -> ConfusionSamples:
        return resample_confusion(self.confusion, SEED)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95% of bootstrap resamples of the items, by name; none without items."""
        if not self.rows:
            return {}
        found = {name: percentile_interval(getattr(self.samples, name)) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
        found |= {f"top_{k}_accuracy": share_interval(self.outcomes.rank < k) for k in self.tops}
        return found | {"log_loss": percentile_interval(resampled_means(self.outcomes.losses, SEED))}

    def headline(self) -> dict[str, float]:
        top = {f"top-{k}": self.top_accuracy(k) for k in self.tops if k == 5}
        return {
            "accuracy": self.accuracy,
            "balanced": self.balanced_accuracy,
            "macro F1": self.macro_f1,
            **top,
            "log loss": self.log_loss,
            "ECE": self.calibration.ece,
        }

    def fitted_temperature(self) -> float | None:
        """The one that these items ask for; None where their probabilities were too many to be kept."""
        kept = self.outcomes.probabilities
        return None if kept is None or not self.rows else fit_temperature(kept, self.outcomes.truth)

    def with_temperature(self, temperature: float | None) -> Evaluation:
        return replace(self, temperature=temperature)

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "micro_f1": self.accuracy,
            "top_accuracy": {str(k): self.top_accuracy(k) for k in self.tops},
            "log_loss": self.log_loss,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "calibration": self.calibration.to_dict(),
            "temperature_scaled": {**self.scaled[0].to_dict(), "log_loss": self.scaled[1]} if self.scaled else None,
            "per_class": self._per_class(),
            "confusion": self.confusion.tolist(),
        }

    def _per_class(self) -> dict[str, dict[str, Any]]:
        intervals = self.samples.f1_intervals() if self.rows else [None] * len(self.classes)
        columns = zip(self.classes, self.precision, self.recall, self.f1, intervals, self.support, strict=True)
        return {
            name: {
                "precision": float(p),
                "recall": float(r),
                "f1": float(f),
                "f1_interval": list(interval) if interval else None,
                "support": int(s),
            }
            for name, p, r, f, interval, s in columns
        }


def evaluate(batches: Iterable[tuple[Targets, Probabilities]], classes: Sequence[str], temperature: float | None = None) -> Evaluation:
    """Evaluate batches of (y_true [n], class probabilities [n, C])."""
    return Evaluation(tuple(classes), outcomes_of(batches, len(classes)), temperature)


def share_interval(hits: npt.NDArray[np.bool_]) -> Interval:
    """95% of the share that is true, of resamples."""
    counts = np.array([hits.sum(), len(hits) - hits.sum()])
    return percentile_interval(resampled(counts, lambda drawn: drawn[:, 0] / len(hits), SEED))


def ratio(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.asarray(numerator / np.where(denominator == 0, 1, denominator))


def mean_of(values: npt.NDArray[np.generic]) -> float:
    """Their mean, 0 where there are none."""
    return float(values.mean()) if len(values) else 0.0
