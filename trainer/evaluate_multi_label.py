"""How good predictions of any number of classes an item are: average precision, F1, calibration, with intervals. Plain NumPy, with
scikit-learn's definitions.

N items, C classes; y [N, C] is True where an item has a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.calibration import Calibration, calibration, fit_temperature_of_sigmoids, scaled_sigmoids
from trainer.evaluate import SEED, mean_of, ratio
from trainer.intervals import LEAST_RESAMPLES, MOST_DRAWN, Interval, item_weights, percentile_interval
from trainer.outcomes import Probabilities, Targets, log_of

THRESHOLD = 0.5  # a class is predicted above this probability
MOST_RANKED = 10**8  # items times classes times resamples that average precision is resampled for: about four seconds

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """`temperature`: by which validation found the logits should be divided; None where there was no validation."""

    classes: tuple[str, ...]
    y: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float32]
    temperature: float | None = None

    @property
    def rows(self) -> int:
        return len(self.y)

    @cached_property
    def said(self) -> npt.NDArray[np.bool_]:
        """[N, C]: which classes are predicted."""
        return self.probabilities > THRESHOLD

    @cached_property
    def hits(self) -> Counts:
        """Items by class [C] that have it and are predicted to."""
        return np.asarray((self.y & self.said).sum(axis=0))

    @cached_property
    def support(self) -> Counts:
        return np.asarray(self.y.sum(axis=0))

    def support_of(self, chosen: npt.NDArray[np.bool_]) -> Counts:
        """By class [C], among the chosen items [N]."""
        return np.asarray(self.y[chosen].sum(axis=0))

    @cached_property
    def predicted(self) -> Counts:
        return np.asarray(self.said.sum(axis=0))

    @cached_property
    def average_precision(self) -> npt.NDArray[np.float64]:
        """By class [C]; NaN for one that no item has."""
        return np.array([average_precision(self.y[:, c], self.probabilities[:, c]) for c in range(len(self.classes))])

    @cached_property
    def log_loss(self) -> float:
        """Mean over items and classes of -log p(what is true), natural logarithm."""
        return mean_of(self.losses)

    @cached_property
    def losses(self) -> npt.NDArray[np.float64]:
        """Means over the classes [N], a class at a time: float64 of all would be twice the probabilities."""
        sums = np.zeros(self.rows)
        for c in range(len(self.classes)):
            sums -= log_of(np.where(self.y[:, c], self.probabilities[:, c], 1 - self.probabilities[:, c]))
        return sums / max(1, len(self.classes))

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
    def leading(self) -> float:
        """The number that comes first where there is room for one."""
        return self.mean_average_precision

    @property
    def accuracy(self) -> float:
        """Share of the items all of whose classes are right: subset accuracy."""
        return mean_of(self.right)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray((self.y == self.said).all(axis=1))

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes that some item has; of the others there is nothing to say."""
        return mean_of(self.average_precision[self.support > 0])

    @cached_property
    def calibration(self) -> Calibration:
        """Of all N * C probabilities."""
        return calibration(self.probabilities.reshape(-1), self.y.reshape(-1))

    @cached_property
    def scaled(self) -> tuple[Calibration, float] | None:
        """Calibration and log loss with the temperature; None without one."""
        if self.temperature is None:
            return None
        scaled = scaled_sigmoids(self.probabilities, self.temperature)
        loss = -log_of(np.where(self.y, scaled, 1 - scaled)).mean() if self.y.size else 0.0
        return calibration(scaled.reshape(-1), self.y.reshape(-1), self.temperature), float(loss)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95% of bootstrap resamples of the items, by name; without mAP where that would take minutes."""
        if not self.rows:
            return {}
        hits, ends = (self.y & self.said).astype(np.float32), self.y.astype(np.float32) + self.said
        found: dict[str, list[npt.NDArray[Any]]] = {"micro_f1": [], "macro_f1": [], "log_loss": [], "mean_average_precision": []}
        ranked = self.y.size * LEAST_RESAMPLES <= MOST_RANKED
        for weights in item_weights(self.rows, SEED, MOST_RANKED // len(self.classes) if ranked else MOST_DRAWN):
            right, all_ = weights @ hits, weights @ ends
            found["micro_f1"].append(2 * right.sum(axis=1) / np.maximum(1, all_.sum(axis=1)))
            there = all_ > 0
            found["macro_f1"].append((2 * right / np.where(there, all_, 1)).sum(axis=1) / np.maximum(1, there.sum(axis=1)))
            found["log_loss"].append(weights @ self.losses / self.rows)
            if ranked:
                found["mean_average_precision"].append(self._resampled_map(weights))
        return {name: percentile_interval(np.concatenate(parts)) for name, parts in found.items() if parts}

    def _resampled_map(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """mAP [r] of items that come so often [r, N]."""
        sums, classes = np.zeros(len(weights)), np.zeros(len(weights))
        for y, scores in zip(self.y.T, self.probabilities.T, strict=True):
            order = np.argsort(-scores, kind="stable")
            last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
            drawn = weights[:, order]
            hits = np.cumsum(drawn * y[order], axis=1)[:, last_of_ties]
            seen = np.cumsum(drawn, axis=1)[:, last_of_ties]
            gained = np.diff(hits, axis=1, prepend=0) * hits / np.maximum(1, seen)
            sums += gained.sum(axis=1) / np.maximum(1, hits[:, -1])
            classes += hits[:, -1] > 0
        return np.asarray(sums / np.maximum(1, classes))

    def headline(self) -> dict[str, float]:
        return {
            "mAP": self.mean_average_precision,
            "macro F1": self.macro_f1,
            "micro F1": self.micro_f1,
            "log loss": self.log_loss,
            "ECE": self.calibration.ece,
        }

    def fitted_temperature(self) -> float | None:
        """The one that these items ask for."""
        return fit_temperature_of_sigmoids(self.probabilities, self.y) if self.rows else None

    def with_temperature(self, temperature: float | None) -> MultiLabelEvaluation:
        return replace(self, temperature=temperature)

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
            "subset_accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "calibration": self.calibration.to_dict(),
            "temperature_scaled": {**self.scaled[0].to_dict(), "log_loss": self.scaled[1]} if self.scaled else None,
            "per_class": per_class,
        }


def evaluate_multi_label(
    batches: Iterable[tuple[Targets, Probabilities]], classes: Sequence[str], temperature: float | None = None
) -> MultiLabelEvaluation:
    """Evaluate batches of (y [n, C], probabilities [n, C]). All N * C probabilities are kept: average precision ranks the items."""
    none = (np.zeros((0, len(classes)), bool), np.zeros((0, len(classes)), np.float32))
    parts = [none, *((np.asarray(y, bool), np.asarray(p, np.float32)) for y, p in batches)]
    y, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    return MultiLabelEvaluation(tuple(classes), y, probabilities, temperature)


def average_precision(y: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating[Any]]) -> float:
    """Sum over the distinct scores, from the highest, of (recall gained) * precision; NaN where no item has the class."""
    if not y.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(y) - 1)
    hits = np.cumsum(y[order])[last_of_ties]
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / (last_of_ties + 1)).sum())
