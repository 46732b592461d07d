"""Ridge regression on class targets: scikit-learn's RidgeClassifier, for every strength from one decomposition.

|Y - X kernel - bias|^2 + alpha * |kernel|^2 on standardised features, targets of +1 (the class) and -1, items weighted if they are. All
that is needed of N rows are sums: of x, x x^T, y and x y^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from storage.errors import UsageError
from trainer.arrays import Matrix, Numbers, Tensor
from trainer.gram_spectrum import are_few, spectrum
from trainer.linear_weights import LinearWeights
from trainer.rows import MemoryRows, Rows, require_finite, vectors
from trainer.standardise import Moments, spread

EXACT_ROWS = 4  # times the features: of so few rows all is float64. Gram matrices of fewer rows than features are singular but for alpha,
# and float32 gave coefficients of 1,000 rows of 1,280 that were off by 4e-3 at alpha 1 and by 5e-2 at 0.1
PATH_COLUMNS = 4096  # multiplied at a time: 32 strengths of 100 classes and 2,048 features took 0.44 s one by one, and 0.30 so
MAX_WIDTH = 8192  # features: their Gram matrix has 512 MiB, and its eigenvectors take minutes


def require_width(width: int) -> None:
    """Raise UsageError for more features than a Gram matrix is made of."""
    if width > MAX_WIDTH:
        raise UsageError(
            f"the ridge head needs the Gram matrix of its inputs, of {MAX_WIDTH} at most; these features give {width}: pool the maps "
            "(--map avg), or train the head linear or logistic, which have no such matrix"
        )


@dataclass
class FeatureSums:
    """Of rows x, as offsets from `pivot` [D]: how many (by weight), their sum [D] and that of x x^T [D, D].

    About a pivot near the mean nothing cancels when the mean is taken out. Products of many rows are float32 within a block, their sum is
    float64: coefficients of 200,000 rows of 2,048 agree with those in float64 to 1e-5.
    """

    pivot: npt.NDArray[np.float32]
    count: float = 0.0
    total: Matrix = field(default_factory=lambda: np.zeros(0))
    gram: Matrix = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if not self.total.size:
            width = len(self.pivot)
            self.total, self.gram = np.zeros(width), np.zeros((width, width))

    def add(self, x: npt.NDArray[np.floating[Any]], weights: npt.NDArray[np.float32] | None = None, sign: float = 1.0) -> None:
        """x [n, D], offsets from the pivot already, in the dtype that products are to have."""
        self.count += sign * (len(x) if weights is None else float(weights.sum(dtype=np.float64)))
        rooted = x if weights is None else x * np.sqrt(weights)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused in words, by `sums`
            product = rooted.T @ rooted  # NumPy sees one matrix twice and does half the work
        self.total += sign * (x.sum(axis=0, dtype=np.float64) if weights is None else (weights.astype(np.float64) @ x))
        if sign > 0:
            self.gram += product
        else:
            self.gram -= product

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.total).all() and np.isfinite(np.diag(self.gram)).all())

    def plus(self, other: FeatureSums, sign: float = 1.0) -> FeatureSums:
        return FeatureSums(self.pivot, self.count + sign * other.count, self.total + sign * other.total, self.gram + sign * other.gram)


@dataclass
class TargetSums:
    """Of rows with targets [C]: the sum of the targets and of x y^T [D, C], x from the same pivot."""

    total: Matrix
    products: Matrix

    @classmethod
    def zero(cls, width: int, outputs: int) -> TargetSums:
        return cls(np.zeros(outputs), np.zeros((width, outputs)))

    def add(self, x: Tensor, targets: npt.NDArray[np.float32]) -> None:
        """x [n, D] float32 or float64, targets [n, C] times their weights."""
        self.total += targets.sum(axis=0, dtype=np.float64)
        self.products += tf.matmul(tf.constant(targets, x.dtype), x, transpose_a=True).numpy().T  # as in Design.transposed_times

    def plus(self, other: TargetSums) -> TargetSums:
        return TargetSums(self.total + other.total, self.products + other.products)


@dataclass(frozen=True)
class Ridge:
    """The solutions of the rows in these sums: scores [n, C] of standardised features, as scikit-learn's `decision_function` gives them.

    Mean and spread are those of the rows as they are weighted.
    """

    features: FeatureSums
    targets: TargetSums

    @cached_property
    def moments(self) -> Moments:
        offset = self.features.total / self.features.count
        variance = np.diag(self.features.gram) / self.features.count - offset**2
        return Moments(self.features.pivot.astype(np.float64) + offset, np.maximum(variance, 0.0))

    def path(self, alphas: Sequence[float]) -> list[LinearWeights]:
        """One decomposition, then a product of D x D with D x C for each strength."""
        gram, products, bias = self._standardised()
        values, axes = spectrum(gram, self.features.count)
        along = axes.T @ products
        # What has no axis is squeezed by alpha alone: the spectrum of few rows leaves out what is short beside the longest axis, such as
        # how near-copies differ, and with a small alpha that counts.
        rest = products - axes @ along if axes.shape[1] < len(axes) else 0.0
        found, at_a_time = [], max(1, PATH_COLUMNS // along.shape[1])
        for start in range(0, len(alphas), at_a_time):
            some = alphas[start : start + at_a_time]
            shrunk = np.hstack([along / (np.maximum(values, 0.0) + alpha)[:, None] for alpha in some])
            for alpha, kernel in zip(some, np.split(axes @ shrunk, len(some), axis=1), strict=True):
                found.append(LinearWeights(kernel + rest / alpha, bias))
        return found

    def one(self, alpha: float) -> LinearWeights:
        """A twentieth of the arithmetic of a decomposition, but for few rows."""
        if are_few(self.features.count, len(self.features.pivot)):
            return self.path([alpha])[0]
        gram, products, bias = self._standardised()
        gram[np.diag_indices_from(gram)] += alpha
        return LinearWeights(np.asarray(np.linalg.solve(gram, products), np.float64), bias)

    def _standardised(self) -> tuple[Matrix, Matrix, Matrix]:
        """Gram matrix [D, D] and products with the targets [D, C] of standardised rows, and the mean targets [C]."""
        scale, mean = spread(self.moments), self.features.total / self.features.count
        gram = self.features.gram - np.outer(mean, mean) * self.features.count
        gram /= scale
        gram /= scale[:, None]
        products = (self.targets.products - np.outer(mean, self.targets.total)) / scale[:, None]
        return gram, products, self.targets.total / self.features.count


def ridge_targets(y: npt.NDArray[np.generic], classes: int) -> npt.NDArray[np.float32]:
    """+1 and -1 [n, C], of class numbers [n] or of 0 and 1 [n, C]."""
    if y.ndim > 1:
        return np.asarray(2 * y.astype(np.float32) - 1)
    targets = np.full((len(y), classes), -1, np.float32)  # not rows of a unit matrix: 0.02 s for 0.19 of a million of 10 classes
    targets[np.arange(len(y)), y.astype(np.int64)] = 1
    return targets


def sums(
    rows: Rows,
    numbers: Numbers,
    targets: npt.NDArray[np.float32],
    pooling: str = "",
    weights: npt.NDArray[np.float32] | None = None,
    pivot: npt.NDArray[np.float32] | None = None,
) -> tuple[FeatureSums, TargetSums]:
    """Those of the items `numbers` in one pass; targets [L, C] and weights [L] by item. All views of an item together count once.

    Raises UsageError for features that are no numbers, or too many for a Gram matrix.
    """
    found: FeatureSums | None = None
    along: TargetSums | None = None
    for part, block in vectors(rows, numbers, pooling, every_view=True):
        if found is None or along is None:
            require_width(int(block.shape[1]))
            found = FeatureSums(tf.reduce_mean(block, 0).numpy() if pivot is None else pivot)
            along = TargetSums.zero(int(block.shape[1]), targets.shape[1])
        by_row = None if weights is None and rows.views == 1 else np.repeat(_of(weights, part) / np.float32(rows.views), rows.views)
        x = tf.cast(block, tf.float64 if rows.views * len(numbers) <= EXACT_ROWS * len(found.pivot) else tf.float32) - found.pivot
        wanted = np.repeat(targets[part], rows.views, axis=0)
        along.add(x, wanted if by_row is None else wanted * by_row[:, None])
        found.add(np.asarray(x), by_row)  # a look at TensorFlow's memory; .numpy() would copy it
    assert found is not None, "no items"
    assert along is not None, "no items"
    if not found.finite:
        require_finite(rows, numbers)
    return found, along


def target_sums(
    rows: Rows, parts: Sequence[Numbers], targets: npt.NDArray[np.float32], features: Sequence[FeatureSums], pooling: str = ""
) -> list[TargetSums]:
    """Of several parts of the items in one pass, where the sums of their features are known (and so are numbers); targets [L, C] of +1 and
    -1 by item, one view an item.

    The pivot is taken out of the products and not of the features: X^T (y - mean y) is the same without, but for what is left of the sum of
    rounded y. A pass over a million rows of 2,048 takes 4.8 s of CPU, and took 7.5 with the pivot and a pass for each part.
    """
    outputs = targets.shape[1]
    is_in = np.zeros((len(parts), len(targets)), bool)
    for of, part in zip(is_in, parts, strict=True):
        of[part] = True
    totals = (is_in.astype(np.float32) @ targets).astype(np.float64)  # exact: below 2^24, whole numbers are in float32
    means = [total / len(part) for total, part in zip(totals, parts, strict=True)]
    everyone = np.flatnonzero(is_in.any(axis=0))
    products, left = np.zeros((len(parts) * outputs, len(features[0].pivot))), np.zeros(len(parts) * outputs)
    for some, block in vectors(rows, everyone, pooling):
        shares = np.hstack(
            [np.where(of[some, None], targets[some] - mean.astype(np.float32), 0) for of, mean in zip(is_in, means, strict=True)]
        )
        products += tf.matmul(tf.constant(shares), block, transpose_a=True).numpy()
        left += shares.sum(axis=0, dtype=np.float64)
    products -= np.outer(left, features[0].pivot)
    return [
        TargetSums(mean * len(part), own.T + np.outer(known.total, mean))
        for part, mean, known, own in zip(parts, means, features, np.split(products, len(parts)), strict=True)
    ]


def _of(weights: npt.NDArray[np.float32] | None, part: Numbers) -> npt.NDArray[np.float32]:
    return np.ones(len(part), np.float32) if weights is None else weights[part]


def fit_path(
    x: npt.NDArray[np.generic],
    y: npt.NDArray[np.generic],
    classes: int,
    strengths: Sequence[float],
    weights: npt.NDArray[np.float64] | None = None,
) -> tuple[list[LinearWeights], Moments]:
    """Scores for all strengths (each an alpha), in their order, and the moments that standardise x.

    x: features [N, D] in any float dtype; y: class numbers [N], or [N, C] of 0 and 1; weights: of each class [C]. Raises UsageError.
    """
    by_item = None if weights is None else weights[y.astype(np.int64)].astype(np.float32)
    ridge = Ridge(*sums(MemoryRows(x), np.arange(len(x)), ridge_targets(y, classes), weights=by_item))
    return (ridge.path(strengths) if len(strengths) > 1 else [ridge.one(strengths[0])]), ridge.moments
