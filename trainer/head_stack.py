"""Many heads of one architecture as one: their weights stacked, their steps taken together, each as if it were alone.

n rows, D inputs, H heads, U units, C classes. The first kernel is [D, H, U], so that one product of the batch with [D, H * U] serves all
heads; later kernels are [H, U, V], biases [H, U].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # keras.optimizers.Adam's

SEEDS = 2**31  # below which a seed is; what is above tells layers apart

Tensors = list[Any]
Setting = dict[str, Any]  # of the heads of a stack: rate, l2, dropout [H], class_weights [H, C] or [H, 2, C]
Arrays = list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class HeadSpec:
    """One head of a stack. class_weights: [C], or [2, C] of absent and present classes. `column`: of the table of who trains on what."""

    learning_rate: float
    l2: float
    class_weights: npt.NDArray[np.float32]
    dropout: float = 0.0
    column: int = 0


@dataclass(frozen=True)
class Architecture:
    """D inputs, units of the hidden layers, C outputs; softmax, or (multi_label) sigmoids."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    multi_label: bool = False

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of one head: kernel and bias, layer by layer."""
        widths = (self.inputs, *self.hidden, self.outputs)
        return [shape for fan_in, fan_out in pairwise(widths) for shape in ((fan_in, fan_out), (fan_out,))]

    @property
    def parameters(self) -> int:
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def start(self, seed: int) -> Arrays:
        """Hidden kernels by Glorot and Bengio's uniform rule, as Dense has them, from the seed; all else zeros (heads.py says why)."""
        random = np.random.default_rng(seed)
        arrays = [np.zeros(shape, np.float32) for shape in self.shapes]
        for kernel in arrays[:-2:2]:
            limit = np.sqrt(6 / sum(kernel.shape))
            kernel[:] = random.uniform(-limit, limit, kernel.shape)
        return arrays

    @property
    def stacked_shapes(self) -> list[tuple[int | None, ...]]:
        first, *others = self.shapes
        return [(first[0], None, first[1]), *((None, *shape) for shape in others)]

    def logits(self, parameters: Tensors, x: Any, dropout: Any = None, key: Any = None) -> Any:
        """[n, H, C]; with the share of units [H] to drop and a key [2], those of a training step."""
        first, bias, *others = parameters
        z = tf.reshape(x @ tf.reshape(first, (self.inputs, -1)), (-1, tf.shape(first)[1], first.shape[2])) + bias
        for layer in range(len(self.hidden)):
            kernel, bias = others[2 * layer : 2 * layer + 2]
            z = tf.nn.relu(z) if dropout is None else _dropped(tf.nn.relu(z), dropout, tf.add(key, (layer * SEEDS, 0)))
            z = tf.einsum("nhu,huv->nhv", z, kernel) + bias
        return z

    def _row_losses(self, logits: Any, y: Any, class_weights: Any) -> Any:
        """Weighted cross-entropy [n, H], summed over the classes of a multi-label head (task.py)."""
        if not self.multi_label:
            of_all = tf.repeat(y[:, None], tf.shape(logits)[1], axis=1)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(of_all, logits) * tf.gather(tf.transpose(class_weights), y)
        present = tf.cast(y, tf.float32)[:, None, :]
        plain = tf.nn.sigmoid_cross_entropy_with_logits(present + tf.zeros_like(logits), logits)
        absent_weight, present_weight = class_weights[:, 0], class_weights[:, 1]
        return tf.reduce_sum(plain * (absent_weight + present * (present_weight - absent_weight)), axis=-1)

    def losses(self, parameters: Tensors, x: Any, y: Any, weights: Any, setting: Setting) -> Any:
        """Sums over the rows of weight * loss [H], and of the weights [H]."""
        losses = self._row_losses(self.logits(parameters, x), y, setting["class_weights"])
        return tf.reduce_sum(weights * losses, axis=0), tf.reduce_sum(weights, axis=0)

    def penalty(self, parameters: Tensors, l2: Any) -> Any:
        """[H]: l2 * sum(kernel ** 2)."""
        first, *others = parameters[::2]
        squares = tf.reduce_sum(first**2, axis=(0, 2))
        return l2 * tf.add_n([squares, *(tf.reduce_sum(kernel**2, axis=(1, 2)) for kernel in others)])

    def step(self, state: list[Tensors], x: Any, y: Any, weights: Any, setting: Setting, key: Any, correction: Any) -> Any:
        """Adam on the mean loss of each head's own rows plus its L2; returns the new state and the losses [H] without L2.

        The heads share no weight, so the gradient of the sum of their losses is the gradient of each.
        """
        parameters, means, squares = state
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            logits = self.logits(parameters, x, setting["dropout"], key)
            rows = tf.maximum(tf.reduce_sum(weights, axis=0), 1.0)
            losses = tf.reduce_sum(weights * self._row_losses(logits, y, setting["class_weights"]), axis=0) / rows
            total = tf.reduce_sum(losses)
        new: list[Tensors] = [[], [], []]
        for i, gradient in enumerate(tape.gradient(total, parameters)):
            if i % 2 == 0:  # a kernel. By hand: on the tape it is another pass over all weights
                gradient += by_head(2 * setting["l2"], parameters[i], i) * parameters[i]
            mean = means[i] + (1 - BETA_1) * (gradient - means[i])
            square = squares[i] + (1 - BETA_2) * (gradient * gradient - squares[i])
            rate = by_head(setting["rate"] * correction, parameters[i], i)
            new[0].append(parameters[i] - rate * mean / (tf.sqrt(square) + EPSILON))
            new[1].append(mean)
            new[2].append(square)
        return new, losses


