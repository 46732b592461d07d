"""The numbers of a fit by split, and what they were measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import keras
import numpy as np
import tensorflow as tf

from storage.digests import Words
from trainer.arrays import Array, Numbers, Tensor
from trainer.evaluate import Evaluation
from trainer.evaluate_multi_label import MultiLabelEvaluation
from trainer.exact_fits import FitData
from trainer.fitting import Validated
from trainer.room import as_tensor
from trainer.rows import require_numbers
from trainer.splits import VALIDATION
from trainer.task import Probabilities, Targets

BATCH_BYTES = 16 << 20  # 16 MiB of float32 features: of 64 MiB, which no cache holds, 200,000 rows of 2,048 took 1.77 s of CPU, and 1.51 so

AnyEvaluation = Evaluation | MultiLabelEvaluation
Metrics = dict[str, AnyEvaluation]


@dataclass(frozen=True)
class Measured:
    """`numbers`: the items in the order of the evaluation's outcomes."""

    evaluation: AnyEvaluation
    numbers: Numbers


def measure(model: keras.Model, data: FitData, numbers: Numbers) -> Measured:
    """A fitted head on the plain view of the items `numbers`, in the order in which they are read. Raises DivergedError where it gives no
    numbers."""
    order: list[Numbers] = []
    evaluation = data.task.evaluate(predictions(model, data, numbers, order), data.classes)
    return Measured(evaluation, np.concatenate(order))


def measured_by(found: Validated, data: FitData) -> Measured:
    """The same of a head whose logits are there already."""
    probabilities = np.asarray(data.task.activation()(tf.constant(found.logits)))
    return Measured(data.task.evaluate([(data.y[found.numbers], probabilities)], data.classes), found.numbers)


def predictions(model: keras.Model, data: FitData, numbers: Numbers, order: list[Numbers]) -> Iterator[tuple[Targets, Probabilities]]:
    """Batches of (targets, probabilities); `order` is told which items they are of."""
    size = max(1, BATCH_BYTES // (4 * prod(data.rows.shape)))
    said: Callable[[Tensor], Tensor] | None = None
    for part, block in data.rows.blocks(numbers):
        order.append(part)
        said = said or _asked(model, block)
        for start in range(0, len(part), size):
            probabilities = said(as_tensor(block[start : start + size, 0])).numpy()
            require_numbers(probabilities, data.rows, numbers)
            yield data.y[part[start : start + size]], probabilities


def _asked(model: keras.Model, block: Array) -> Callable[[Tensor], Tensor]:
    """What the model says of features [n, *shape], which are those of blocks [m, V, *shape] like this one.

    Cast in the graph, whose next steps write over what is cast: 3.1 ms for 2,048 rows of 2,048, and 4.6 by `predict_on_batch`. One graph
    for all sizes: where functions are made and called once again and again, TensorFlow warns of that.
    """
    said = tf.function(lambda x: model(tf.cast(x, tf.float32), training=False), autograph=False)
    graph: Callable[[Tensor], Tensor] = said.get_concrete_function(tf.TensorSpec([None, *block.shape[2:]], block.dtype))
    return graph


def calibrated(metrics: Mapping[str, AnyEvaluation]) -> Metrics:
    """The same with the temperature that validation asks for; as they are where nothing was validated on.

    Validation is measured on the head before its refit on train and validation together: of that one, no item would be left to ask.
    """
    temperature = metrics[VALIDATION].fitted_temperature() if VALIDATION in metrics else None
    return {name: evaluation.with_temperature(temperature) for name, evaluation in metrics.items()}


def evenly(numbers: Numbers, most: int) -> Numbers:
    """Of these at most so many, at even distances."""
    return numbers if len(numbers) <= most else numbers[:: -(-len(numbers) // most)]


def digest_of_tested(digests: Words, y: Targets, classes: Sequence[str]) -> str:
    """sha256 of which images were tested as which classes, whatever their order: heads with the same one were asked the same questions."""
    rows = digests.astype(">u8").view(np.uint8)
    targets = np.ascontiguousarray(y.reshape(len(y), -1).astype("<i4" if y.ndim == 1 else np.uint8)).view(np.uint8).reshape(len(y), -1)
    whole = np.ascontiguousarray(np.concatenate([rows, targets], axis=1))
    ordered = np.sort(whole.view(np.dtype((np.void, whole.shape[1]))).reshape(-1))
    names = "\0".join([str(len(whole)), *classes]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(names).digest() + ordered.tobytes()).hexdigest()
