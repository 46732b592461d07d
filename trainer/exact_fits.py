"""Fitting the exact heads: logistic, ridge, class-mean. Each is a linear head, found without a learning rate, a seed or a stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.arrays import Numbers
from trainer.design import Design
from trainer.fitting import FirstFit, Validated
from trainer.linear_losses import LinearLoss, Sigmoids, Softmax
from trainer.linear_weights import LinearWeights, Scores, linear_model, scores
from trainer.logistic import TO_CHOOSE, TOLERANCE, LogisticPath, linear_loss
from trainer.options import FitOptions
from trainer.ridge import FeatureSums, Ridge, TargetSums, ridge_targets, sums, target_sums
from trainer.rows import Rows, require_numbers
from trainer.score_temperature import temperatures
from trainer.standardise import Moments, is_near_zero
from trainer.task import Task

# What strengths are tried, as shares of the number of items (C: of 1 by it), in steps of 1, 2, 5.
LOGISTIC_RANGE, RIDGE_RANGE = (0.1, 1e4), (1e-4, 10.0)
DEFAULT_C, DEFAULT_ALPHA = 0.01, 1000.0  # where no item was left to choose by
SCORES_BYTES = 1 << 30  # 1 GiB: of more heads at a time, of many items and classes, another pass over the features is taken
WORSE = 3  # strengths in a row with a higher validation loss than the best: the weaker ones still would only overfit more

# Sums of the features of several parts of the items, which count alike, from what is kept; None where that is not exact enough.
KnownSums = Callable[[Sequence[Numbers]], list[FeatureSums] | None]


class Scored(NamedTuple):
    """numbers [n]: items in the order of the source; loss: theirs, by scores; values: what each head gives them [n, C]."""

    numbers: Numbers
    loss: LinearLoss
    values: list[Scores]


@dataclass(frozen=True)
class FitData:
    """L items: their rows, targets y and classes; what to fit, on what task."""

    rows: Rows
    y: npt.NDArray[np.generic]
    classes: tuple[str, ...]
    task: Task
    options: FitOptions
    known: KnownSums | None = None

    @property
    def pooling(self) -> str:
        return self.options.map

    def class_weights(self, numbers: Numbers) -> npt.NDArray[np.float64] | None:
        return self.task.weights(self.options.class_weights, self.y[numbers], self.classes)

    def plain_loss(self, numbers: Numbers) -> LinearLoss:
        """Log loss of the items by their logits, each counted once."""
        y = self.y[numbers]
        if self.task.multi_label:
            return Sigmoids(tf.constant(y, tf.float32), tf.ones(y.shape))
        return Softmax(tf.constant(y, tf.int64), tf.ones(len(y)), len(self.classes))

    def scores(self, numbers: Numbers, found: Moments, heads: Sequence[LinearWeights]) -> Scored:
        order, values = scores(self.rows, numbers, self.pooling, found, heads)
        for each in values:
            require_numbers(each, self.rows, numbers)
        return Scored(order, self.plain_loss(order), values)

    def model(self, found: Moments, weights: LinearWeights, l2: float = 0.0) -> keras.Model:
        return linear_model(self.rows.shape, self.pooling, found, weights, self.task.activation(), l2)


def strengths(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... times a power of ten, from low to high."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    return [value for power in range(first, last + 1) for digit in (1, 2, 5) if low <= (value := float(f"{digit}e{power}")) <= high]


@dataclass
class LogisticFit:
    """c: as in scikit-learn; None: the one of least validation loss. The refit starts where the fit that was chosen ended."""

    data: FitData
    _chosen: tuple[Moments, LinearWeights] | None = None

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        chooses = self.data.options.c is None and len(validation) > 0
        path, rows = self._path(train, TO_CHOOSE if chooses else TOLERANCE)
        if not chooses:
            c = self.data.options.c or DEFAULT_C
            self._chosen = rows.moments, path.solve(c).weights
            return FirstFit(self.data.model(*self._chosen, self._l2(c, train)), {"c": c})
        tried, losses, best, validated = [], list[float](), LinearWeights(np.zeros(0), np.zeros(0)), None
        for c in strengths(*(each / len(train) for each in LOGISTIC_RANGE)):
            weights = path.solve(c).weights
            order, loss, (values,) = self.data.scores(validation, rows.moments, [weights])
            tried.append(c)
            losses.append(float(loss.value(tf.constant(values))[0]) / len(validation))
            if losses[-1] == min(losses):
                best, validated = weights, Validated(order, values)
            elif len(losses) - 1 - int(np.argmin(losses)) >= WORSE:
                break
        c = tried[int(np.argmin(losses))]
        self._chosen = rows.moments, best
        model, tried_losses = self.data.model(*self._chosen, self._l2(c, train)), {"c": tried, "val_loss": losses}
        return FirstFit(model, {"c": c}, path=tried_losses, validated=validated if is_near_zero(rows.moments) else None)

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        path, rows = self._path(numbers, TOLERANCE, self._chosen)
        c = first.chosen["c"]
        return self.data.model(rows.moments, path.solve(c).weights, self._l2(c, numbers))

    def _l2(self, c: float, numbers: Numbers) -> float:
        """The penalty by which the weights are the best ones, as what is added to the mean loss: fine-tuning goes on with it. Of two
        classes each has half of the one kernel that was fitted, so half of its square in all."""
        halves = len(self.data.classes) == 2 and not self.data.task.multi_label
        return replace(self.data.options, c=c).l2(len(numbers)) * (2 if halves else 1)

    def _path(self, numbers: Numbers, tolerance: float, start: tuple[Moments, LinearWeights] | None = None) -> tuple[LogisticPath, Design]:
        data, rows = self.data, Design(self.data.rows, numbers, self.data.pooling)
        loss = linear_loss(data.y, len(data.classes), data.class_weights(numbers), rows, data.task.multi_label)
        begin = start and start[1].moved(start[0], rows.moments)
        return LogisticPath(rows, loss, tolerance, begin), rows


class _Best(NamedTuple):
    """Which of several heads, at which factor, with the scores that it gives the items then; losses: the least of each head."""

    number: int
    factor: float
    validated: Validated
    losses: list[float]

    def of_head(self, found: Moments, validation: Numbers) -> Validated | None:
        """Scores that the kept head gives validation items as well; None where there are none."""
        return self.validated if len(validation) and is_near_zero(found) else None


def _calibrated(data: FitData, numbers: Numbers, found: Moments, heads: Sequence[LinearWeights]) -> _Best:
    """Which head has the least mean log loss on these items, each at its best temperature. Of heads that separate the items, which all
    have the loss that so many items can tell, the last one."""
    best, losses = None, list[float]()
    at_a_time = max(1, SCORES_BYTES // (4 * len(numbers) * heads[0].kernel.shape[1]))
    for start in range(0, len(heads), at_a_time):
        order, loss, values = data.scores(numbers, found, heads[start : start + at_a_time])
        for own, each in zip(values, temperatures(loss, values), strict=True):
            losses.append(each.counted / len(numbers))
            if losses[-1] == min(losses):
                best = len(losses) - 1, each.factor, order, own
    assert best, "no heads"
    number, factor, order, own = best
    return _Best(number, factor, Validated(order, own * np.float32(factor)), losses)


@dataclass
class RidgeFit:
    """alpha: as in scikit-learn; None: the one of least validation loss. Scores become probabilities by a temperature that is fitted on
    validation (without one: on train, which makes them too sure)."""

    data: FitData
    _seen: list[tuple[Numbers, FeatureSums, TargetSums]] = field(default_factory=list)

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        parts = [train, validation] if len(validation) and self.data.options.class_weights is None else [train]
        self._seen = [(numbers, *found) for numbers, found in zip(parts, self._all_sums(parts), strict=True)]
        ridge = Ridge(*self._seen[0][1:])
        asked = self.data.options.alpha
        alphas = [asked] if asked else strengths(*(each * len(train) for each in RIDGE_RANGE)) if len(validation) else [DEFAULT_ALPHA]
        heads = ridge.path(alphas) if len(alphas) > 1 else [ridge.one(alphas[0])]
        best = _calibrated(self.data, validation if len(validation) else train, ridge.moments, heads)
        chosen = {"alpha": alphas[best.number], "temperature": best.factor}
        path = {"alpha": alphas, "val_loss": best.losses} if len(alphas) > 1 else {}
        model = self.data.model(ridge.moments, heads[best.number].times(best.factor))
        return FirstFit(model, chosen, path=path, validated=best.of_head(ridge.moments, validation))

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        """Without class weights, which depend on who trains, the sums of train and validation are those of both; of few shots `numbers` are
        those of train alone."""
        if self.data.options.class_weights is None:
            (_, features, targets), *more = [seen for seen in self._seen if np.isin(seen[0], numbers).all()]
            for _, more_features, more_targets in more:
                features, targets = features.plus(more_features), targets.plus(more_targets)
            ridge = Ridge(features, targets)
        else:
            ridge = Ridge(*self._sums(numbers))
        return self.data.model(ridge.moments, ridge.one(first.chosen["alpha"]).times(first.chosen["temperature"]))

    def _all_sums(self, parts: Sequence[Numbers]) -> list[tuple[FeatureSums, TargetSums]]:
        """Those of each part, all about the pivot of the first."""
        data = self.data
        if data.known and (features := data.known(parts)):
            targets = target_sums(data.rows, parts, ridge_targets(data.y, len(data.classes)), features, data.pooling)
            return list(zip(features, targets, strict=True))
        first = self._sums(parts[0])
        return [first, *(self._sums(numbers, first[0].pivot) for numbers in parts[1:])]

    def _sums(self, numbers: Numbers, pivot: npt.NDArray[np.float32] | None = None) -> tuple[FeatureSums, TargetSums]:
        data = self.data
        weights = data.class_weights(numbers)
        by_item = None if weights is None else weights[data.y.astype(np.int64)].astype(np.float32)
        return sums(data.rows, numbers, ridge_targets(data.y, len(data.classes)), data.pooling, by_item, pivot)


@dataclass(frozen=True)
class ClassMeanFit:
    """The class whose mean is nearest among standardised features: -|x - mean|^2 / 2, less what all classes share, is linear in x."""

    data: FitData

    def with_validation(self, train: Numbers, validation: Numbers) -> FirstFit:
        found, weights = self._means(train)
        best = _calibrated(self.data, validation if len(validation) else train, found, [weights])
        model = self.data.model(found, weights.times(best.factor))
        return FirstFit(model, {"temperature": best.factor}, validated=best.of_head(found, validation))

    def refit(self, numbers: Numbers, first: FirstFit) -> keras.Model:
        found, weights = self._means(numbers)
        return self.data.model(found, weights.times(first.chosen["temperature"]))

    def _means(self, numbers: Numbers) -> tuple[Moments, LinearWeights]:
        rows = Design(self.data.rows, numbers, self.data.pooling)
        codes = rows.of_items(self.data.y).astype(np.int64)
        is_of = tf.one_hot(codes, len(self.data.classes))
        means = rows.transposed_times(is_of) / np.bincount(codes, minlength=len(self.data.classes))
        return rows.moments, LinearWeights(means, -(means**2).sum(axis=0) / 2)
