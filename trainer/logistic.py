"""Logistic regression to convergence: scikit-learn's objective on standardised features, for one strength or a path of them.

The loss of N weighted rows, summed, plus |kernel|^2 / (2 C); the bias is free. One class an item: multinomial, and for two classes
binomial, as scikit-learn has it. Any number of classes: K binomial problems at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from storage.errors import DivergedError, UsageError
from trainer import linear_losses
from trainer.arrays import Matrix, Tensor
from trainer.design import Design
from trainer.lbfgs import Guess, Memory, step_length
from trainer.linear_losses import LinearLoss, Sigmoids, Softmax
from trainer.linear_weights import LinearWeights
from trainer.rows import MemoryRows
from trainer.spectrum import Spectrum
from trainer.standardise import Moments

TOLERANCE = 1e-6  # of the loss: the most that could still be gained when a fit ends
TO_CHOOSE = 1e-4  # where strengths are compared on validation: half the steps, and scikit-learn's default stops 20 times further away
STALLED, STALL = 5, 1e-9  # so many steps that gain less than this share of the loss: float32 can tell no better
MAX_ITERATIONS = 10_000  # 40 classes that 600 rows can just be told apart by took 1,045 at C = 100,000, and 2,354 at 100,000,000
SAMPLE = 8192  # rows whose spectrum stands for that of all
# Axes of the spectrum that are told apart: one for each so many rows, within these bounds. They cost some passes over the sample and save
# passes over all: with 40,000 rows of 2,048 and 10 classes 63 steps became 53 with 512 axes, with 20,000 and 100 classes 47 became 39;
# with 60,000 and 10 classes 34 for 512 and for 384 (40 for 256).
ROWS_AN_AXIS, LEAST_AXES, MOST_AXES = 100, 128, 384
LEAST_CURVATURE = 1e-6  # of a row: where everything is certain there would be none
GUESSED = 3  # solutions of a path that the next one is extrapolated from


@dataclass(frozen=True)
class Solution:
    """The fit for one C. loss: the summed loss of the rows and the penalty."""

    c: float
    weights: LinearWeights
    loss: float
    iterations: int


def linear_loss(
    y: npt.NDArray[np.generic], classes: int, weights: npt.NDArray[np.float64] | None, rows: Design, multi_label: bool
) -> LinearLoss:
    """The loss of targets y [L] or [L, C] by item, weights as `Task.weights` gives them; an item counts once, however many views."""
    mine = rows.of_items(y)
    if multi_label:
        absent, present = np.ones((2, classes)) if weights is None else weights
        return Sigmoids(_float(mine), _float(np.where(mine == 1, present, absent) / rows.views))
    by_row = (np.ones(len(mine)) if weights is None else weights[mine.astype(np.int64)]) / rows.views
    if classes == 2:
        return Sigmoids(_float(mine)[:, None], _float(by_row)[:, None])
    return Softmax(tf.constant(mine, tf.int64), _float(by_row), classes)


def _float(values: npt.NDArray[np.generic]) -> Tensor:
    return tf.constant(values.astype(np.float32))


class _Run:
    """A fit on its way: v [D + 1, K] is the kernel, with the bias in its last row; z [N, K] are its scores."""

    def __init__(self, c: float, loss: LinearLoss, v: Matrix, z: Tensor, tolerance: float) -> None:
        self.c, self.v, self.z, self._tolerance = c, v, z, tolerance
        self.memory, self.iterations, self.slope, self.left = Memory(), 0, 0.0, float("inf")
        self._stalled = 0
        self._loss = loss
        self.penalty = np.append(np.full(len(v) - 1, 1 / c), 0.0)[:, None]
        self.value, self.by_score, self.curvature = 0.0, z, np.ones(loss.outputs)
        self.gradient = self.direction = v
        self.measure()

    def measure(self) -> None:
        loss, self.by_score, curvature = self._loss.value(self.z)
        self.value = float(loss) + float((self.v**2 * self.penalty).sum()) / 2
        self.curvature = curvature.numpy().astype(np.float64)

    def head_for(self, gradient: Matrix, guess: Guess) -> None:
        """Take the gradient (of the loss alone) here, and turn to where it leads."""
        gradient = gradient + self.penalty * self.v
        if self.iterations:
            self.memory.learn(self.direction, gradient - self.gradient)
        self.gradient = gradient
        self.direction = self.memory.direction(gradient, guess)
        self.slope = float((gradient * self.direction).sum())
        self.left = self._left(gradient)
        if not np.isfinite(self.slope):
            raise DivergedError("training diverged: the logistic head gives no numbers. Try class weights nearer to 1, or a smaller c")

    def _left(self, gradient: Matrix) -> float:
        """At most so much can be gained: the loss curves by the penalty at least, in each direction of the kernel. (Those of the bias are
        few and quick; the quadratic model of the memory, which solvers go by, is too sure of itself.)"""
        return float((gradient[:-1] ** 2).sum()) * self.c / 2 + float((gradient[-1] ** 2 / np.maximum(self.curvature, 1e-12)).sum())

    @property
    def done(self) -> bool:
        return self.left <= self._tolerance * self.value or self._stalled >= STALLED

    def go(self, change: Tensor) -> None:
        """As far along the direction as it is worth; change [N, K]: the scores of the direction."""
        start, v, before = self.z, self.v, self.value
        slope, curvature = (float((part * self.direction * self.penalty).sum()) for part in (v, self.direction))

        def slope_at(t: float) -> float:
            self.z = start + tf.constant(t, tf.float32) * change
            self.v = v + t * self.direction
            self.measure()
            return linear_losses.slope(self.by_score, change) + slope + t * curvature

        t = step_length(slope_at, self.slope, self._loss.bend(self.by_score, change) + curvature)
        self.direction = t * self.direction
        self.iterations += 1
        self._stalled = self._stalled + 1 if before - self.value < STALL * abs(before) else 0


class LogisticPath:
    """Solutions for one strength after another, best from strong to weak: each starts where the earlier ones point to.

    All strengths in one pass over the rows, each from zero, took three times as many steps: more than a wide product saves.

    start: where the first one begins, such as at the solution of fewer rows; None: at zero. (Their spectrum is of no use: with that of 25
    rows a fit of 1,200 took 5,236 steps, and 328 with its own.)
    """

    def __init__(self, rows: Design, loss: LinearLoss, tolerance: float = TOLERANCE, start: LinearWeights | None = None) -> None:
        self._rows, self._loss, self._tolerance, self._begin = rows, loss, tolerance, start
        self._found: list[_Run] = []
        by_row = np.asarray(loss.weights, np.float32).reshape(rows.count, -1).mean(axis=1)
        self._total = float(by_row.sum(dtype=np.float64))
        axes = int(np.clip(rows.count // ROWS_AN_AXIS, LEAST_AXES, MOST_AXES))
        self._spectrum = Spectrum.of(rows.sample(SAMPLE, by_row * np.float32(rows.count / self._total)), axes)

    def solve(self, c: float) -> Solution:
        """Raises UsageError if the fit does not come to an end."""
        run = self._start(c)
        while not run.done:
            if run.iterations >= MAX_ITERATIONS:
                raise UsageError(f"the logistic head did not converge in {MAX_ITERATIONS} steps at c={c:g}: try a smaller c")
            by_score = run.by_score
            gradient = np.vstack([self._rows.transposed_times(by_score), tf.reduce_sum(by_score, 0).numpy()[None]])
            run.head_for(gradient, partial(self._guess, curvature=run.curvature, strength=1 / c))
            if not run.done:
                run.go(self._scores(run.direction))
        self._found = [*self._found, run][-GUESSED:]
        return Solution(c, self._weights(run.v), run.value, run.iterations)

    def _start(self, c: float) -> _Run:
        """At the best of: the last solution, and the polynomials in log C through the last ones. The first one starts at zero."""
        if not self._found and self._begin:
            first = np.vstack([self._begin.kernel, self._begin.bias])
            first = first[:, 1:] - first[:, :1] if self._shared else first
            return _Run(c, self._loss, first, self._scores(first), self._tolerance)
        if not self._found:
            zero = np.zeros((self._rows.width + 1, self._loss.outputs))
            return _Run(c, self._loss, zero, tf.zeros((self._rows.count, self._loss.outputs)), self._tolerance)
        tried = [_Run(c, self._loss, *_extrapolated(self._found[-n:], c), self._tolerance) for n in range(1, len(self._found) + 1)]
        best = min(tried, key=lambda run: run.value)
        scores = self._scores(best.v)  # anew: rounding would add up along a path
        run, last = _Run(c, self._loss, best.v, scores, self._tolerance), self._found[-1]
        for step, change, _ in last.memory.pairs:
            run.memory.learn(step, change + (run.penalty - last.penalty) * step)
        return run

    def _scores(self, v: Matrix) -> Tensor:
        return self._rows.times(v[:-1]) + tf.constant(v[-1], tf.float32)

    def _guess(self, *changes: Matrix, curvature: Matrix, strength: float) -> list[Matrix]:
        """Times the inverse of (curvature * Gram + strength), each output with its own curvature: that would be the Hessian, were it the
        same in all rows. All side by side: a call of TensorFlow takes as long as the arithmetic of a few classes."""
        curvature = np.tile(np.maximum(curvature, LEAST_CURVATURE * self._total), len(changes))
        beside = np.hstack(changes)
        return np.split(
            np.vstack([self._spectrum.divided(beside[:-1], curvature, strength), beside[-1:] / curvature]), len(changes), axis=1
        )

    def _weights(self, v: Matrix) -> LinearWeights:
        if self._shared:
            v = np.hstack([-v / 2, v / 2])
        return LinearWeights(v[:-1], v[-1])

    @property
    def _shared(self) -> bool:
        """Whether one score says which of two classes, and is shared out between both."""
        return isinstance(self._loss, Sigmoids) and self._loss.outputs == 1


def _extrapolated(found: Sequence[_Run], c: float) -> tuple[Matrix, Tensor]:
    """Lagrange's polynomial in log C through v and z."""
    x = np.log([run.c for run in found])
    shares = [float(np.prod([(np.log(c) - x[j]) / (x[i] - x[j]) for j in range(len(x)) if j != i])) for i in range(len(x))]
    v = sum(share * run.v for share, run in zip(shares, found, strict=True))
    z = sum(tf.constant(share, tf.float32) * run.z for share, run in zip(shares, found, strict=True))
    return np.asarray(v), z


def fit_path(
    x: npt.NDArray[np.generic],
    y: npt.NDArray[np.generic],
    classes: int,
    strengths: Sequence[float],
    weights: npt.NDArray[np.float64] | None = None,
    multi_label: bool = False,
    tolerance: float = TOLERANCE,
) -> tuple[list[Solution], Moments]:
    """Solutions for all strengths (each a C), in their order, and the moments that standardise x.

    x: features [N, D] in any float dtype; y: class numbers [N], or [N, C] of 0 and 1; weights: class weights as `Task.weights` gives them.
    Raises UsageError.
    """
    rows = Design(MemoryRows(x), np.arange(len(x)))
    path = LogisticPath(rows, linear_loss(y, classes, weights, rows, multi_label), tolerance)
    found = {c: path.solve(c) for c in sorted(set(strengths))}
    return [found[c] for c in strengths], rows.moments