@dataclass(frozen=True)
class Compiled:
    """The functions of an architecture as graphs, for any number of heads and rows: a head that leaves must not cost a new one."""

    step: Callable[..., Any]
    losses: Callable[..., Any]
    logits: Callable[..., Any]


@cache
def compiled(a: Architecture) -> Compiled:
    shapes = a.stacked_shapes
    parameters = [tf.TensorSpec(shape) for shape in shapes]
    x, weights = tf.TensorSpec((None, a.inputs)), tf.TensorSpec((None, None))
    y = tf.TensorSpec((None, a.outputs), tf.uint8) if a.multi_label else tf.TensorSpec((None,), tf.int64)
    setting = {name: tf.TensorSpec((None,)) for name in ("rate", "l2", "dropout")}
    setting["class_weights"] = tf.TensorSpec((None, 2, a.outputs) if a.multi_label else (None, a.outputs))
    key, number = tf.TensorSpec((2,), tf.int64), tf.TensorSpec(())
    return Compiled(
        tf.function(a.step, input_signature=[[parameters] * 3, x, y, weights, setting, key, number]),
        tf.function(a.losses, input_signature=[parameters, x, y, weights, setting]),
        tf.function(a.logits, input_signature=[parameters, x]),
    )


def correction(step: int) -> float:
    """Of Adam's rate in its 1st, 2nd, ... step, for the means that started at zero."""
    return float(np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step))


def head_axis(index: int) -> int:
    """Where the heads are in the i-th array of a stack."""
    return 1 if index == 0 else 0


def by_head(values: Any, array: Any, index: int) -> Any:
    """values [H] in a shape that meets the i-th array of a stack."""
    shape = [1] * len(array.shape)
    shape[head_axis(index)] = -1
    return tf.reshape(values, shape)


def stack(heads: Sequence[Arrays]) -> Tensors:
    """The arrays of H heads as those of one stack."""
    return [tf.constant(np.stack(arrays, axis=head_axis(i))) for i, arrays in enumerate(zip(*heads, strict=True))]


def kept(tensors: Tensors, heads: list[int]) -> Tensors:
    return [tf.gather(tensor, tf.constant(heads, tf.int32), axis=head_axis(i)) for i, tensor in enumerate(tensors)]


def of_head(tensors: Tensors, head: int) -> Arrays:
    return [np.take(tensor, head, axis=head_axis(i)) for i, tensor in enumerate(tensors)]


def _dropped(z: Any, share: Any, key: Any) -> Any:
    """z [n, H, U] without a random share [H] of the units, the others scaled up.

    All heads draw the same numbers: candidates then differ by their options alone, and a head's do not depend on its neighbours.
    """
    if share is None:
        return z
    drawn = tf.random.stateless_uniform((tf.shape(z)[0], 1, z.shape[2]), key)
    keep = 1 - share[:, None]
    return tf.where(drawn < keep, z / keep, 0.0)
