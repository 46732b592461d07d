"""What a confusion matrix could have been with other items, and the numbers that follow from it. C classes, R resamples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.intervals import LEVEL, Interval, Samples, resampled_counts

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConfusionSamples:
    """By resample: [R], and f1 [R, C], NaN where a class is neither truth nor prediction."""

    accuracy: Samples
    balanced_accuracy: Samples
    macro_f1: Samples
    f1: Samples

    def f1_intervals(self) -> list[Interval | None]:
        """By class; None for one that never occurs."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of classes that are never there
            low, high = np.nanpercentile(self.f1, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
        return [None if np.isnan(a) else Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def resample_confusion(confusion: Counts, seed: int) -> ConfusionSamples:
    """Resample the items of a confusion matrix [C true, C predicted] that has some."""
    truth, predicted = np.nonzero(confusion)
    parts = [_numbers(block, truth, predicted, len(confusion)) for block in resampled_counts(confusion[truth, predicted], seed)]
    return ConfusionSamples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _numbers(
    counts: Counts, truth: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], classes: int
) -> tuple[Samples, Samples, Samples, Samples]:
    """Accuracy, balanced accuracy, macro F1 [r] and F1 [r, C] of counts [r, K], of cells (truth, predicted) [K]."""
    right = truth == predicted
    hits = np.zeros((len(counts), classes))
    hits[:, truth[right]] = counts[:, right]
    support, stated = _sums(counts, truth, classes), _sums(counts, predicted, classes)
    with np.errstate(invalid="ignore"):
        recall, f1 = hits / support, 2 * hits / (support + stated)  # NaN: 0 / 0
    accuracy = hits.sum(axis=1) / counts.sum(axis=1)
    return accuracy, _mean_of_numbers(recall), _mean_of_numbers(f1), f1


def _sums(counts: Counts, groups: npt.NDArray[np.intp], classes: int) -> Samples:
    """Sums [r, C] of counts [r, K] over the cells of each class."""
    order = np.argsort(groups, kind="stable")
    there, starts = np.unique(groups[order], return_index=True)
    found = np.zeros((len(counts), classes))
    found[:, there] = np.add.reduceat(counts[:, order], starts, axis=1)
    return found


def _mean_of_numbers(values: Samples) -> Samples:
    """Mean of each row over what is no NaN; some always is."""
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0).sum(axis=1) / there.sum(axis=1))
