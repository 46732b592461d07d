"""Validation by the loss of the items alone, whatever is added to it in training."""

from __future__ import annotations

from typing import Any

import keras


class PlainlyValidated(keras.Model):  # type: ignore[misc]
    """A model that adds the penalties of its weights to the loss it minimises, and not to the one it is evaluated by.

    A penalty moves while weights train, so that with it another epoch may look best than by the items. Compiled with one function as its
    loss, from (y, logits) to the loss of each item [n].
    """

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Any:
        if training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        return keras.ops.mean(self.loss(y, y_pred))
