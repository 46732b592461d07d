"""Whether probabilities can be believed: of the predictions made with 80%, are 80% right? And the one number that mends most of it.

ECE is that of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017): the mean over BINS bins of equal width, weighted by their
items, of |share that is right - mean probability|. Temperature scaling is of the same paper: the logits divided by T, found on validation
items; it changes no prediction. N predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.outcomes import Outcomes, log_of

BINS = 15
LOW, HIGH = 0.05, 20.0  # of temperatures: beyond these a head is broken, not miscalibrated
FIT_PROBABILITIES = 1 << 21  # while T is sought: 0.3 s. More items would move it by less than what it changes

Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Calibration:
    """By bin of the stated probability [BINS]: predictions, the sum of their probabilities, how many of them came true."""

    counts: npt.NDArray[np.int64]
    stated: npt.NDArray[np.float64]
    true: npt.NDArray[np.int64]
    temperature: float = 1.0

    @property
    def is_scaled(self) -> bool:
        """Whether the temperature is another number than 1, as far as it is shown."""
        return f"{self.temperature:.3g}" != "1"

    @property
    def ece(self) -> float:
        return float(np.abs(self.stated - self.true).sum() / max(1, self.counts.sum()))

    def to_dict(self) -> dict[str, Any]:
        bins = [
            {"from": i / BINS, "rows": int(n), "stated": float(stated / n), "true": float(true / n)}
            for i, (n, stated, true) in enumerate(zip(self.counts, self.stated, self.true, strict=True))
            if n
        ]
        return {"ece": self.ece, "temperature": self.temperature, "bins": bins}


def calibration(stated: Array, true: npt.NDArray[np.bool_], temperature: float = 1.0) -> Calibration:
    """Of probabilities [N] and whether what they were said of is so [N]. Bins are open below and closed above, but for the first."""
    stated = stated.astype(np.float64)
    bins = np.clip(np.ceil(stated * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return Calibration(
        counts=np.bincount(bins, minlength=BINS),
        stated=np.bincount(bins, stated, BINS).astype(np.float64),
        true=np.bincount(bins[true], minlength=BINS),
        temperature=temperature,
    )


def fit_temperature(probabilities: Array, y: npt.NDArray[np.integer]) -> float:
    """The T that makes the log loss of softmax(log p / T) least, for probabilities [N, C] and class numbers [N].

    With b = 1 / T the loss is convex in b, so that halving the range in which its slope changes sign finds it. A loss below `least_loss`
    is not gone after.
    """
    chosen = _sample(probabilities)
    logits = log_of(probabilities[chosen]).astype(np.float32)
    logits -= logits.max(axis=1, keepdims=True)
    mine = logits[np.arange(len(chosen)), y[chosen]].mean(dtype=np.float64) if len(chosen) else 0.0

    def slope(b: float) -> float:
        weights = np.exp(np.float32(b) * logits)
        means = np.einsum("nc,nc->n", weights, logits) / weights.sum(axis=1)
        return float(means.mean(dtype=np.float64) - mine)

    def loss(b: float) -> float:
        return float(np.log(np.exp(np.float32(b) * logits).sum(axis=1)).mean(dtype=np.float64) - b * mine)

    return _temperature_where(slope, loss, len(chosen)) if len(chosen) else 1.0


def fit_temperature_of_sigmoids(probabilities: Array, y: npt.NDArray[np.bool_]) -> float:
    """The same for sigmoid(logit / T), probabilities [N, C] and y [N, C]."""
    chosen = _sample(probabilities)
    logits, truth = _logits(probabilities[chosen]), y[chosen]

    def slope(b: float) -> float:
        return float((logits * (_sigmoid(b * logits) - truth)).mean())

    def loss(b: float) -> float:
        return float(np.logaddexp(0, np.where(truth, -b, b) * logits).mean())

    return _temperature_where(slope, loss, len(chosen)) if truth.size else 1.0


def scaled(outcomes: Outcomes, temperature: float) -> Outcomes | None:
    """The outcomes with probabilities softmax(log p / T); None where the probabilities were not kept."""
    if outcomes.probabilities is None:
        return None
    # A block at a time: the softmax is in float64.
    size = max(1, (16 << 20) // (8 * outcomes.probabilities.shape[1]))
    found = np.empty_like(outcomes.probabilities)
    for start in range(0, len(found), size):
        logits = log_of(outcomes.probabilities[start : start + size]) / temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[start : start + size] = weights / weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(outcomes))
    return replace(
        outcomes,
        confidence=found[rows, outcomes.predicted],
        true_probability=found[rows, outcomes.truth].astype(np.float64),
        probabilities=found,
    )


def scaled_sigmoids(probabilities: Array, temperature: float) -> npt.NDArray[np.float64]:
    """sigmoid(logit / T) [N, C]."""
    return _sigmoid(_logits(probabilities) / temperature)


def _sample(probabilities: Array) -> npt.NDArray[np.int64]:
    """Positions of so many of the N items, evenly."""
    items, classes = probabilities.shape
    return np.linspace(0, items - 1, min(items, max(1, FIT_PROBABILITIES // max(1, classes)))).astype(np.int64)


def _temperature_where(slope: Callable[[float], float], loss: Callable[[float], float], items: int) -> float:
    """1 / b where the slope changes its sign, and not below 1 where that would claim more than so many items can tell."""
    least, best = least_loss(items), _border(1 / HIGH, 1 / LOW, lambda b: slope(b) < 0)
    if best > 1 and loss(best) < least:
        best = _border(1.0, best, lambda b: loss(b) > least)
    return 1 / best


def least_loss(items: int) -> float:
    """The mean log loss that may be claimed after so many items: that of n + 1 right ones of n + 2, the rule of succession. Where scores
    separate all items, the least loss has no temperature: the sharper the better, without end."""
    return float(np.log((items + 2) / (items + 1)))


def _border(low: float, high: float, is_low: Callable[[float], bool]) -> float:
    for _ in range(24):  # of a factor of 400: to the precision of float32
        middle = (low * high) ** 0.5
        low, high = (middle, high) if is_low(middle) else (low, middle)
    return float((low * high) ** 0.5)


def _logits(probabilities: Array) -> npt.NDArray[np.float64]:
    p = probabilities.astype(np.float64)
    return log_of(p) - log_of(1 - p)


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.where(logits >= 0, 1, np.exp(-np.abs(logits))) / (1 + np.exp(-np.abs(logits))))
