"""Adam with a learning rate of its own for each variable: lower ones for earlier layers (Howard and Ruder 2018, ULMFiT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class LayeredAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """The rate of variable i is `learning_rate * factors[i]`, in the order in which the optimiser is built on them.

    `update_step` is what Keras asks a new optimiser to write, and MirroredStrategy, loss scaling and checkpoints are all outside of it.
    Weight decay is decoupled and goes by the same rate (AdamW), on variables of two axes and more: kernels, not biases or scales.
    """

    def __init__(self, learning_rate: float, factors: Sequence[float], decay: float = 0.0) -> None:
        super().__init__(learning_rate)
        self._factors, self._decay = tuple(factors), decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self._factors[self._get_variable_index(variable)]
        if self._decay and len(variable.shape) > 1:
            self.assign_sub(variable, variable * (rate * self._decay))
        super().update_step(gradient, variable, rate)
