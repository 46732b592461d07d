"""Limited-memory BFGS for convex losses of linear scores: two products with the features an iteration, whatever the line search tries.

Own code, and not SciPy's: the scores along a direction are a straight line, so that trying a step costs no pass over the features; the
first guess at the inverse Hessian is a matrix (Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4 with H0 given); and the
features may come a block at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from trainer.arrays import Matrix

MEMORY = 10  # pairs of steps: more made no difference to the number of iterations
SLOPE_LEFT = 0.1  # of a direction's first slope, at the step that is taken
MAX_TRIES = 20


@dataclass
class Memory:
    """The last steps and how the gradient changed along them."""

    pairs: deque[tuple[Matrix, Matrix]] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def learn(self, step: Matrix, change: Matrix) -> None:
        if float((step * change).sum()) > 0:
            self.pairs.append((step, change))

    def direction(self, gradient: Matrix, guess: Callable[[Matrix], Matrix]) -> Matrix:
        """Where to go: minus the inverse Hessian (guessed, then corrected by the pairs) times the gradient."""
        q, scale = gradient, 1.0
        taken: list[float] = []
        for step, change in reversed(self.pairs):
            taken.append(float((step * q).sum() / (step * change).sum()))
            q = q - taken[-1] * change
        if self.pairs:
            step, change = self.pairs[-1]
            scale = float((step * change).sum() / (change * guess(change)).sum())
        q = scale * guess(q)
        for (step, change), first in zip(self.pairs, reversed(taken), strict=True):
            q = q + step * (first - float((change * q).sum() / (step * change).sum()))
        return -q


def step_length(along: Callable[[float], tuple[float, float]], slope: float, left: float = SLOPE_LEFT) -> float:
    """How far to go, until the slope is the share `left` of the first one: Newton, kept in brackets.

    along(t): slope and curvature of a convex function at t; slope: at 0, below 0.
    """
    low, high, t = 0.0, float("inf"), 1.0
    for _ in range(MAX_TRIES):
        found, curvature = along(t)
        if abs(found) <= left * abs(slope):
            break
        low, high = (low, t) if found > 0 else (t, high)
        t = t - found / curvature if curvature > 0 else high
        if not low < t < high:
            t = (low + high) / 2 if high < float("inf") else 2 * low
    return t
