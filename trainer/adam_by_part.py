"""Adam with a learning rate for each part of a model, and weight decay of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from trainer.head_stack import Arrays


class AdamByPart(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """shares: of the learning rate, for each trainable variable in the model's order. decay: what each variable with two axes or more
    loses in a step, as a share of itself and of its learning rate (AdamW: Loshchilov and Hutter, ICLR 2019); biases, and scales and
    shifts of BatchNorm, are left alone.

    Keras scales no gradient by layer, and Adam would undo it: its steps do not depend on the gradient's scale. It calls `update_step` for
    each variable (keras/src/optimizers/base_optimizer.py, 3.15).
    """

    def __init__(self, learning_rate: float, shares: Sequence[float], decay: float = 0.0) -> None:
        super().__init__(learning_rate)
        self._shares, self._decay = tuple(shares), decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = keras.ops.cast(learning_rate, variable.dtype) * self._shares[self._get_variable_index(variable)]
        if self._decay and len(variable.shape) > 1:
            self.assign_sub(variable, keras.ops.multiply(variable, rate * self._decay))
        super().update_step(gradient, variable, rate)

    @property
    def moments(self) -> tuple[Arrays, Arrays]:
        """Adam's two means of each variable."""
        return [np.array(mean.numpy()) for mean in self._momentums], [np.array(square.numpy()) for square in self._velocities]

    def go_on(self, variables: Sequence[Any], steps: int, means: Arrays, squares: Arrays) -> None:
        """Be as after so many steps on these variables (0: as before the first, when there are no means yet)."""
        self.build(variables)
        self.iterations.assign(steps)
        for variable, array in zip([*self._momentums, *self._velocities] if steps else [], [*means, *squares], strict=True):
            variable.assign(array)


def adam(model: keras.Model, learning_rate: float, decay: float = 0.0, slow: Sequence[Any] = (), slow_rate: float = 0.0) -> AdamByPart:
    """For a model whose variables `slow` have a rate of their own."""
    slower = {id(variable) for variable in slow}
    shares = [slow_rate / learning_rate if id(variable) in slower else 1.0 for variable in model.trainable_variables]
    return AdamByPart(learning_rate, shares, decay)
