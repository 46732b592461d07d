"""What cached features and labels say of a task, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer.advice_pool import Features, Pool
from trainer.advice_rule import SUREST, Facts, helps
from trainer.comparison import Comparison
from trainer.cross_validation import CrossValidation, cross_validate
from trainer.evaluate import Evaluation
from trainer.h_score import h_score
from trainer.intervals import Interval
from trainer.label_errors import LabelErrors, label_errors
from trainer.learning_curve import LearningCurve, learning_curve
from trainer.logme import logme
from trainer.measured import measure
from trainer.near_duplicates import THRESHOLD, NearDuplicates, near_duplicates_of

LINEAR, NEIGHBOURS, LAYERED = "ridge", "knn", "mlp"
# What says whether capacity is missing, and is not kept: 2 folds and at most 60 epochs. With 5 it took half of all the time.
LAYERED_FOLDS, LAYERED_EPOCHS = 2, 60
MOST_CONFUSED = 5  # pairs of classes
BLOCK = 1024


@dataclass(frozen=True)
class SetScores:
    """Of one set: what its frozen heads reach without a change of the network, and two scores that need no head."""

    linear: CrossValidation
    neighbours: CrossValidation
    logme: float
    h_score: float

    def to_dict(self) -> dict[str, Any]:
        heads = {LINEAR: self.linear, NEIGHBOURS: self.neighbours}
        return {"heads": {name: _told(each) for name, each in heads.items()}, "logme": self.logme, "h_score": self.h_score}


@dataclass(frozen=True)
class Inside:
    """Items of the pool that are near-duplicates of another one of it, and of one with another label."""

    near: int
    other_label: int


@dataclass(frozen=True)
class Evidence:
    """Of one set. `layered`: a head with a hidden layer beside the linear one, either fitted on half of the items. `memorised`: accuracy
    of the linear head on what it learned from. `leaks`: test items that are near-duplicates of training items; None where nothing is
    tested."""

    pool: Pool
    scores: SetScores
    layered: Comparison
    memorised: float
    curve: LearningCurve
    errors: LabelErrors
    leaks: NearDuplicates | None
    inside: Inside

    @property
    def heads(self) -> dict[str, CrossValidation]:
        return {LINEAR: self.scores.linear, NEIGHBOURS: self.scores.neighbours}

    @property
    def best(self) -> str:
        return max(self.heads, key=lambda name: self.heads[name].evaluation.leading)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.bincount(self.pool.y, minlength=len(self.pool.classes))

    @property
    def more_capacity(self) -> str:
        """Whether it would help, as `trainer.advice_rule.helps` says it."""
        return helps(len(self.pool), self.layered.interval)

    @property
    def more_labels(self) -> str:
        gain = self.curve.last_gain()
        return helps(len(self.pool), gain and gain[1])

    def confused(self) -> list[tuple[str, str, int, float]]:
        """(class, taken for, items, share of the class), most items first."""
        confusion = evaluation_of(self.heads[self.best]).confusion.copy()
        np.fill_diagonal(confusion, 0)
        order = np.argsort(-confusion, axis=None, kind="stable")[:MOST_CONFUSED]
        pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, confusion.shape), strict=True)]
        names, counts = self.pool.classes, self.counts
        return [(names[i], names[j], int(confusion[i, j]), float(confusion[i, j] / counts[i])) for i, j in pairs if confusion[i, j]]

    def to_dict(self) -> dict[str, Any]:
        classes = self.pool.classes
        return {
            "items": len(self.pool),
            "labelled": self.pool.labelled,
            "held_out_for_test": len(self.pool.tested),
            "folds": self.scores.linear.folds,
            "classes": {name: int(count) for name, count in zip(classes, self.counts, strict=True)},
            "heads": {name: _told(each) for name, each in self.heads.items()},
            "best_head": self.best,
            "logme": self.scores.logme,
            "h_score": self.scores.h_score,
            "learning_curve": {**self.curve.to_dict(), "more_helps": self.more_labels},
            "capacity": {"memorised": self.memorised, "hidden_layer": _gap(self.layered), "more_helps": self.more_capacity},
            "confused": [{"class": a, "taken_for": b, "items": n, "share": share} for a, b, n, share in self.confused()],
            "label_errors": self.errors.to_dict(classes, self.keys(self.scores.linear.positions)),
            "near_duplicates": {
                "threshold": THRESHOLD,
                "in_training": self.inside.near,
                "with_another_label": self.inside.other_label,
                "test": self.leaks.to_dict(lambda positions: self.keys(np.array(positions, np.int64))) if self.leaks else None,
            },
            "notes": list(self.pool.notes),
        }

    def keys(self, positions: npt.NDArray[np.int64]) -> list[str]:
        return self.pool.feature_set.columns("key")["key"].take(pa.array(positions)).to_pylist()  # type: ignore[no-any-return]


def facts_of(pool: Pool, scores: SetScores) -> Facts:
    """What the rule goes by: of the better of the linear head and the neighbours."""
    best = max(scores.linear, scores.neighbours, key=lambda crossed: crossed.evaluation.leading)
    counts, interval = np.bincount(pool.y, minlength=len(pool.classes)), interval_of(best)
    return Facts(
        items=pool.labelled,
        per_class=float(np.median(counts)) * pool.labelled / len(pool),
        accuracy=best.evaluation.leading,
        low=interval.low,
        high=interval.high,
        commonest=float(counts.max() / len(pool)),
        wrong_where_sure=wrong_where_sure(evaluation_of(scores.linear)),
    )


def scores_of(pool: Pool, features: Features) -> SetScores:
    linear, neighbours = (cross_validate(pool.prepared(features, name), pool.folds) for name in (LINEAR, NEIGHBOURS))
    classes = len(pool.classes)
    return SetScores(linear, neighbours, logme(features, pool.y, classes), h_score(features, pool.y, classes))


def evidence_of(pool: Pool, features: Features, scores: SetScores) -> Evidence:
    """features [N, D]: of the pool's own set, or of another one that ranks above it."""
    prepared, layered = pool.prepared(features, LINEAR), pool.prepared(features, LAYERED, max_epochs=LAYERED_EPOCHS)
    linear = evaluation_of(scores.linear)
    probabilities, (memorised, alpha) = linear.outcomes.probabilities, _memorised(pool, features)
    assert probabilities is not None, "bounded by the pool"
    return Evidence(
        pool=pool,
        scores=scores,
        layered=compared(*(cross_validate(each, LAYERED_FOLDS) for each in (layered, prepared))),
        memorised=memorised,
        # With one strength at all sizes, that of all labels: a decomposition for each of 20 fits would take most of the time.
        curve=learning_curve(pool.prepared(features, LINEAR, alpha=alpha), pool.folds),
        errors=label_errors(linear.outcomes.truth, probabilities),
        leaks=near_duplicates_of(pool.feature_set, pool.tested, pool.positions) if len(pool.tested) else None,
        inside=near_inside(features, pool.y),
    )


