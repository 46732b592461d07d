"""Limited-memory BFGS for convex losses of linear scores: two products with the features an iteration, whatever the line search tries.

Own code, and not SciPy's: the scores along a direction are a straight line, so that trying a step costs no pass over the features; the
first guess at the inverse Hessian is a matrix (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4 with H0 given); and the
features may come a block at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainer.arrays import Matrix

MEMORY = 10  # pairs of steps: more made no difference to the number of iterations
SLOPE_LEFT = 0.1  # of a direction's first slope, at the step that is taken
MAX_TRIES = 20


class Guess(Protocol):
    def __call__(self, *changes: Matrix) -> list[Matrix]:
        """About the inverse Hessian times each of these."""
        ...


@dataclass
class Memory:
    """The last steps, how the gradient changed along them, and the product of both."""

    pairs: deque[tuple[Matrix, Matrix, float]] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def learn(self, step: Matrix, change: Matrix) -> None:
        curved = _product(step, change)
        if curved > 0:
            self.pairs.append((step, change, curved))

    def direction(self, gradient: Matrix, guess: Guess) -> Matrix:
        """Where to go: minus the inverse Hessian (guessed, then corrected by the pairs) times the gradient."""
        q = gradient
        taken: list[float] = []
        for step, change, curved in reversed(self.pairs):
            taken.append(_product(step, q) / curved)
            q = q - taken[-1] * change
        if self.pairs:
            _, change, curved = self.pairs[-1]
            q, guessed = guess(q, change)
            q = curved / _product(change, guessed) * q
        else:
            (q,) = guess(q)
        for (step, change, curved), first in zip(self.pairs, reversed(taken), strict=True):
            q = q + step * (first - _product(change, q) / curved)
        return -q


def _product(a: Matrix, b: Matrix) -> float:
    return float(np.einsum("ij,ij->", a, b))  # one thread: those of BLAS wait for each other on a machine with others at work


def step_length(slope_at: Callable[[float], float], slope: float, curvature: float, left: float = SLOPE_LEFT) -> float:
    """How far to go, until the slope is the share `left` of the first one: Newton's step, then secants, kept in brackets.

    slope_at(t): of a convex function at t, last asked for where this ends; slope, below 0, and curvature: those at 0.
    """
    low, high, before, last = 0.0, float("inf"), 0.0, slope
    t = -slope / curvature if curvature > 0 else 1.0
    found = slope_at(t)
    for _ in range(MAX_TRIES):
        if abs(found) <= left * abs(slope):
            break
        low, high = (low, t) if found > 0 else (t, high)
        secant = (found - last) / (t - before)
        before, last, t = t, found, t - found / secant if secant > 0 else high
        if not low < t < high:
            t = (low + high) / 2 if high < float("inf") else 2 * low
        found = slope_at(t)
    return t
