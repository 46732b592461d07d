"""Would more labels help? Accuracy at an eighth, a quarter, half and all of the labels, and what a power law makes of it.

Each fold of a cross-validation is predicted by heads that were fitted on nested parts of the other folds, drawn by the fold's own seed: so
every item is asked at every size, and sizes are compared item by item. E(n) = floor + scale n^-power is fitted to the error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.digests import to_words
from trainer.arrays import Numbers
from trainer.cross_validation import splits_of
from trainer.intervals import Interval, item_weights, percentile_interval
from trainer.measured import predictions
from trainer.prepared import Prepared
from trainer.splits import TEST, TRAIN, VALIDATION
from trainer.units import Units, units_of_images

SHARES = (0.125, 0.25, 0.5, 1.0)
LEAST_PER_CLASS = 2  # items to learn from, on average: with fewer there is no curve
POWERS = np.linspace(0.1, 1.0, 10)  # what is seen in practice is 0.1 to 0.5 or so (Hestness et al. 2017); a mean of noise falls by 1
FACTORS = (2, 4)  # times the labels: further is guessing
Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LearningCurve:
    """`sizes` [S] ascending: mean numbers of items learned from. `right` [S, N]: which of the N items heads of each size have right, that
    did not learn from them."""

    sizes: tuple[float, ...]
    right: Right

    @property
    def accuracy(self) -> list[float]:
        return [float(row.mean()) for row in self.right]

    def last_gain(self, seed: int = 0) -> tuple[float, Interval] | None:
        """What the last size (about twice the one before, as a rule) brought, with 95% by paired resamples; None for one point."""
        if len(self.sizes) < 2:
            return None
        gaps = self.right[-1].astype(np.float32) - self.right[-2]
        samples = np.concatenate([drawn @ gaps / len(gaps) for drawn in item_weights(len(gaps), seed)])
        return float(gaps.mean()), percentile_interval(samples)

    def forecast(self, seed: int = 0) -> list[tuple[int, float, Interval]]:
        """(times as many labels, accuracy, its 95%) for each of FACTORS; none where fewer than three sizes were measured.

        The interval holds what other items (drawn again and again) and other powers that fit as well would say. Whether the law itself
        goes on to hold, it does not know.
        """
        if len(self.sizes) < 3:
            return []
        wrong = (~self.right).astype(np.float32).T
        best = _law(np.array(self.sizes), wrong.mean(axis=0))
        drawn = [_law(np.array(self.sizes), row) for block in item_weights(len(wrong), seed) for row in block @ wrong / len(wrong)]
        return [self._at(factor, best, drawn) for factor in FACTORS]

    def _at(self, factor: int, best: npt.NDArray[np.float64], drawn: Sequence[npt.NDArray[np.float64]]) -> tuple[int, float, Interval]:
        size = self.sizes[-1] * factor
        errors = np.array([_error(law, size) for law in drawn])
        low, high = percentile_interval(1 - np.clip(errors, 0, 1))
        # The law may lie above the last point; more labels are not forecast to do harm.
        return factor, 1 - min(_error(best, size), float((~self.right[-1]).mean())), Interval(low, high)

    def to_dict(self) -> dict[str, Any]:
        gain = self.last_gain()
        return {
            "labels": list(self.sizes),
            "accuracy": self.accuracy,
            "last_doubling": {"gain": gain[0], "interval": list(gain[1])} if gain else None,
            "forecast": [{"times": times, "accuracy": value, "interval": list(interval)} for times, value, interval in self.forecast()],
        }


def learning_curve(prepared: Prepared, folds: int) -> LearningCurve:
    """Of the head that is prepared, which no item is tested with. N items, in the order of the folds."""
    images = units_of_images(to_words(prepared.feature_set.items["digest"])[prepared.labelled.joined.positions])
    y, least = prepared.data.y.astype(np.int64), LEAST_PER_CLASS * len(prepared.labelled.classes)
    splits, parts = list(splits_of(prepared, folds)), dict[float, list[tuple[Numbers, Numbers]]]()
    for share in SHARES:
        of_folds = [
            (_part(images, y, split.positions(TRAIN), share, number), _part(images, y, split.positions(VALIDATION), share, number))
            for number, split in enumerate(splits)
        ]
        sizes = [len(train) + len(validation) for train, validation in of_folds]
        if share == 1 or min(sizes) >= least:
            parts[float(np.mean(sizes))] = of_folds  # shares of few labels that round to one size are the same items, as they are nested
    tested = [split.positions(TEST) for split in splits]
    right = [
        np.concatenate([_right(prepared, *part, held) for part, held in zip(of_folds, tested, strict=True)]) for of_folds in parts.values()
    ]
    return LearningCurve(tuple(parts), np.stack(right))


def _part(images: Units, y: Numbers, numbers: Numbers, share: float, seed: int) -> Numbers:
    """About a share of the items of each class, one at least; those of a smaller share are among those of a larger one. Copies of an image
    are neighbours in the order."""
    draws = images.draws(seed, "curve")[images.of_item[numbers]]
    order = np.lexsort((draws, y[numbers]))
    ordered = y[numbers][order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(starts, append=len(ordered))
    ranks = np.arange(len(ordered)) - np.repeat(starts, counts)
    return np.sort(numbers[order[ranks < np.repeat(np.maximum(1, np.round(counts * share)), counts)]])


def _right(prepared: Prepared, train: Numbers, validation: Numbers, held: Numbers) -> Right:
    fitting, order = prepared.fitting(), list[Numbers]()
    first = fitting.with_validation(train, validation)
    model = fitting.refit(np.union1d(train, validation), first) if len(validation) else first.model
    told = list(predictions(model, prepared.data, held, order))
    return np.concatenate([probabilities.argmax(axis=1) == y for y, probabilities in told])


def _law(sizes: npt.NDArray[np.float64], errors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """(floor, scale, power) of least squares, floor and scale not negative: for each power a line through what is left open."""
    best, least = np.array([errors.mean(), 0.0, 1.0]), float(((errors - errors.mean()) ** 2).sum())
    for power in POWERS:
        x = (sizes / sizes[-1]) ** -power
        scale = float(((x - x.mean()) * (errors - errors.mean())).sum() / ((x - x.mean()) ** 2).sum())
        floor = float(errors.mean() - scale * x.mean())
        if floor < 0:
            floor, scale = 0.0, float((x * errors).sum() / (x * x).sum())
        missed = float(((errors - floor - scale * x) ** 2).sum())
        if scale >= 0 and missed < least:
            best, least = np.array([floor, scale * sizes[-1] ** power, power]), missed
    return best


def _error(law: npt.NDArray[np.float64], size: float) -> float:
    floor, scale, power = law.tolist()
    return float(floor + scale * size**-power)
