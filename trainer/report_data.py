"""What the report of a head shows, as a value: numbers, and of the items that are shown their keys, classes and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.feature_set import FeatureSet
from trainer.comparison import Comparison
from trainer.drift import Drift
from trainer.embedding_map import EmbeddingMap
from trainer.evaluate import Evaluation
from trainer.label_errors import label_errors
from trainer.measured import AnyEvaluation
from trainer.near_duplicates import NearDuplicates
from trainer.slices import Slice

MOST_MISTAKES, MOST_ERRORS, MOST_PAIRS, MOST_THUMBNAILS = 24, 24, 12, 48
_CELLS = 9  # a side of the grid in which a map has at most one thumbnail a cell

# Small JPEGs of items by (corpus, key, digest), None where that very image is not to be had. Whoever opens images answers for hostile ones.
Pictures = Callable[[Sequence[tuple[str, str, bytes]]], Sequence[bytes | None]]


@dataclass(frozen=True)
class ShownItem:
    """`said`: what there is to say of it."""

    key: str
    label: str
    other: str  # the predicted or suggested class, or the key of the other item of a pair
    said: str
    picture: bytes | None = None
    other_picture: bytes | None = None


@dataclass(frozen=True)
class MapPoint:
    x: float
    y: float
    label: int  # number of the (first) class; -1 for none
    is_right: bool
    key: str
    picture: bytes | None = None


@dataclass(frozen=True)
class Report:
    """`shown`: the name of the evaluation that everything but the table of splits is about."""

    title: str
    facts: Sequence[tuple[str, str]]
    evaluations: Mapping[str, AnyEvaluation]
    shown: str
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    sweep: Sequence[Mapping[str, Any]] = ()
    points: Sequence[MapPoint] = ()
    map_shares: tuple[float, float] = (0.0, 0.0)
    mistakes: Sequence[ShownItem] = ()
    errors: Sequence[ShownItem] | None = None  # None: cannot be told
    error_count: int = 0
    doubted_rows: int = 0  # items among which they were looked for
    duplicates: Sequence[ShownItem] = ()
    near: NearDuplicates | None = None
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)
    comparison: tuple[str, Comparison] | None = None  # with the name of the second head
    drift: Drift | None = None
    warnings: Sequence[str] = ()
    refitted: bool = True  # whether the head learned from validation after that was measured

    @property
    def evaluation(self) -> AnyEvaluation:
        return self.evaluations[self.shown]


@dataclass(frozen=True)
class Items:
    """The items of one evaluation: positions [N] in the order of its outcomes."""

    feature_set: FeatureSet
    positions: npt.NDArray[np.int64]
    pictures: Pictures

    def named(self, numbers: npt.NDArray[np.int64]) -> tuple[list[str], list[bytes | None]]:
        """Keys and pictures of some of them."""
        return self.at(self.positions[numbers])

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[list[str], list[bytes | None]]:
        """Keys and pictures of the items at these positions in the items table."""
        table = self.feature_set.columns("corpus", "key", "digest").take(pa.array(positions, pa.int64()))
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return table["key"].to_pylist(), list(self.pictures(rows))


def mistakes_of(evaluation: AnyEvaluation, items: Items) -> list[ShownItem]:
    """The wrong predictions with the highest loss."""
    wrong = np.flatnonzero(~evaluation.right)
    numbers = wrong[np.argsort(-evaluation.losses[wrong], kind="stable")[:MOST_MISTAKES]]
    keys, pictures = items.named(numbers)
    told = [_told(evaluation, int(i)) for i in numbers]
    return [ShownItem(key, *words, picture) for key, words, picture in zip(keys, told, pictures, strict=True)]


def _told(evaluation: AnyEvaluation, i: int) -> tuple[str, str, str]:
    """Of item i: true classes, predicted classes, how sure."""
    names = evaluation.classes
    if isinstance(evaluation, Evaluation):
        outcomes = evaluation.outcomes
        sure = f"{outcomes.confidence[i]:.1%} sure; the true class {outcomes.true_probability[i]:.1%}"
        return names[outcomes.truth[i]], names[outcomes.predicted[i]], sure
    true, said = ([names[c] for c in np.flatnonzero(row[i])] for row in (evaluation.y, evaluation.said))
    return ", ".join(true) or "none", ", ".join(said) or "none", f"loss {evaluation.losses[i]:.3f}"


def errors_of(evaluation: AnyEvaluation, items: Items) -> tuple[list[ShownItem], int] | None:
    """The likeliest label errors and how many there are; None of several labels an item, or where probabilities were not kept."""
    if not isinstance(evaluation, Evaluation) or evaluation.outcomes.probabilities is None:
        return None
    found = label_errors(evaluation.outcomes.truth, evaluation.outcomes.probabilities)
    keys, pictures = items.named(found.positions[:MOST_ERRORS])
    names = evaluation.classes
    rows = zip(keys, found.given, found.suggested, found.margin, pictures, strict=False)
    shown = [ShownItem(key, names[a], names[b], by(margin), picture) for key, a, b, margin, picture in rows]
    return shown, len(found.positions)


def by(margin: float) -> str:
    """A class is suggested where it is as sure as it usually is, which the given one may be more probable than."""
    return f"by {abs(margin):.1%} {'more' if margin >= 0 else 'less'} probable"


def duplicates_of(near: NearDuplicates, items: Items) -> list[ShownItem]:
    pairs = near.pairs[:MOST_PAIRS]
    (keys, pictures), (others, theirs) = (items.at(np.array([pair[side] for pair in pairs], np.int64)) for side in (0, 1))
    rows = zip(keys, others, pairs, pictures, theirs, strict=True)
    return [ShownItem(key, "", other, f"cosine {pair[2]:.4f}", a, b) for key, other, pair, a, b in rows]


def points_of(found: EmbeddingMap, evaluation: AnyEvaluation, items: Items) -> list[MapPoint]:
    keys, _ = Items(items.feature_set, items.positions, no_pictures).named(found.numbers)
    chosen = _spread(found.places)
    _, pictures = items.named(found.numbers[chosen])
    by_point: dict[int, bytes | None] = dict(zip(chosen.tolist(), pictures, strict=True))
    right = evaluation.right[found.numbers]
    labels = _first_labels(evaluation)[found.numbers]
    return [MapPoint(float(x), float(y), int(labels[i]), bool(right[i]), keys[i], by_point.get(i)) for i, (x, y) in enumerate(found.places)]


def _spread(places: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Points [n] that lie apart: the first in each cell of a grid."""
    cells = np.minimum((places * _CELLS).astype(np.int64), _CELLS - 1) @ np.array([_CELLS, 1])
    _, first = np.unique(cells, return_index=True)
    return np.asarray(first[:MOST_THUMBNAILS])


def _first_labels(evaluation: AnyEvaluation) -> npt.NDArray[np.int64]:
    if isinstance(evaluation, Evaluation):
        return evaluation.outcomes.truth.astype(np.int64)
    return np.where(evaluation.y.any(axis=1), evaluation.y.argmax(axis=1), -1)


def no_pictures(items: Sequence[tuple[str, str, bytes]]) -> list[bytes | None]:
    """For where no image is at hand."""
    return [None] * len(items)
