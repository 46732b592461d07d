"""Label smoothing (Szegedy et al. 2016): a share of each target is spread over all classes alike."""

from __future__ import annotations

from typing import Any

import keras

from trainer.task import Loss


def smoothed(loss: Loss, multi_label: bool, share: float) -> Loss:
    """loss: of a `Task`, from (y, logits [n, C]) to [n]."""
    if not share:
        return loss

    def smooth(y: Any, logits: Any) -> Any:
        if multi_label:  # binary cross-entropy is linear in its target, and the even one is a half
            even = (loss(keras.ops.zeros_like(logits), logits) + loss(keras.ops.ones_like(logits), logits)) / 2
        else:
            even = -keras.ops.mean(keras.ops.log_softmax(logits), axis=-1)
        return (1 - share) * loss(y, logits) + share * even

    return smooth
