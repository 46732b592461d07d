"""The temperature by which scores that are none of a log loss become logits, as ridge and class-mean heads need it.

`trainer.calibration` has that of a fitted head's probabilities, which is reported and changes no head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

import tensorflow as tf

from trainer.arrays import Tensor
from trainer.calibration import least_loss
from trainer.linear_losses import Along, LinearLoss, slope
from trainer.linear_weights import Scores

MAX_SECANTS, CLOSE = 60, 1e-3  # CLOSE: of the factor
LEAST_SPREAD = 1e-3  # of the logits of scores that point the wrong way: the order of the classes stays, and nothing is certain
ROUNDING = 3e-6  # of an item's largest score, or of what that is in most items: what is no further apart is equal
NOTHING = 1e-20  # of a loss
AT_MOST = 2 / 3  # of the loss that scores could take away: it is less without ties, however few the items

_WIDE = tf.TensorSpec([None, None])


class Calibrated(NamedTuple):
    """factor: what scores are multiplied by to become logits. loss: then, summed. told: what that counts as where so many items tell no
    less; None: elsewhere."""

    factor: float
    loss: float
    told: float | None

    @property
    def counted(self) -> float:
        """By which heads are compared."""
        return self.loss if self.told is None else self.told


def temperatures(loss: LinearLoss, found: Sequence[Scores]) -> list[Calibrated]:
    """Of each of several heads, best of a path, that give scores [n, C].

    The factor is that of least loss, to three digits (Guo et al. 2017 divide by theirs). Where scores separate the items, the more the
    better would never end: then that at which the loss is what n items can tell. Of equal scores nothing can be told.
    """
    calibrated, near = list[Calibrated](), 0.0
    level, flat, _ = loss.value(tf.zeros(found[0].shape))
    for each in found:
        calibrated.append(_calibrated(loss, tf.constant(each), float(level), flat, near))
        near = calibrated[-1].factor
    return calibrated


@dataclass(frozen=True)
class _Line:
    """The loss of scores by a factor t. tied: what is left of it where all that the scores tell apart is right; told: the least that may
    be claimed, beside that."""

    along: Along
    tied: float
    told: float

    def at(self, t: float) -> tuple[float, float]:
        """How far the loss is above what may be claimed, and its slope. The first is a logarithm, which is nearly straight in t."""
        value, uphill = self.along(t)
        return log(max(value - self.tied, NOTHING * self.told) / self.told), uphill


def _calibrated(loss: LinearLoss, scores: Tensor, level: float, flat: Tensor, near: float) -> Calibrated:
    """level and flat: the loss and its gradient by score at zero. near: the factor of scores much like these, to begin with; 0: none is
    known."""
    z, far, apart = _apart(scores, flat, loss.outputs_compete)
    has_ties = bool(tf.reduce_any(apart < z.shape[1] - int(loss.outputs_compete)))
    tied = loss.of_ties(z) if has_ties else 0.0
    told = min(_told_loss(loss, z, apart), AT_MOST * (level - tied))
    if told <= 0:
        return Calibrated(LEAST_SPREAD, level, level)
    line, uphill, least = _Line(loss.along(z), tied, told), slope(flat, z), LEAST_SPREAD / float(far)
    low, stride = (near, 1.2) if near else (-uphill / (loss.bend(flat, z) or 1.0), 2.0)
    t, above = _best(line, least, max(least, low) if uphill < 0 else least, stride)
    return Calibrated(t, tied + told * exp(above), tied + told if above <= 10 * CLOSE else None)


def _best(line: _Line, least: float, low: float, stride: float) -> tuple[float, float]:
    """The t of least loss, or where the loss is what may be claimed, and how far above that it is; not below `least`."""
    while not _is_low(*(of_low := line.at(low))):
        if not low > least:
            return low, of_low[0]
        low = max(least, low / stride)
    while _is_low(*(of_high := line.at(stride * low))):
        low, of_low = stride * low, of_high
    high = stride * low
    if of_high[1] >= 0:
        high = _root(lambda t: line.at(t)[1], (low, of_low[1]), (high, of_high[1]))
        of_high = line.at(high)
        if of_high[0] >= 0:
            return high, of_high[0]
    best = _root(lambda t: -line.at(t)[0], (low, -of_low[0]), (high, -of_high[0]))
    return best, line.at(best)[0]


def _is_low(above: float, uphill: float) -> bool:
    return uphill < 0 < above


# With a signature, and without autograph, as in trainer.linear_losses.
@tf.function(autograph=False, input_signature=[_WIDE, _WIDE, tf.TensorSpec([], tf.bool)])  # type: ignore[untyped-decorator]
def _apart(scores: Tensor, flat: Tensor, outputs_compete: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each class is ahead of an item's own one, or an output of even odds, 0 where that is rounding [n, C]; the mean of how far it
    is at most in an item, of items in which it is not 0; and how many are not [n]."""
    top = tf.reduce_max(tf.abs(scores), 1, keepdims=True)
    own = tf.reduce_sum(tf.where((flat < 0) & outputs_compete, scores, 0.0), 1, keepdims=True)
    z = scores - own
    size = tf.abs(z)
    rounding = ROUNDING * tf.maximum(top, tf.reduce_mean(top**0.125) ** 8)  # so mild a mean, as one item may be far from all others
    is_apart = tf.cast(size > rounding, tf.float32)
    apart = tf.reduce_sum(is_apart, 1)
    return z * is_apart, tf.reduce_mean(tf.boolean_mask(tf.reduce_max(size, 1), apart > 0)), apart


def _told_loss(loss: LinearLoss, z: Tensor, apart: Tensor) -> float:
    """The least, summed, that may be claimed of what the scores tell apart: of items, or of items by output."""
    counts = [tf.math.count_nonzero(apart)] if loss.outputs_compete else tf.math.count_nonzero(z, 0)
    return sum(least_loss(int(count)) * int(count) for count in counts)


def _root(of: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]) -> float:
    """Where a rising function is zero, between two (t, value): by secants, of which a side that stays counts half (Illinois)."""
    (a, at_a), (b, at_b) = low, high
    t, value, was_high = b, at_b, None
    for _ in range(MAX_SECANTS):
        before, at_before = t, value
        t = min(max(b - at_b * (b - a) / (at_b - at_a), a + CLOSE * b / 3), b - CLOSE * b / 3)
        value = of(t)
        if abs(value * (t - before)) <= CLOSE * t * abs(value - at_before):  # by how steep it is here, not on the way to a far end
            return t - value * (t - before) / ((value - at_before) or 1.0)
        if b - a <= CLOSE * b:
            break
        if is_high := value > 0:
            b, at_b, at_a = t, value, at_a / 2 if was_high is True else at_a
        else:
            a, at_a, at_b = t, value, at_b / 2 if was_high is False else at_b
        was_high = is_high
    return t
