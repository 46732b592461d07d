"""The temperature by which scores that are none of a log loss become logits, as ridge and class-mean heads need it.

`trainer.calibration` has that of a fitted head's probabilities, which is reported and changes no head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer.arrays import Tensor
from trainer.calibration import least_loss
from trainer.linear_losses import LinearLoss, slope
from trainer.linear_weights import Scores

MAX_SECANTS, CLOSE = 30, 1e-3  # CLOSE: of the factor
LEAST_SPREAD = 1e-3  # of the logits of scores that point the wrong way: the order of the classes stays, and nothing is certain


def temperatures(loss: LinearLoss, found: Sequence[Scores]) -> list[tuple[float, float]]:
    """Of each of several heads, best of a path: what its scores [n, C] are multiplied by to become logits, and the summed loss then.

    It is the factor of least loss, to three digits (Guo et al. 2017 divide by theirs). Where scores separate the items, the more the
    better would never end: then that at which the loss is what n items can tell.
    """
    flat = loss.value(tf.zeros(found[0].shape))[1]
    factors, near = list[tuple[float, float]](), 0.0
    for each in found:
        near, value = _temperature(loss, tf.constant(each), flat, near)
        factors.append((near, value))
    return factors


def _temperature(loss: LinearLoss, z: Tensor, flat: Tensor, near: float) -> tuple[float, float]:
    """flat: the gradient by score at zero. near: the factor of scores much like these, to begin with; 0: none is known."""
    least = told_loss(loss, len(z))

    def at(t: float) -> tuple[float, float]:
        """What is above the least loss, and the slope."""
        value, by_score, _ = loss.value(tf.constant(t, tf.float32) * z)
        return float(value) - least, slope(by_score, z)

    uphill = slope(flat, z)
    if uphill >= 0:
        lowest = LEAST_SPREAD / _spread(loss, z, flat)
        return lowest, at(lowest)[0] + least
    low, stride = (near, 1.2) if near else (-uphill / loss.bend(flat, z), 2.0)
    while not _is_low(of_low := at(low)):
        low /= stride
    while _is_low(of_high := at(stride * low)):
        low, of_low = stride * low, of_high
    high = stride * low
    if of_high[1] > 0:
        best = _root(lambda t: at(t)[1], (low, of_low[1]), (high, of_high[1]))
        of_best = at(best)
        if of_best[0] >= 0:
            return best, of_best[0] + least
        high, of_high = best, of_best
    best = _root(lambda t: -at(t)[0], (low, -of_low[0]), (high, -of_high[0]))
    return best, at(best)[0] + least


def _spread(loss: LinearLoss, z: Tensor, flat: Tensor) -> float:
    """How far classes are from an item's own one, or outputs from even odds: the mean of the largest of an item."""
    own = tf.reduce_sum(tf.where(flat < 0, z, 0.0), 1, keepdims=True) if loss.outputs_compete else 0.0
    return float(tf.reduce_mean(tf.reduce_max(tf.abs(z - own), 1))) or 1.0


def told_loss(loss: LinearLoss, items: int) -> float:
    """The least loss, summed, that may be claimed of so many items."""
    return least_loss(items) * items * (1 if loss.outputs_compete else loss.outputs)


def _is_low(found: tuple[float, float]) -> bool:
    above, uphill = found
    return above > 0 and uphill < 0


def _root(of: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]) -> float:
    """Where a rising function is zero, between two (t, value): by secants, of which a side that stays counts half (Illinois)."""
    (a, at_a), (b, at_b) = low, high
    t, was_high = b, None
    for _ in range(MAX_SECANTS):
        before, t = t, b - at_b * (b - a) / (at_b - at_a)
        if abs(t - before) <= CLOSE * t:
            break
        value = of(t)
        if is_high := value > 0:
            b, at_b, at_a = t, value, at_a / 2 if was_high is True else at_a
        else:
            a, at_a, at_b = t, value, at_b / 2 if was_high is False else at_b
        was_high = is_high
    return t