def compared(first: CrossValidation, second: CrossValidation) -> Comparison:
    """Two heads on the same items: of one pool, so in the order of the same folds."""
    ours, theirs = evaluation_of(first), evaluation_of(second)
    return Comparison((ours.right, theirs.right), (ours.losses, theirs.losses), first.positions)


def evaluation_of(crossed: CrossValidation) -> Evaluation:
    assert isinstance(crossed.evaluation, Evaluation), "the pool is of items of one class"
    return crossed.evaluation


def wrong_where_sure(evaluation: Evaluation) -> float:
    """The share of wrong ones among the SUREST share of the items: by the probability of the class that is said."""
    order = np.argsort(-evaluation.outcomes.confidence, kind="stable")[: max(1, round(SUREST * evaluation.rows))]
    return float(1 - evaluation.right[order].mean())


def near_inside(features: Features, y: npt.NDArray[np.int64]) -> Inside:
    unit = features / np.maximum(1e-30, np.linalg.norm(features, axis=1, keepdims=True))
    near, other = np.zeros(len(y), bool), np.zeros(len(y), bool)
    for start in range(0, len(y), BLOCK):
        above = unit[start : start + BLOCK] @ unit.T >= THRESHOLD
        above[np.arange(len(above)), start + np.arange(len(above))] = False
        near[start : start + BLOCK] = above.any(axis=1)
        other[start : start + BLOCK] = (above & (y[start : start + BLOCK, None] != y)).any(axis=1)
    return Inside(int(near.sum()), int(other.sum()))


def interval_of(crossed: CrossValidation) -> Interval:
    """95% of the accuracy of all items together, as wide as the folds say."""
    half, middle = _half_width(crossed), crossed.evaluation.leading
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def _half_width(crossed: CrossValidation) -> float:
    half = crossed.interval.half_width
    assert half is not None, "there are two folds at least"
    return half


def _memorised(pool: Pool, features: Features) -> tuple[float, float]:
    """The accuracy of the linear head on what it learned from, and the strength it chose."""
    prepared = pool.prepared(features, LINEAR)
    everything = np.arange(len(pool))
    fitting = prepared.fitting()
    validation = everything[:: max(2, round(1 / prepared.options.validation))] if prepared.options.validation else everything[:0]
    train = np.setdiff1d(everything, validation)
    first = fitting.with_validation(train, validation)
    model = fitting.refit(everything, first) if len(validation) else first.model
    return measure(model, prepared.data, everything).evaluation.leading, first.chosen["alpha"]


def _told(crossed: CrossValidation) -> dict[str, Any]:
    return {"accuracy": crossed.evaluation.leading, "interval": list(interval_of(crossed)), "by_fold": list(crossed.by_fold)}


def _gap(comparison: Comparison) -> dict[str, Any]:
    return {"difference": comparison.difference, "interval": list(comparison.interval)}
