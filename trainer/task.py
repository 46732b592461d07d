"""What a head decides: one class an item, or any number of them. N items, C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from trainer.class_weights import balanced, named_weights
from trainer.evaluate import Evaluation, evaluate
from trainer.evaluate_multi_label import THRESHOLD, MultiLabelEvaluation, evaluate_multi_label

Targets = npt.NDArray[np.generic]
Probabilities = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]
Loss = Callable[[Any, Any], Any]


class Task(Protocol):
    multi_label: bool
    metrics: list[str]  # Keras' names of what the learning curves show beside the loss

    def weights(self, option: str | Mapping[str, float] | None, y: Targets, classes: Sequence[str]) -> Weights | None:
        """Class weights in the form that `loss` takes; "balanced" goes by the targets y, those of the training items."""
        ...

    def loss(self, weights: Weights | None) -> Loss:
        """(y, logits [n, C]) to the loss of each item [n]. Keras takes the mean."""
        ...

    def activation(self) -> keras.layers.Layer:
        """The layer from logits to probabilities."""
        ...

    def evaluate(
        self, batches: Iterable[tuple[Targets, Probabilities]], classes: Sequence[str], temperature: float | None = None
    ) -> Evaluation | MultiLabelEvaluation: ...

    def chosen(self, probabilities: Probabilities) -> list[list[int]]:
        """Numbers of the predicted classes of each item, most probable first."""
        ...


class SingleLabel:
    """Softmax and cross-entropy; y [N] int64 class numbers, for the loss shares [N, C] as well; weights [C]."""

    multi_label = False
    metrics: list[str] = ["accuracy"]  # noqa: RUF012 - read only

    def weights(self, option: str | Mapping[str, float] | None, y: Targets, classes: Sequence[str]) -> Weights | None:
        if option is None:
            return None
        if isinstance(option, Mapping):
            return named_weights(option, classes)
        return balanced(np.bincount(y.astype(np.int64), minlength=len(classes)))

    def loss(self, weights: Weights | None) -> Loss:
        def cross_entropy(y: Any, logits: Any) -> Any:
            if len(y.shape) == 2 and y.shape[-1] == logits.shape[-1]:  # shares of all classes (`trainer.softening`)
                plain = keras.ops.categorical_crossentropy(y, logits, from_logits=True)
                return plain if weights is None else plain * keras.ops.sum(y * weights.astype(np.float32), axis=-1)
            y = keras.ops.cast(y, "int32")  # Keras hands it over as floats
            plain = keras.ops.sparse_categorical_crossentropy(y, logits, from_logits=True)
            return plain if weights is None else plain * keras.ops.take(weights.astype(np.float32), y)

        return cross_entropy

    def activation(self) -> keras.layers.Layer:
        return keras.layers.Softmax(name="probabilities")

    def evaluate(
        self, batches: Iterable[tuple[Targets, Probabilities]], classes: Sequence[str], temperature: float | None = None
    ) -> Evaluation:
        return evaluate(batches, classes, temperature)

    def chosen(self, probabilities: Probabilities) -> list[list[int]]:
        return [[int(best)] for best in probabilities.argmax(axis=1)]


class MultiLabel:
    """Sigmoids and binary cross-entropy summed over the classes, so that a linear head is C logistic regressions with scikit-learn's
    C each; y [N, C] of 0 and 1; weights [2, C] of absent and present classes ("balanced" is scikit-learn's, for each class apart)."""

    multi_label = True
    metrics: list[str] = []  # noqa: RUF012 - read only

    def weights(self, option: str | Mapping[str, float] | None, y: Targets, classes: Sequence[str]) -> Weights | None:
        if option is None:
            return None
        if isinstance(option, Mapping):
            return np.stack([np.ones(len(classes)), named_weights(option, classes)])
        present = y.sum(axis=0, dtype=np.int64)
        return balanced(np.stack([len(y) - present, present]))

    def loss(self, weights: Weights | None) -> Loss:
        def cross_entropy(y: Any, logits: Any) -> Any:
            present = keras.ops.cast(y, "float32")
            plain = keras.ops.binary_crossentropy(present, logits, from_logits=True)
            if weights is not None:
                absent_weight, present_weight = weights.astype(np.float32)
                plain *= absent_weight + present * (present_weight - absent_weight)
            return keras.ops.sum(plain, axis=-1)

        return cross_entropy

    def activation(self) -> keras.layers.Layer:
        return keras.layers.Activation("sigmoid", name="probabilities")

    def evaluate(
        self, batches: Iterable[tuple[Targets, Probabilities]], classes: Sequence[str], temperature: float | None = None
    ) -> MultiLabelEvaluation:
        return evaluate_multi_label(batches, classes, temperature)

    def chosen(self, probabilities: Probabilities) -> list[list[int]]:
        return [[int(i) for i in np.argsort(-row, kind="stable") if row[i] > THRESHOLD] for row in probabilities]


def task_of(multi_label: bool) -> Task:
    return MultiLabel() if multi_label else SingleLabel()
