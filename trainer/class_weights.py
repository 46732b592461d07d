"""Class weights: how much an item of each class counts in the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from storage.asked import checked
from storage.errors import UsageError

BALANCED = "balanced"
LEAST, MOST = 1e-6, 1e6  # far beyond what balances anything; 1e30 made every number of the head NaN


@checked()
def parse_class_weights(text: str) -> str | dict[str, float]:
    """`balanced`, or `NAME=W,NAME=W,...` as a mapping; raises UsageError. Names with a comma can be given in Python only."""
    if text == BALANCED:
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, marker, number = part.rpartition("=")
        name = name.strip()
        if name in weights:
            raise UsageError(f"class {name!r} has two weights in {text!r}")
        try:
            weights[name] = float(number)
        except ValueError:
            marker = ""
        if not marker:
            raise UsageError(f"class weights must be {BALANCED} or NAME=W,NAME=W such as hat=2,coat=0.5; got {part!r} in {text!r}")
    return weights


def check_class_weights(weights: str | Mapping[str, float] | None) -> None:
    """Raise UsageError for anything but None, "balanced" and numbers from 1e-6 to 1e6 by class name."""
    if weights is None or weights == BALANCED:
        return
    if isinstance(weights, str):
        raise UsageError(f"class_weights must be {BALANCED!r} or weights by class name, got {weights!r}")
    for name, weight in weights.items():
        if not LEAST <= weight <= MOST:
            raise UsageError(f"the weight of class {name!r} must be a number from {LEAST:g} to {MOST:g}, got {weight!r}")


def named_weights(weights: Mapping[str, float], classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Weights [C]; classes that are not named weigh 1. Raises UsageError for names that are no class."""
    if unknown := [name for name in weights if name not in classes]:
        raise UsageError(f"class weights for {', '.join(map(repr, unknown))}, but the classes are {', '.join(map(repr, classes[:20]))}")
    return np.array([weights.get(name, 1.0) for name in classes], np.float64)


def balanced(counts: npt.NDArray[np.int64], axis: int = 0) -> npt.NDArray[np.float64]:
    """scikit-learn's class_weight="balanced" for item counts by class: N / (number of classes * count); 1 for a class without items."""
    total = counts.sum(axis=axis, keepdims=True)
    return np.where(counts == 0, 1.0, total / (counts.shape[axis] * np.maximum(counts, 1)))
